//! The canonical byte form of an adapter state.
//!
//! All integers are little-endian; a `text` is a u32 length and that many bytes of UTF-8. There is exactly one
//! encoding of a state, and decoding refuses every other one.
//!
//! ```text
//! magic     8   "RCNTADP1"
//! kind      text
//! base      32  model digest
//! layer     u32
//! settings  u32 count, then (text key, text value), keys strictly ascending
//! facts     u32 count, then u32 step, text subject, text prompt, text target,
//!               u32 count of locality prompts, that many texts; steps never descend
//! tensors   u32 count, then text name, u32 rows, u32 cols, rows*cols f32; names strictly ascending
//! ```

use std::collections::BTreeMap;

use super::{AdapterState, StateError, StoredFact};
use crate::{Matrix, MatrixError, ModelDigest, ParamPath, ParamPathError};

const MAGIC: &[u8; 8] = b"RCNTADP1";

/// Bytes are not an adapter state.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StateDecodeError {
    /// The bytes do not begin as a state of this version does.
    #[error("not a recant adapter state of version 1")]
    Magic,
    /// The bytes end early.
    #[error("the state ends at byte {at}, where {wanted} more bytes were expected; the file is truncated")]
    Truncated {
        /// Offset at which more was expected.
        at: usize,
        /// Bytes expected there.
        wanted: usize,
    },
    /// There are bytes behind the last tensor.
    #[error("{count} bytes follow the last tensor")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Utf8,
    /// Keys or names do not ascend.
    #[error("`{name}` stands out of order or twice")]
    Order {
        /// The one that does not follow its predecessor.
        name: String,
    },
    /// A tensor's name is not acceptable.
    #[error(transparent)]
    Path(#[from] ParamPathError),
    /// A tensor is empty or holds NaN or infinity.
    #[error("tensor `{name}`: {source}")]
    Matrix {
        /// The tensor.
        name: ParamPath,
        /// What is wrong.
        source: MatrixError,
    },
    /// The parts do not make a state.
    #[error(transparent)]
    State(#[from] StateError),
}

impl AdapterState {
    /// The canonical bytes; the layout stands at the top of this module's source.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_text(&mut out, &self.kind);
        out.extend_from_slice(self.base.as_bytes());
        out.extend_from_slice(&self.layer.to_le_bytes());
        put_u32(&mut out, self.settings.len());
        for (key, value) in &self.settings {
            put_text(&mut out, key);
            put_text(&mut out, value);
        }
        put_u32(&mut out, self.facts.len());
        for StoredFact { step, subject, prompt, target, locality } in &self.facts {
            out.extend_from_slice(&step.to_le_bytes());
            [subject, prompt, target].iter().for_each(|text| put_text(&mut out, text));
            put_u32(&mut out, locality.len());
            locality.iter().for_each(|text| put_text(&mut out, text));
        }
        put_u32(&mut out, self.tensors.len());
        for (name, matrix) in &self.tensors {
            put_text(&mut out, name.as_str());
            put_u32(&mut out, matrix.rows());
            put_u32(&mut out, matrix.cols());
            matrix.data().iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
        }
        out
    }

    /// Reads a state back. Memory is bounded by the input: no length is believed before its bytes are seen.
    ///
    /// # Errors
    /// [`StateDecodeError`] on anything that [`AdapterState::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateDecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(MAGIC.len()).map_err(|_| StateDecodeError::Magic)? != MAGIC {
            return Err(StateDecodeError::Magic);
        }
        let kind = reader.text()?;
        let base = ModelDigest::from_bytes(reader.array()?);
        let layer = u32::from_le_bytes(reader.array()?);
        let mut settings = BTreeMap::new();
        for _ in 0..reader.count()? {
            let (key, value) = (reader.text()?, reader.text()?);
            if settings.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(StateDecodeError::Order { name: key });
            }
            settings.insert(key, value);
        }
        let mut facts = Vec::new();
        for _ in 0..reader.count()? {
            let step = u32::from_le_bytes(reader.array()?);
            let (subject, prompt, target) = (reader.text()?, reader.text()?, reader.text()?);
            let mut locality = Vec::new();
            for _ in 0..reader.count()? {
                locality.push(reader.text()?);
            }
            facts.push(StoredFact { step, subject, prompt, target, locality });
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..reader.count()? {
            let name = ParamPath::new(reader.text()?)?;
            if tensors.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return Err(StateDecodeError::Order { name: name.to_string() });
            }
            let (rows, cols) = (reader.count()?, reader.count()?);
            let len = rows.checked_mul(cols).and_then(|count| count.checked_mul(4)).unwrap_or(usize::MAX);
            let numbers = reader.take(len)?.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            let matrix = Matrix::new(rows, cols, numbers)
                .map_err(|source| StateDecodeError::Matrix { name: name.clone(), source })?;
            tensors.insert(name, matrix);
        }
        match bytes.len() - reader.at {
            0 => Ok(Self::new(kind, base, layer, settings, facts, tensors)?),
            count => Err(StateDecodeError::Trailing { count }),
        }
    }
}

fn put_u32(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= AdapterState::MAX_TEXT, "the constructor bounds texts");
    put_u32(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], StateDecodeError> {
        let rest = &self.bytes[self.at..];
        if rest.len() < len {
            return Err(StateDecodeError::Truncated { at: self.bytes.len(), wanted: len - rest.len() });
        }
        self.at += len;
        Ok(&rest[..len])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateDecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn count(&mut self) -> Result<usize, StateDecodeError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn text(&mut self) -> Result<String, StateDecodeError> {
        let len = self.count()?;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| StateDecodeError::Utf8)?;
        Ok(text.to_owned())
    }
}
