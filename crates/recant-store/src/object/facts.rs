//! A set of facts with their payloads: what a ledger of closed-form edits is to the store.
//!
//! ```text
//! magic  8   "RCNTFCT1"
//! count  u32
//! entry  count times, keys strictly ascending
//!   key      u32 length, then that many bytes
//!   payload  u32 length, then that many bytes
//! ```

use std::collections::BTreeMap;

use recant_core::ObjectId;

use crate::codec::{DecodeError, Decoder, Encoder};

pub(super) const MAGIC: &[u8] = b"RCNTFCT1";

/// Unique keys with opaque payloads. The store takes unions and differences of such sets and knows nothing
/// of what a key or a payload means; whoever makes the sets must give equal facts equal keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FactSet {
    /// Key to payload.
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A union, and where its parts disagreed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Union {
    /// The merged set; of two payloads for one key, the greater.
    pub set: FactSet,
    /// Keys that both sides hold with different payloads that the common ancestor does not explain.
    pub conflicts: Vec<Vec<u8>>,
}

impl FactSet {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        out.count(self.entries.len());
        for (key, payload) in &self.entries {
            out.bytes(key);
            out.bytes(payload);
        }
        out.finish()
    }

    /// Content id.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        super::object_id(&self.encode())
    }

    /// Reads a set back.
    ///
    /// # Errors
    /// [`DecodeError`] on anything that [`FactSet::encode`] would not have written.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new("fact set", MAGIC, payload)?;
        let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for _ in 0..input.count()? {
            let key = input.bytes()?.to_vec();
            let shown = || String::from_utf8_lossy(&key).into_owned();
            input.ascends(entries.last_key_value().map(|(last, _)| last), &key, shown())?;
            entries.insert(key, input.bytes()?.to_vec());
        }
        input.finish()?;
        Ok(Self { entries })
    }

    /// Both sets' entries. Commutative, associative and idempotent: a key with two payloads keeps the greater
    /// one, whichever side it came from.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::default().merge(self, other).set
    }

    /// The three-way union: what either side added, changed or removed since `self`, their common ancestor.
    /// Commutative in the sides.
    #[must_use]
    pub fn merge(&self, ours: &Self, theirs: &Self) -> Union {
        let mut union = Union::default();
        let keys = ours.entries.keys().chain(theirs.entries.keys()).chain(self.entries.keys());
        for key in keys.collect::<std::collections::BTreeSet<_>>() {
            let of = |set: &Self| set.entries.get(key).cloned();
            let (was, one, other) = (of(self), of(ours), of(theirs));
            let merged = if one == other || other == was {
                one
            } else if one == was {
                other
            } else {
                union.conflicts.push(key.clone());
                // Some beats None, so an edit beats a removal.
                one.max(other)
            };
            if let Some(payload) = merged {
                union.set.entries.insert(key.clone(), payload);
            }
        }
        union
    }
}
