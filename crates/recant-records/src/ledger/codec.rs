//! The ledger's bytes: one canonical encoding, read back with every claim checked.
//!
//! `recant-ledger-1\n`, base digest, recipe, u32 counts of layers, d_mlp, d_model, the layers, the count of
//! entries; then the entries in order: subject, prompt, target (u32 length and UTF-8 each), and for each layer
//! the key and the residual. Numbers are little-endian, vectors f32. A store keeps these bytes as they are; in a file
//! they are sealed.

use recant_core::ModelDigest;

use super::{Entry, Ground, Ledger, LedgerError, Part};
use crate::{Fact, FactError};

pub(crate) const MAGIC: &[u8; 16] = b"recant-ledger-1\n";

/// Bytes are no ledger.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerDecodeError {
    /// They begin otherwise.
    #[error("this is no ledger of recant")]
    Magic,
    /// They end too early.
    #[error("the ledger ends after {at} bytes, in the middle of something")]
    Truncated {
        /// Bytes there are.
        at: usize,
    },
    /// Bytes are left over.
    #[error("{count} bytes follow the ledger's end")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A text is not UTF-8.
    #[error("a text of the ledger is not UTF-8")]
    Utf8,
    /// Layers, entries or a fact are written otherwise than the encoder writes them.
    #[error("the ledger is not in its canonical form: {what}")]
    Form {
        /// What is wrong.
        what: &'static str,
    },
    /// A fact cannot be one.
    #[error("entry {index}: {source}")]
    Fact {
        /// The entry, counted from 0.
        index: usize,
        /// What is wrong.
        source: FactError,
    },
    /// An entry does not fit.
    #[error(transparent)]
    Entry(#[from] LedgerError),
}

impl Ledger {
    /// The ledger's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Ground { base, layers, d_mlp, d_model, recipe } = self.ground();
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(base.as_bytes());
        out.extend_from_slice(recipe);
        [layers.len(), *d_mlp, *d_model].iter().chain(layers).for_each(|&n| put(&mut out, n));
        put(&mut out, self.len());
        for (fact, entry) in self.iter() {
            for text in [&fact.subject, &fact.prompt, &fact.stored_target()] {
                put(&mut out, text.len());
                out.extend_from_slice(text.as_bytes());
            }
            for part in entry {
                part.key.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
                part.residual.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
            }
        }
        out
    }

    /// Reads a ledger back. Memory is bounded by the input.
    ///
    /// # Errors
    /// [`LedgerDecodeError`] on anything that [`Ledger::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, LedgerDecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(MAGIC.len()).map_err(|_| LedgerDecodeError::Magic)? != MAGIC {
            return Err(LedgerDecodeError::Magic);
        }
        let base = ModelDigest::from_bytes(reader.array()?);
        let recipe = reader.array()?;
        let (count, d_mlp, d_model) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let mut layers = Vec::new();
        for _ in 0..count {
            layers.push(reader.u32()?);
        }
        if !layers.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(LedgerDecodeError::Form { what: "its layers do not ascend" });
        }
        if count > 0 && d_mlp == 0 && d_model == 0 {
            // Parts that cost no bytes would cost memory.
            return Err(LedgerDecodeError::Form { what: "its vectors have no numbers" });
        }
        let mut ledger = Self::new(Ground { base, layers, d_mlp, d_model, recipe });
        for index in 0..reader.u32()? {
            let (subject, prompt, target) = (reader.text()?, reader.text()?, reader.text()?);
            let fact = Fact::stored(&subject, &prompt, &target)
                .map_err(|source| LedgerDecodeError::Fact { index, source })?;
            if (&fact.subject, &fact.prompt, fact.stored_target()) != (&subject, &prompt, target) {
                return Err(LedgerDecodeError::Form { what: "a fact is not in its normal form" });
            }
            if ledger.entries.last_key_value().is_some_and(|(last, _)| *last >= fact) {
                return Err(LedgerDecodeError::Form { what: "its entries are out of order" });
            }
            let entry = (0..count).map(|_| reader.part(d_mlp, d_model)).collect::<Result<Entry, _>>()?;
            ledger.add(fact, entry)?;
        }
        match bytes.len() - reader.at {
            0 => Ok(ledger),
            count => Err(LedgerDecodeError::Trailing { count }),
        }
    }
}

fn put(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], LedgerDecodeError> {
        let rest = &self.bytes[self.at..];
        if rest.len() < len {
            return Err(LedgerDecodeError::Truncated { at: self.bytes.len() });
        }
        self.at += len;
        Ok(&rest[..len])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LedgerDecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<usize, LedgerDecodeError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn text(&mut self) -> Result<String, LedgerDecodeError> {
        let len = self.u32()?;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| LedgerDecodeError::Utf8)?;
        Ok(text.to_owned())
    }

    fn vector(&mut self, len: usize) -> Result<Vec<f32>, LedgerDecodeError> {
        let bytes = self.take(len.saturating_mul(4))?;
        Ok(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
    }

    fn part(&mut self, d_mlp: usize, d_model: usize) -> Result<Part, LedgerDecodeError> {
        let key = self.vector(d_mlp)?;
        Ok(Part { key, residual: self.vector(d_model)? })
    }
}
