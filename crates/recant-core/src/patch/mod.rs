//! An edit of weights as a value, with its algebra.
//!
//! A [`WeightPatch`] names, for each parameter it changes, the content id of the tensor it was made for
//! and a [`Delta`]. Two kinds of delta exist because two kinds of knowledge exist:
//!
//! * [`Delta::Add`] says what to add. It composes with another addition to the *same* base tensor, and has
//!   no exact inverse: adding and then subtracting leaves about a fifth of f32 elements bit-different.
//! * [`Delta::Swap`] says which tensor to put there instead, by content id. It inverts exactly.
//!
//! [`WeightPatch::apply`] turns the first kind into the second: it computes the new tensors and returns a
//! swap patch that goes back to the former bytes.

mod apply;
mod codec;
mod compose;

use std::collections::BTreeMap;

pub use apply::{Applied, ApplyError, Blobs};
pub use codec::DecodeError;
pub use compose::{ComposeError, InvertError};

use crate::{Matrix, MatrixError, ParamPath, PatchId, TensorId};

/// What is added to a matrix `[rows, cols]`, in the checkpoint's own layout.
#[derive(Debug, Clone, PartialEq)]
pub enum Addend {
    /// ΔW = u vᵀ with u `[rows, rank]` and v `[cols, rank]`, kept as factors: a rank-one change of a
    /// 3072 x 768 matrix is 15 kB instead of 9 MB.
    LowRank {
        /// Left factor, `[rows, rank]`.
        u: Matrix,
        /// Right factor, `[cols, rank]`.
        v: Matrix,
    },
    /// ΔW in full, `[rows, cols]`.
    Dense(Matrix),
}

impl Addend {
    /// u vᵀ from factors `[rows, rank]` and `[cols, rank]`.
    ///
    /// # Errors
    /// [`MatrixError::Shape`] when the ranks differ or a factor is empty, [`MatrixError::NonFinite`] when an
    /// element is not a finite number.
    pub fn low_rank(u: Matrix, v: Matrix) -> Result<Self, MatrixError> {
        let (u, v) = (u.checked()?, v.checked()?);
        if u.cols() != v.cols() {
            return Err(MatrixError::Shape { rows: v.rows(), cols: u.cols(), len: v.data().len() });
        }
        Ok(Self::LowRank { u, v })
    }

    /// `[rows, cols]` of the matrix this can be added to.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::LowRank { u, v } => [u.rows(), v.rows()],
            Self::Dense(matrix) => [matrix.rows(), matrix.cols()],
        }
    }

    /// Rank of the factors, or `None` for a dense addend.
    #[must_use]
    pub fn rank(&self) -> Option<usize> {
        match self {
            Self::LowRank { u, .. } => Some(u.cols()),
            Self::Dense(_) => None,
        }
    }

    /// The same addend for a matrix stored the other way round.
    #[must_use]
    pub fn transposed(self) -> Self {
        match self {
            Self::LowRank { u, v } => Self::LowRank { u: v, v: u },
            Self::Dense(matrix) => Self::Dense(matrix.transposed()),
        }
    }

    /// ΔW in f64, `[rows, cols]` in row order: rank-one terms are summed in index order.
    #[must_use]
    pub fn to_dense(&self) -> Vec<f64> {
        let [rows, cols] = self.shape();
        let mut sum = vec![0.0; rows * cols];
        apply::add_to(&mut sum, self);
        sum
    }

    /// The Frobenius norm of ΔW.
    #[must_use]
    pub fn norm(&self) -> f64 {
        match self {
            Self::Dense(matrix) => matrix.norm(),
            Self::LowRank { .. } => self.to_dense().iter().map(|x| x * x).sum::<f64>().sqrt(),
        }
    }
}

/// How one parameter changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// The new tensor is the base plus this, summed in f64 and rounded once to the base's dtype.
    Add(Addend),
    /// The new tensor is the one with this content id.
    Swap {
        /// Content id of the tensor to put there.
        after: TensorId,
    },
}

/// One parameter's change and the tensor it was made for.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Content id of the tensor that this change was planned against. Applying it to any other tensor is
    /// refused, so a patch cannot be applied twice or to the wrong model by accident.
    pub base: TensorId,
    /// What happens to it.
    pub delta: Delta,
}

/// An edit of weights: parameter to change. The empty patch is the identity.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WeightPatch {
    changes: BTreeMap<ParamPath, Change>,
}

impl WeightPatch {
    /// The patch that changes nothing.
    #[must_use]
    pub fn identity() -> Self {
        Self::default()
    }

    /// A patch of one parameter.
    #[must_use]
    pub fn one(path: ParamPath, change: Change) -> Self {
        Self { changes: BTreeMap::from([(path, change)]) }
    }

    /// The changes in path order.
    #[must_use]
    pub fn changes(&self) -> &BTreeMap<ParamPath, Change> {
        &self.changes
    }

    /// Content id: BLAKE3 of [`WeightPatch::encode`].
    #[must_use]
    pub fn id(&self) -> PatchId {
        PatchId::from_bytes(crate::bytes_digest(&self.encode()))
    }
}
