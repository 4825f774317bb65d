//! The closed form of a batch of edits, by the push-through identity.
//!
//! With keys K `[d, n]`, residuals R `[m, n]` and a symmetric positive definite B `[d, d]`,
//!
//! ```math
//! R K^\top (B + K K^\top)^{-1} = R\,(I + K^\top B^{-1} K)^{-1} K^\top B^{-1}
//! ```
//!
//! The left side is how MEMIT is written down: a dense d x d system for every layer and every call. The right
//! side needs B⁻¹K, which one factor of B gives for any batch, and an n x n system. ΔW comes out as factors of
//! rank n and stays that way.
//!
//! The same n x n system with another ridge in the place of I is EMMET (equality constraints softened by a
//! ridge), and with a projector P in the place of B⁻¹ it is AlphaEdit, because
//! (P K Kᵀ + ρI) P K = P K (Kᵀ P K + ρI) whatever P is.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};

use crate::cholesky::{Cholesky, FactorError};
use crate::rows::Rows;

/// ΔW = Σᵢ leftᵢ rightᵢᵀ, `[m, d]`: factors of the rank of the batch.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// One vector of the output's length a rank.
    pub left: Rows,
    /// One vector of the key's length a rank.
    pub right: Rows,
}

/// A batch has no closed form.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The inputs do not fit each other.
    #[error("{keys} keys of length {width}, {images} images and {residuals} residuals do not make an update")]
    Shape {
        /// Number of keys.
        keys: usize,
        /// Their length.
        width: usize,
        /// Number of images B⁻¹k.
        images: usize,
        /// Number of residuals.
        residuals: usize,
    },
    /// The n x n system cannot be solved. Without a ridge that is what two equal keys do; the pivot's number
    /// is the key's.
    #[error("the system of the {keys} keys cannot be solved: {source}")]
    System {
        /// Number of keys.
        keys: usize,
        /// What is wrong.
        source: FactorError,
    },
    /// A result is NaN or infinite.
    #[error("the update of key {key} is not finite")]
    NonFinite {
        /// The first such key.
        key: usize,
    },
}

/// ΔW = R (KᵀA + ρI)⁻¹ Aᵀ with A = `images` (B⁻¹K, or PK) and ρ = `ridge`.
///
/// The first `residuals.count()` keys are the ones to write; further ones are kept as they are, with a
/// residual of zero, as AlphaEdit does with the keys of earlier edits. They cost no rank.
///
/// # Errors
/// [`UpdateError`].
pub fn push_through(
    keys: &Rows,
    images: &Rows,
    residuals: &Rows,
    ridge: f64,
) -> Result<LowRank, UpdateError> {
    let (n, new) = (keys.count(), residuals.count());
    if (images.count(), images.width()) != (n, keys.width()) || new > n || new == 0 {
        let images = images.count();
        return Err(UpdateError::Shape { keys: n, width: keys.width(), images, residuals: new });
    }
    let failed = |source| UpdateError::System { keys: n, source };
    let factor = Cholesky::new(n, &system(keys.view(), images.view(), ridge)).map_err(failed)?;
    let form = if new == n {
        LowRank { left: solve_columns(&factor, residuals.view()), right: images.clone() }
    } else {
        let unit = Mat::from_fn(n, new, |i, j| if i == j { 1.0 } else { 0.0 });
        let weights = solve_columns(&factor, unit.as_ref());
        LowRank { left: residuals.clone(), right: times(weights.view().transpose(), images.view()) }
    };
    let finite = |row: &[f64]| row.iter().all(|x| x.is_finite());
    match (0..new).find(|&key| !finite(form.left.row(key)) || !finite(form.right.row(key))) {
        Some(key) => Err(UpdateError::NonFinite { key }),
        None => Ok(form),
    }
}

/// ΔW = R Kᵀ (K Kᵀ + ρI)⁻¹ in full, `[m, d]` in row order: what [`push_through`] with the keys as their own images gives, by
/// a system of the key's length, for more keys than that.
///
/// # Errors
/// [`UpdateError`]; the pivot's number of a system that cannot be solved is that of a number of the keys.
pub fn ridge_update(keys: &Rows, residuals: &Rows, ridge: f64) -> Result<Vec<f64>, UpdateError> {
    let (n, d) = (keys.count(), keys.width());
    if residuals.count() != n || n == 0 {
        return Err(UpdateError::Shape { keys: n, width: d, images: n, residuals: residuals.count() });
    }
    let across = keys.view().transpose();
    let failed = |source| UpdateError::System { keys: n, source };
    let factor = Cholesky::new(d, &system(across, across, ridge)).map_err(failed)?;
    let right = times(across, residuals.view());
    let update = Rows::from_mat(&solve_columns(&factor, right.view()).view().transpose().to_owned());
    if update.data().iter().all(|x| x.is_finite()) {
        return Ok(update.data().to_vec());
    }
    // The first one that could have done it.
    let finite = |row: &[f64]| row.iter().all(|x| x.is_finite());
    let key = (0..n).find(|&key| !finite(keys.row(key)) || !finite(residuals.row(key)));
    Err(UpdateError::NonFinite { key: key.unwrap_or(0) })
}

/// KᵀA + ρI of keys and images in rows, made exactly symmetric: rounding alone leaves it a little off.
fn system(keys: MatRef<'_, f64>, images: MatRef<'_, f64>, ridge: f64) -> Vec<f64> {
    let n = keys.nrows();
    let mut gram = times(keys, images.transpose()).data().to_vec();
    for i in 0..n {
        for j in 0..i {
            let both = (gram[i * n + j] + gram[j * n + i]) / 2.0;
            (gram[i * n + j], gram[j * n + i]) = (both, both);
        }
        gram[i * n + i] += ridge;
    }
    gram
}

fn solve_columns(factor: &Cholesky, right: MatRef<'_, f64>) -> Rows {
    let mut x = right.to_owned();
    factor.solve_in_place(x.as_mut());
    Rows::from_mat(&x)
}

pub(crate) fn times(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Rows {
    let mut product = Mat::zeros(a.nrows(), b.ncols());
    matmul(product.as_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
    Rows::from_mat(&product)
}

impl LowRank {
    /// ΔW in full, row-major `[m, d]`.
    #[must_use]
    pub fn to_dense(&self) -> Vec<f64> {
        times(self.left.view().transpose(), self.right.view()).data().to_vec()
    }
}
