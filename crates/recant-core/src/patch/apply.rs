//! Applying a patch: new weights, and the swap patch that goes back.

use std::collections::BTreeMap;

use super::{Addend, Change, Delta, WeightPatch};
use crate::tensor::{decode, encode, round_all};
use crate::{Dtype, HostTensor, Matrix, ParamPath, TensorId, Weights};

/// Tensors by content id, for swap patches to draw on.
pub type Blobs = BTreeMap<TensorId, HostTensor>;

/// What applying a patch gives.
#[derive(Debug, Clone)]
#[must_use = "applying changes nothing in place: the new weights are in the result"]
pub struct Applied {
    /// The new weights; untouched tensors are shared with the old ones.
    pub weights: Weights,
    /// Paths whose tensor is another one now, under their first names.
    pub changed: Vec<ParamPath>,
    /// The swap patch from the new tensors back to the former ones.
    pub undo: WeightPatch,
    /// The former and the new tensors of every changed path: what `undo` and its inverse draw on.
    pub blobs: Blobs,
}

/// A patch cannot be applied to these weights. They are as they were.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The patch names a parameter that the weights do not have.
    #[error("the patch changes `{path}`, which this model does not have")]
    Unknown {
        /// The parameter.
        path: ParamPath,
    },
    /// The patch was made for another tensor.
    #[error(
        "the patch was made for `{path}` = {expected:?}, but the model holds {found:?}; \
         it was edited since, or it is another model"
    )]
    Base {
        /// The parameter.
        path: ParamPath,
        /// The tensor the patch was made for.
        expected: TensorId,
        /// The tensor that is there.
        found: TensorId,
    },
    /// The addend has another shape than the matrix.
    #[error("the change of `{path}` is {delta:?}, but the parameter is {tensor:?}")]
    Shape {
        /// The parameter.
        path: ParamPath,
        /// Shape of the addend.
        delta: [usize; 2],
        /// Shape of the tensor.
        tensor: Vec<usize>,
    },
    /// The parameter's type holds no real numbers.
    #[error("`{path}` is {dtype}; only float parameters can be added to")]
    NotFloat {
        /// The parameter.
        path: ParamPath,
        /// Its type.
        dtype: Dtype,
    },
    /// The sum leaves the range of the parameter's type.
    #[error("adding to `{path}` gives a number beyond {dtype} at [{row}, {col}]")]
    NonFinite {
        /// The parameter.
        path: ParamPath,
        /// Its type.
        dtype: Dtype,
        /// Row of the first such element.
        row: usize,
        /// Column of the first such element.
        col: usize,
    },
    /// A swap names a tensor that was not supplied.
    #[error("`{path}` should become {id:?}, whose bytes were not supplied")]
    Missing {
        /// The parameter.
        path: ParamPath,
        /// The tensor.
        id: TensorId,
    },
    /// A swap would change a parameter's shape or type.
    #[error("`{path}` should become a {after}, which does not fit its {before}")]
    Unlike {
        /// The parameter.
        path: ParamPath,
        /// Type and shape now.
        before: String,
        /// Type and shape asked for.
        after: String,
    },
    /// The patch changes one tied tensor by two names.
    #[error("`{path}` is changed twice, once by a tied name; keep one of the two")]
    TiedTwice {
        /// The first name of the tensor.
        path: ParamPath,
    },
}

impl WeightPatch {
    /// Computes the weights after this patch. `weights` is not changed; the result shares every untouched
    /// tensor with it. A change of a tied parameter, by either name, moves both.
    ///
    /// The result's bytes are a function of the patch and the base tensors alone: additions are summed on
    /// the host in f64, in index order, and rounded once to the tensor's dtype.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing is half-applied.
    pub fn apply(&self, weights: &Weights, blobs: &Blobs) -> Result<Applied, ApplyError> {
        let mut next = BTreeMap::new();
        let mut undo = WeightPatch::identity();
        let mut kept = Blobs::new();
        for (named, change) in &self.changes {
            let path = weights.canonical(named);
            let Some(former) = weights.get(path) else {
                return Err(ApplyError::Unknown { path: named.clone() });
            };
            let found = former.id();
            if change.base != found {
                return Err(ApplyError::Base { path: path.clone(), expected: change.base, found });
            }
            let tensor = match &change.delta {
                Delta::Add(addend) => addend.added_to(path, former)?,
                Delta::Swap { after } => swapped(path, former, *after, blobs)?,
            };
            let id = tensor.id();
            let back = Change { base: id, delta: Delta::Swap { after: found } };
            if undo.changes.insert(path.clone(), back).is_some() {
                return Err(ApplyError::TiedTwice { path: path.clone() });
            }
            kept.insert(found, former.clone());
            kept.insert(id, tensor.clone());
            next.insert(path.clone(), tensor);
        }
        let changed = next.keys().cloned().collect();
        Ok(Applied { weights: weights.with(next), changed, undo, blobs: kept })
    }
}

