//! The Cholesky factor of a symmetric positive definite matrix.

use faer::linalg::solvers::Llt;
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Mat, MatMut, Par, Side};

use crate::rows::Rows;

/// C = L Lᵀ, kept for solving.
#[derive(Debug, Clone)]
pub struct Cholesky {
    /// L, lower triangular.
    lower: Mat<f64>,
}

/// A matrix cannot be factored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FactorError {
    /// The numbers do not make a square matrix.
    #[error("{len} numbers do not fill a {dim} x {dim} matrix")]
    Shape {
        /// Side of the matrix.
        dim: usize,
        /// Numbers given.
        len: usize,
    },
    /// A number is NaN or infinite.
    #[error("element [{row}, {col}] is {value}, not a finite number")]
    NonFinite {
        /// Row of the element.
        row: usize,
        /// Column of the element.
        col: usize,
        /// The element.
        value: f64,
    },
    /// The matrix differs from its transpose.
    #[error("elements [{row}, {col}] and [{col}, {row}] differ by {difference:e}: not symmetric")]
    Asymmetric {
        /// Row of the element.
        row: usize,
        /// Column of the element.
        col: usize,
        /// By how much.
        difference: f64,
    },
    /// A pivot is not positive: the matrix is singular or indefinite.
    #[error("the matrix is not positive definite: the pivot of row {pivot} is not positive")]
    NotPositiveDefinite {
        /// The row whose pivot failed.
        pivot: usize,
    },
}

impl Cholesky {
    /// Factors `matrix` `[dim, dim]`, row-major, symmetric to 1e-9 of its largest diagonal element.
    ///
    /// # Errors
    /// [`FactorError`] names the first element or pivot that is not as it must be.
    pub fn new(dim: usize, matrix: &[f64]) -> Result<Self, FactorError> {
        match Llt::new(checked(dim, matrix)?.as_ref(), Side::Lower) {
            Ok(factor) => Ok(Self { lower: factor.L().to_owned() }),
            Err(faer::linalg::solvers::LltError::NonPositivePivot { index }) => {
                Err(FactorError::NotPositiveDefinite { pivot: index })
            }
        }
    }

    /// A factor that was kept: `lower` is L `[dim, dim]`, row-major.
    ///
    /// # Errors
    /// [`FactorError`] when it is no factor: a pivot that is not positive, a number above the diagonal, or one
    /// that is not finite.
    pub fn from_lower(dim: usize, lower: &[f64]) -> Result<Self, FactorError> {
        if dim == 0 || dim.checked_mul(dim) != Some(lower.len()) {
            return Err(FactorError::Shape { dim, len: lower.len() });
        }
        for (row, numbers) in lower.chunks_exact(dim).enumerate() {
            if let Some(col) = numbers.iter().position(|x| !x.is_finite()) {
                return Err(FactorError::NonFinite { row, col, value: numbers[col] });
            }
            if let Some(above) = numbers[row + 1..].iter().position(|&x| x != 0.0) {
                let col = row + 1 + above;
                return Err(FactorError::Asymmetric { row, col, difference: numbers[col] });
            }
            if numbers[row] <= 0.0 {
                return Err(FactorError::NotPositiveDefinite { pivot: row });
            }
        }
        Ok(Self { lower: Mat::from_fn(dim, dim, |i, j| lower[i * dim + j]) })
    }

    /// L, row-major, for [`Cholesky::from_lower`].
    #[must_use]
    pub fn lower(&self) -> Vec<f64> {
        Rows::from_mat(&self.lower).data().to_vec()
    }

    /// Side of the matrix.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.lower.nrows()
    }

    /// x with C x = `b`; `None` when `b` does not have [`Cholesky::dim`] numbers.
    #[must_use]
    pub fn solve(&self, b: &[f64]) -> Option<Vec<f64>> {
        self.column(b).map(|mut x| {
            self.solve_in_place(x.as_mut());
            numbers(&x)
        })
    }

    /// C⁻¹ b for every row b, all at once; `None` when the rows have another length. The last bits of a row
    /// may depend on how many rows there are.
    #[must_use]
    pub fn solve_rows(&self, rows: &Rows) -> Option<Rows> {
        if rows.width() != self.dim() {
            return None;
        }
        let mut x = rows.view().transpose().to_owned();
        self.solve_in_place(x.as_mut());
        Some(Rows::from_mat(&x.transpose().to_owned()))
    }

    /// L⁻¹ b: whitening, after which a dot product is one under C⁻¹. A function of `b` alone.
    #[must_use]
    pub fn whiten(&self, b: &[f64]) -> Option<Vec<f64>> {
        self.column(b).map(|mut x| {
            solve_lower_triangular_in_place(self.lower.as_ref(), x.as_mut(), Par::Seq);
            numbers(&x)
        })
    }

    /// L⁻ᵀ h: from a whitened vector h = L⁻¹ b to C⁻¹ b.
    #[must_use]
    pub fn unwhiten(&self, h: &[f64]) -> Option<Vec<f64>> {
        self.column(h).map(|mut x| {
            solve_upper_triangular_in_place(self.lower.transpose(), x.as_mut(), Par::Seq);
            numbers(&x)
        })
    }

    pub(crate) fn solve_in_place(&self, mut x: MatMut<'_, f64>) {
        solve_lower_triangular_in_place(self.lower.as_ref(), x.as_mut(), Par::Seq);
        solve_upper_triangular_in_place(self.lower.transpose(), x, Par::Seq);
    }

    fn column(&self, b: &[f64]) -> Option<Mat<f64>> {
        (b.len() == self.dim()).then(|| Mat::from_fn(b.len(), 1, |i, _| b[i]))
    }
}

