//! The canonical byte form of a patch.
//!
//! All integers are little-endian. There is exactly one encoding of a patch, and decoding refuses every
//! other one, so a patch's id is a function of its value.
//!
//! ```text
//! magic    8   "RCNTPAT1"
//! count    u32 number of changes
//! change   count times, paths strictly ascending
//!   path   u16 length, then that many bytes
//!   base   32  tensor id
//!   kind   u8  0 low-rank, 1 dense, 2 swap
//!   0:     u32 rows, u32 cols, u32 rank, u as rows*rank f32, v as cols*rank f32
//!   1:     u32 rows, u32 cols, rows*cols f32
//!   2:     32  tensor id
//! ```

use std::collections::BTreeMap;

use super::{Addend, Change, Delta, WeightPatch};
use crate::{Matrix, MatrixError, ParamPath, ParamPathError, TensorId};

const MAGIC: &[u8; 8] = b"RCNTPAT1";

/// Bytes are not a patch.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes do not begin as a patch of this version does.
    #[error("not a recant weight patch of version 1")]
    Magic,
    /// The bytes end early.
    #[error("the patch ends at byte {at}, where {wanted} more bytes were expected")]
    Truncated {
        /// Offset at which more was expected.
        at: usize,
        /// Bytes expected there.
        wanted: usize,
    },
    /// There are bytes behind the last change.
    #[error("{count} bytes follow the last change")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A path is not UTF-8.
    #[error("a parameter name is not UTF-8")]
    Utf8,
    /// A path is not acceptable.
    #[error(transparent)]
    Path(#[from] ParamPathError),
    /// The paths do not ascend.
    #[error("`{path}` stands out of order or twice")]
    Order {
        /// The path that does not follow its predecessor.
        path: ParamPath,
    },
    /// An unknown kind of change.
    #[error("`{path}` changes in unknown way {kind}")]
    Kind {
        /// The path.
        path: ParamPath,
        /// The kind byte.
        kind: u8,
    },
    /// A factor or matrix is empty or holds NaN or infinity.
    #[error("the change of `{path}` is not a matrix: {source}")]
    Matrix {
        /// The path.
        path: ParamPath,
        /// What is wrong.
        source: MatrixError,
    },
}

impl WeightPatch {
    /// The canonical bytes; the layout stands at the top of this module's source and in `docs/format.md`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_u32(&mut out, self.changes.len());
        for (path, change) in &self.changes {
            let name = path.as_str().as_bytes();
            debug_assert!(name.len() <= ParamPath::MAX_LEN, "a path's length fits two bytes");
            out.extend_from_slice(&[name.len() as u8, 0]);
            out.extend_from_slice(name);
            out.extend_from_slice(change.base.as_bytes());
            match &change.delta {
                Delta::Add(Addend::LowRank { u, v }) => {
                    out.push(0);
                    [u.rows(), v.rows(), u.cols()].iter().for_each(|&side| put_u32(&mut out, side));
                    put_f32s(&mut out, u.data());
                    put_f32s(&mut out, v.data());
                }
                Delta::Add(Addend::Dense(matrix)) => {
                    out.push(1);
                    [matrix.rows(), matrix.cols()].iter().for_each(|&side| put_u32(&mut out, side));
                    put_f32s(&mut out, matrix.data());
                }
                Delta::Swap { after } => {
                    out.push(2);
                    out.extend_from_slice(after.as_bytes());
                }
            }
        }
        out
    }

    /// Reads a patch back. Memory is bounded by the input: no length is believed before its bytes are seen.
    ///
    /// # Errors
    /// [`DecodeError`] on anything that [`WeightPatch::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(MAGIC.len()).map_err(|_| DecodeError::Magic)? != MAGIC {
            return Err(DecodeError::Magic);
        }
        let count = reader.u32()?;
        let mut changes = BTreeMap::new();
        for _ in 0..count {
            let len = usize::from(u16::from_le_bytes(reader.array()?));
            let name = std::str::from_utf8(reader.take(len)?).map_err(|_| DecodeError::Utf8)?;
            let path = ParamPath::new(name)?;
            if changes.last_key_value().is_some_and(|(last, _)| *last >= path) {
                return Err(DecodeError::Order { path });
            }
            let base = TensorId::from_bytes(reader.array()?);
            let delta = reader.delta(&path)?;
            changes.insert(path, Change { base, delta });
        }
        match bytes.len() - reader.at {
            0 => Ok(Self { changes }),
            count => Err(DecodeError::Trailing { count }),
        }
    }
}

fn put_u32(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_f32s(out: &mut Vec<u8>, numbers: &[f32]) {
    numbers.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        if rest.len() < len {
            return Err(DecodeError::Truncated { at: self.bytes.len(), wanted: len - rest.len() });
        }
        self.at += len;
        Ok(&rest[..len])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<usize, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn matrix(&mut self, path: &ParamPath, rows: usize, cols: usize) -> Result<Matrix, DecodeError> {
        let len = rows.checked_mul(cols).and_then(|count| count.checked_mul(4)).unwrap_or(usize::MAX);
        let numbers = self.take(len)?.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        Matrix::new(rows, cols, numbers).map_err(|source| DecodeError::Matrix { path: path.clone(), source })
    }

    fn delta(&mut self, path: &ParamPath) -> Result<Delta, DecodeError> {
        match self.array::<1>()?[0] {
            0 => {
                let (rows, cols, rank) = (self.u32()?, self.u32()?, self.u32()?);
                let u = self.matrix(path, rows, rank)?;
                let v = self.matrix(path, cols, rank)?;
                Ok(Delta::Add(Addend::LowRank { u, v }))
            }
            1 => {
                let (rows, cols) = (self.u32()?, self.u32()?);
                Ok(Delta::Add(Addend::Dense(self.matrix(path, rows, cols)?)))
            }
            2 => Ok(Delta::Swap { after: TensorId::from_bytes(self.array()?) }),
            kind => Err(DecodeError::Kind { path: path.clone(), kind }),
        }
    }
}
