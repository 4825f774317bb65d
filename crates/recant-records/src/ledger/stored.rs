//! A ledger as a store keeps it: one payload a fact, and what makes its editor again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerDecodeError, LedgerError};
use crate::Fact;

/// What makes the editor of a ledger again, beside the statistics: JSON with these fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditorRecord {
    /// The layer of methods that edit one.
    pub layer: usize,
    /// The layers of methods that edit several.
    pub layers: Vec<usize>,
    /// Context templates.
    pub contexts: Vec<String>,
    /// Hyper-parameters as they were given.
    pub settings: Vec<(String, String)>,
}

/// Bytes do not say how an editor is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it does not say how the ledger's editor is made: {reason}")]
pub struct EditorRecordError {
    /// What the reader says.
    pub reason: String,
}

impl EditorRecord {
    /// The bytes of this value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::json!(self).to_string().into_bytes()
    }

    /// Reads the bytes back.
    ///
    /// # Errors
    /// [`EditorRecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EditorRecordError> {
        serde_json::from_slice(bytes).map_err(|error| EditorRecordError { reason: error.to_string() })
    }
}

/// Payloads do not make a ledger.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerSetError {
    /// A payload is no ledger.
    #[error(transparent)]
    Decode(#[from] LedgerDecodeError),
    /// Payloads stand on different ground, or one does not fit.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A payload holds no fact, several, or another one than its key says.
    #[error("an entry holds another fact than its key says")]
    Key,
}

impl Ledger {
    /// The ledger as payloads by key: for each fact the ledger that holds this fact alone, so that every payload says by
    /// itself what it stands on. `key` spells a fact.
    ///
    /// # Errors
    /// None for a ledger that [`Ledger::add`] made.
    pub fn to_set(&self, key: impl Fn(&Fact) -> Vec<u8>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, LedgerError> {
        let alone = |(fact, entry): (&Fact, &super::Entry)| {
            let mut alone = Self::new(self.ground().clone());
            alone.add(fact.clone(), entry.clone())?;
            Ok((key(fact), alone.encode()))
        };
        self.iter().map(alone).collect()
    }

    /// The ledger that payloads by key hold; `None` when there are none.
    ///
    /// # Errors
    /// [`LedgerSetError`]; [`LedgerError::Ground`] in it when payloads stand on different ground.
    pub fn from_set(
        set: &BTreeMap<Vec<u8>, Vec<u8>>,
        key: impl Fn(&Fact) -> Vec<u8>,
    ) -> Result<Option<Self>, LedgerSetError> {
        let mut all: Option<Self> = None;
        for (spelled, payload) in set {
            let alone = Self::decode(payload)?;
            let ledger = all.get_or_insert_with(|| Self::new(alone.ground().clone()));
            ledger.ground().matches(alone.ground())?;
            let mut entries = alone.iter();
            let (Some((fact, entry)), None) = (entries.next(), entries.next()) else {
                return Err(LedgerSetError::Key);
            };
            if key(fact) != *spelled {
                return Err(LedgerSetError::Key);
            }
            ledger.add(fact.clone(), entry.clone())?;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that stores hold.
    #[test]
    fn the_bytes_of_an_editor_are_frozen() {
        let record = EditorRecord {
            layer: 3,
            layers: vec![2, 3],
            contexts: vec!["{}".to_owned(), "So. {}".to_owned()],
            settings: vec![("whiten".to_owned(), "true".to_owned())],
        };
        let bytes =
            br#"{"layer":3,"layers":[2,3],"contexts":["{}","So. {}"],"settings":[["whiten","true"]]}"#;
        assert_eq!(record.encode(), bytes);
        assert_eq!(EditorRecord::decode(bytes), Ok(record));
        assert!(EditorRecord::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