fn numbers(column: &Mat<f64>) -> Vec<f64> {
    (0..column.nrows()).map(|i| column[(i, 0)]).collect()
}

/// A row-major matrix that is square, finite and symmetric to 1e-9 of its largest diagonal element.
pub(crate) fn checked(dim: usize, matrix: &[f64]) -> Result<Mat<f64>, FactorError> {
    if dim == 0 || dim.checked_mul(dim) != Some(matrix.len()) {
        return Err(FactorError::Shape { dim, len: matrix.len() });
    }
    if let Some(at) = matrix.iter().position(|x| !x.is_finite()) {
        return Err(FactorError::NonFinite { row: at / dim, col: at % dim, value: matrix[at] });
    }
    let largest = (0..dim).map(|i| matrix[i * dim + i].abs()).fold(0.0, f64::max);
    for row in 0..dim {
        for col in 0..row {
            let difference = (matrix[row * dim + col] - matrix[col * dim + row]).abs();
            if difference > 1e-9 * largest {
                return Err(FactorError::Asymmetric { row, col, difference });
            }
        }
    }
    Ok(Mat::from_fn(dim, dim, |i, j| matrix[i * dim + j]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times(dim: usize, matrix: &[f64], x: &[f64]) -> Vec<f64> {
        (0..dim).map(|i| (0..dim).map(|j| matrix[i * dim + j] * x[j]).sum()).collect()
    }

    #[test]
    fn a_hand_computed_system() {
        // [[4, 2], [2, 3]] x = [2, 5]: x = [-0.5, 2].
        let factor = Cholesky::new(2, &[4.0, 2.0, 2.0, 3.0]).unwrap();
        let x = factor.solve(&[2.0, 5.0]).unwrap();
        assert!((x[0] + 0.5).abs() < 1e-15 && (x[1] - 2.0).abs() < 1e-15, "{x:?}");
        assert_eq!(factor.solve(&[1.0]), None);
    }

    #[test]
    fn what_cannot_be_factored_is_named() {
        assert!(matches!(Cholesky::new(2, &[1.0]), Err(FactorError::Shape { .. })));
        assert!(matches!(Cholesky::new(0, &[]), Err(FactorError::Shape { .. })));
        let nan = Cholesky::new(2, &[1.0, f64::NAN, 0.0, 1.0]);
        assert!(matches!(nan, Err(FactorError::NonFinite { row: 0, col: 1, .. })));
        let skew = Cholesky::new(2, &[1.0, 0.5, -0.5, 1.0]);
        assert!(matches!(skew, Err(FactorError::Asymmetric { row: 1, col: 0, .. })));
        let singular = Cholesky::new(2, &[1.0, 1.0, 1.0, 1.0]);
        assert_eq!(singular.unwrap_err(), FactorError::NotPositiveDefinite { pivot: 1 });
        assert!(Cholesky::new(2, &[-1.0, 0.0, 0.0, 1.0]).is_err());
    }

    proptest! {
        /// The residual of C x = b is bounded by n eps ‖C‖ ‖x‖ with a small constant, on well- and
        /// ill-conditioned matrices alike (Higham, Accuracy and Stability, theorem 10.4).
        #[test]
        fn residuals_are_at_rounding_level(
            dim in 1usize..24,
            numbers in prop::collection::vec(-1.0f64..1.0, 24 * 24 + 24),
            exponent in 0i32..10,
        ) {
            let a = &numbers[..dim * dim];
            let ridge = 10f64.powi(-exponent);
            let gram = |i: usize, j: usize| (0..dim).map(|k| a[i * dim + k] * a[j * dim + k]).sum::<f64>();
            let matrix: Vec<f64> = (0..dim * dim)
                .map(|at| gram(at / dim, at % dim) + if at / dim == at % dim { ridge } else { 0.0 })
                .collect();
            let b = &numbers[24 * 24..24 * 24 + dim];
            let x = Cholesky::new(dim, &matrix).unwrap().solve(b).unwrap();
            let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
            let residual: Vec<f64> = times(dim, &matrix, &x).iter().zip(b).map(|(ax, b)| ax - b).collect();
            let bound = 16.0 * dim as f64 * f64::EPSILON * norm(&matrix) * norm(&x);
            prop_assert!(norm(&residual) <= bound, "{} > {bound}", norm(&residual));
        }
    }
}