impl Addend {
    /// The tensor `base` + this: summed on the host in f64, in index order, and rounded once to the base's
    /// dtype. `path` only names the tensor in an error.
    ///
    /// # Errors
    /// [`ApplyError`] when shapes differ, the base holds no real numbers, or the sum leaves its range.
    pub fn added_to(&self, path: &ParamPath, base: &HostTensor) -> Result<HostTensor, ApplyError> {
        Self::all_added_to(&[self], path, base)
    }

    /// The tensor `base` + each of `addends`, one after the other and rounded after each: the bytes of as many
    /// calls of [`Addend::added_to`], at the price of one pass over memory, because a row stays in the cache.
    ///
    /// # Errors
    /// As [`Addend::added_to`].
    pub fn all_added_to(
        addends: &[&Self],
        path: &ParamPath,
        base: &HostTensor,
    ) -> Result<HostTensor, ApplyError> {
        let dtype = base.dtype();
        for addend in addends {
            let delta = addend.shape();
            if base.shape() != delta {
                return Err(ApplyError::Shape { path: path.clone(), delta, tensor: base.shape().to_vec() });
            }
        }
        let not_float = || ApplyError::NotFloat { path: path.clone(), dtype };
        if !dtype.is_float() {
            return Err(not_float());
        }
        let cols = base.shape().last().copied().unwrap_or(1).max(1);
        let terms: Vec<Terms<'_>> = addends.iter().map(|addend| Terms::new(addend)).collect();
        // One row at a time, so that its numbers stay near.
        let mut row = vec![0.0; cols];
        let mut bytes = vec![0; base.bytes().len()];
        let n_bytes = cols * dtype.size();
        let rows = base.bytes().chunks_exact(n_bytes).zip(bytes.chunks_exact_mut(n_bytes));
        for (i, (from, to)) in rows.enumerate() {
            decode(dtype, from, &mut row);
            for term in &terms {
                term.add_to_row(i, &mut row);
                round_all(dtype, &mut row);
            }
            encode(dtype, &row, to);
        }
        let tensor = HostTensor::new(dtype, base.shape().to_vec(), bytes.into()).map_err(|_| not_float())?;
        // What left the range in between has not come back: infinity plus anything finite is no number.
        match tensor.first_non_finite() {
            Some(at) => {
                Err(ApplyError::NonFinite { path: path.clone(), dtype, row: at / cols, col: at % cols })
            }
            None => Ok(tensor),
        }
    }
}

/// An addend laid out for adding row by row.
enum Terms<'a> {
    Dense(&'a Matrix),
    /// u as it is, v turned, so that the inner loop is contiguous.
    LowRank(&'a Matrix, Matrix),
}

impl<'a> Terms<'a> {
    fn new(addend: &'a Addend) -> Self {
        match addend {
            Addend::Dense(matrix) => Self::Dense(matrix),
            Addend::LowRank { u, v } => Self::LowRank(u, v.transposed()),
        }
    }

    /// `row += addend[i]`, element by element; the terms of one element are added in rank order.
    fn add_to_row(&self, i: usize, row: &mut [f64]) {
        match self {
            Self::Dense(matrix) => {
                row.iter_mut().zip(matrix.row(i)).for_each(|(total, &term)| *total += f64::from(term));
            }
            Self::LowRank(u, columns) => {
                for (r, &u_ir) in u.row(i).iter().enumerate() {
                    for (total, &v_jr) in row.iter_mut().zip(columns.row(r)) {
                        *total += f64::from(u_ir) * f64::from(v_jr);
                    }
                }
            }
        }
    }
}

/// `sum += addend`, row by row.
pub(super) fn add_to(sum: &mut [f64], addend: &Addend) {
    let terms = Terms::new(addend);
    let cols = addend.shape()[1].max(1);
    sum.chunks_exact_mut(cols).enumerate().for_each(|(i, row)| terms.add_to_row(i, row));
}

fn swapped(
    path: &ParamPath,
    former: &HostTensor,
    after: TensorId,
    blobs: &Blobs,
) -> Result<HostTensor, ApplyError> {
    let Some(tensor) = blobs.get(&after) else {
        return Err(ApplyError::Missing { path: path.clone(), id: after });
    };
    // A blob under a wrong id would put back other bytes than those promised.
    if tensor.id() != after {
        return Err(ApplyError::Missing { path: path.clone(), id: after });
    }
    let describe = |t: &HostTensor| format!("{} {:?}", t.dtype(), t.shape());
    if (tensor.dtype(), tensor.shape()) != (former.dtype(), former.shape()) {
        return Err(ApplyError::Unlike {
            path: path.clone(),
            before: describe(former),
            after: describe(tensor),
        });
    }
    Ok(tensor.clone())
}
