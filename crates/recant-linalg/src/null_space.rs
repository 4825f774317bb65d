//! The projector onto the directions that a second moment leaves (nearly) empty.

use faer::{Mat, Side};

use crate::cholesky::{FactorError, checked};
use crate::push_through::times;
use crate::rows::Rows;

/// P = U₀U₀ᵀ, where U₀ are the eigenvectors of a symmetric matrix whose eigenvalues lie below a threshold.
///
/// Kept as the thinner of U₀ and its complement, never as a d x d matrix.
#[derive(Debug, Clone)]
pub struct NullSpace {
    /// Orthonormal columns: U₀, or the eigenvectors that are left out.
    basis: Mat<f64>,
    /// Whether `basis` spans what P removes.
    complement: bool,
    rank: usize,
}

/// A null space cannot be found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NullSpaceError {
    /// The matrix is not a symmetric matrix of numbers.
    #[error(transparent)]
    Matrix(#[from] FactorError),
    /// The eigenvalue iteration did not converge.
    #[error("the eigenvalues of a {dim} x {dim} matrix were not found")]
    NoConvergence {
        /// Side of the matrix.
        dim: usize,
    },
    /// No eigenvalue lies below the threshold: nothing could be written.
    #[error("no eigenvalue is below {threshold}; the smallest is {smallest:e}")]
    Empty {
        /// The threshold.
        threshold: f64,
        /// The smallest eigenvalue.
        smallest: f64,
    },
}

impl NullSpace {
    /// The eigenvectors of `matrix` `[dim, dim]` (row-major, symmetric) with eigenvalues below `threshold`, by
    /// a symmetric eigendecomposition: for a second moment its singular values are its eigenvalues, and `eigh`
    /// costs a fraction of an SVD.
    ///
    /// # Errors
    /// [`NullSpaceError`].
    pub fn of(dim: usize, matrix: &[f64], threshold: f64) -> Result<Self, NullSpaceError> {
        let matrix = checked(dim, matrix)?;
        let eigen =
            matrix.self_adjoint_eigen(Side::Lower).map_err(|_| NullSpaceError::NoConvergence { dim })?;
        let (vectors, values) = (eigen.U(), eigen.S().column_vector());
        // faer sorts them in nondecreasing order.
        let rank = (0..dim).take_while(|&i| values[i] < threshold).count();
        if rank == 0 {
            return Err(NullSpaceError::Empty { threshold, smallest: values[0] });
        }
        let complement = rank > dim / 2;
        let columns = if complement { vectors.get(.., rank..) } else { vectors.get(.., ..rank) };
        Ok(Self { basis: columns.to_owned(), complement, rank })
    }

    /// Number of directions that P keeps.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// P k for every row; `None` when the rows have another length.
    #[must_use]
    pub fn project(&self, keys: &Rows) -> Option<Rows> {
        if keys.width() != self.basis.nrows() {
            return None;
        }
        if self.basis.ncols() == 0 {
            return Some(keys.clone());
        }
        let coordinates = times(keys.view(), self.basis.as_ref());
        let spanned = times(coordinates.view(), self.basis.transpose());
        if self.complement { keys.clone().minus(&spanned) } else { Some(spanned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hand_computed_projector() {
        // diag(4, 0.01) in a basis turned by 45 degrees: P is the projector onto (1, -1)/√2.
        let matrix = [2.005, 1.995, 1.995, 2.005];
        let space = NullSpace::of(2, &matrix, 0.02).unwrap();
        assert_eq!(space.rank(), 1);
        let projected = space.project(&Rows::new(2, vec![1.0, 0.0, 1.0, 1.0]).unwrap()).unwrap();
        for (found, wanted) in projected.data().iter().zip([0.5, -0.5, 0.0, 0.0]) {
            assert!((found - wanted).abs() < 1e-14, "{projected:?}");
        }
        assert_eq!(space.project(&Rows::new(3, vec![1.0; 3]).unwrap()), None);
    }

    #[test]
    fn an_empty_null_space_and_a_damaged_matrix_are_refused() {
        let full = NullSpace::of(2, &[1.0, 0.0, 0.0, 3.0], 0.02);
        assert!(
            matches!(full, Err(NullSpaceError::Empty { smallest, .. }) if (smallest - 1.0).abs() < 1e-15)
        );
        let nan = NullSpace::of(2, &[f64::NAN, 0.0, 0.0, 1.0], 0.02);
        assert!(matches!(nan, Err(NullSpaceError::Matrix(FactorError::NonFinite { .. }))));
        let all = NullSpace::of(2, &[0.0; 4], 0.02).unwrap();
        let k = Rows::new(2, vec![3.0, 4.0]).unwrap();
        assert_eq!(all.project(&k).unwrap(), k);
    }

    proptest! {
        /// P is idempotent and symmetric, and what it keeps is (nearly) invisible to the matrix; both for thin
        /// and for wide null spaces.
        #[test]
        fn it_is_a_projector_onto_what_the_matrix_does_not_see(
            dim in 2usize..20,
            kept in 1usize..20,
            numbers in prop::collection::vec(-1.0f64..1.0, 20 * 20 + 40),
        ) {
            let kept = kept.min(dim - 1);
            // A Gram matrix of `kept` vectors has rank at most `kept`.
            let vector = |i: usize| &numbers[i * dim..(i + 1) * dim];
            let entry = |i: usize, j: usize| (0..kept).map(|v| vector(v)[i] * vector(v)[j]).sum::<f64>();
            let matrix: Vec<f64> = (0..dim * dim).map(|at| entry(at / dim, at % dim)).collect();
            let space = NullSpace::of(dim, &matrix, 1e-10).unwrap();
            prop_assert!(space.rank() >= dim - kept);
            let k = Rows::new(dim, numbers[400..400 + 2 * dim].to_vec()).unwrap();
            let once = space.project(&k).unwrap();
            let twice = space.project(&once).unwrap();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            for (a, b) in once.data().iter().zip(twice.data()) {
                prop_assert!((a - b).abs() < 1e-12);
            }
            prop_assert!((dot(once.row(0), k.row(1)) - dot(k.row(0), once.row(1))).abs() < 1e-12);
            let seen: Vec<f64> =
                (0..dim).map(|i| dot(&matrix[i * dim..(i + 1) * dim], once.row(0))).collect();
            prop_assert!(dot(&seen, &seen).sqrt() < 1e-9);
        }
    }
}
