//! Sums in one fixed order, for results whose bytes must be the same on every machine and for every history.
//!
//! faer picks its kernels by the machine and by the shape of the whole problem, so that a key's image can
//! change in its last bits when another key joins the batch. What the edit ledger stores and compares is
//! computed here instead: every dot product in the same eight lanes, every factorisation in index order.

use crate::cholesky::FactorError;
use crate::rows::Rows;

/// Σ aᵢbᵢ in f64: eight running sums over the index modulo 8, added up in order. Extra numbers of the longer
/// slice are not read.
#[must_use]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (a_chunks, a_rest) = a.as_chunks::<8>();
    let (b_chunks, b_rest) = b.as_chunks::<8>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    let rest = a_rest.iter().zip(b_rest);
    for (lane, (x, y)) in lanes.iter_mut().zip(rest) {
        *lane += x * y;
    }
    lanes.iter().sum()
}

/// Results of `work` for 0..`count`, in order, computed on as many threads as the machine has. Each result is one
/// thread's, so that it does not depend on how many those are.
pub fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count);
    if threads < 2 {
        return (0..count).map(work).collect();
    }
    let each = count.div_ceil(threads);
    let part = |first: usize| (first..(first + each).min(count)).map(&work).collect::<Vec<T>>();
    let part = &part;
    std::thread::scope(|scope| {
        let others: Vec<_> =
            (each..count).step_by(each).map(|first| scope.spawn(move || part(first))).collect();
        let mut all = part(0);
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    })
}

/// Columns of an inverse that are solved for together: their rows stay in the cache.
const STRIP: usize = 64;

/// A factor of a symmetric positive definite n x n matrix, in index order.
#[derive(Debug, Clone, PartialEq)]
pub struct CanonicalFactor {
    n: usize,
    /// L, row-major, with zeros above the diagonal.
    lower: Vec<f64>,
}

impl CanonicalFactor {
    /// Factors `matrix` `[n, n]`, of which only the lower triangle is read.
    ///
    /// # Errors
    /// [`FactorError`].
    pub fn new(n: usize, matrix: &[f64]) -> Result<Self, FactorError> {
        if n == 0 || n.checked_mul(n) != Some(matrix.len()) {
            return Err(FactorError::Shape { dim: n, len: matrix.len() });
        }
        let mut lower = vec![0.0; n * n];
        for i in 0..n {
            let (above, this) = lower.split_at_mut(i * n);
            for j in 0..i {
                let other = &above[j * n..j * n + n];
                this[j] = (matrix[i * n + j] - dot(&this[..j], &other[..j])) / other[j];
            }
            let pivot = matrix[i * n + i] - dot(&this[..i], &this[..i]);
            if !pivot.is_finite() {
                return Err(FactorError::NonFinite { row: i, col: i, value: pivot });
            }
            if pivot <= 0.0 {
                return Err(FactorError::NotPositiveDefinite { pivot: i });
            }
            this[i] = pivot.sqrt();
        }
        Ok(Self { n, lower })
    }

    /// X with M X = `right`, row by row; `None` when `right` does not have n rows.
    #[must_use]
    pub fn solve(&self, right: &Rows) -> Option<Rows> {
        let (n, width) = (self.n, right.width());
        if right.count() != n {
            return None;
        }
        let mut x = right.data().to_vec();
        let subtract = |row: &mut [f64], factor: f64, other: &[f64]| {
            row.iter_mut().zip(other).for_each(|(x, y)| *x -= factor * y);
        };
        for i in 0..n {
            let (above, row) = x.split_at_mut(i * width);
            let row = &mut row[..width];
            above.chunks_exact(width).enumerate().for_each(|(j, other)| {
                subtract(row, self.lower[i * n + j], other);
            });
            row.iter_mut().for_each(|x| *x /= self.lower[i * n + i]);
        }
        for i in (0..n).rev() {
            let (row, below) = x[i * width..].split_at_mut(width);
            below.chunks_exact(width).enumerate().for_each(|(j, other)| {
                subtract(row, self.lower[(i + 1 + j) * n + i], other);
            });
            row.iter_mut().for_each(|x| *x /= self.lower[i * n + i]);
        }
        Rows::new(width, x)
    }

    /// Some columns of M⁻¹, `[n, columns]`; `None` of no columns or one that is not there. A number does not depend on
    /// which columns are asked for together.
    #[must_use]
    pub fn inverse_columns(&self, columns: std::ops::Range<usize>) -> Option<Rows> {
        if columns.end > self.n {
            return None;
        }
        let unit = |i: usize| columns.clone().map(move |at| if at == i { 1.0 } else { 0.0 });
        self.solve(&Rows::new(columns.len(), (0..self.n).flat_map(unit).collect())?)
    }

    /// M⁻¹, row-major. Strips of columns are solved on as many threads as the machine has; the numbers do not depend
    /// on how many those are.
    #[must_use]
    pub fn inverse(&self) -> Vec<f64> {
        let strip = |at: usize| self.inverse_columns(at * STRIP..((at + 1) * STRIP).min(self.n));
        let solved = in_parallel(self.n.div_ceil(STRIP), strip);
        let mut inverse = vec![0.0; self.n * self.n];
        for (at, columns) in solved.iter().enumerate() {
            let at = at * STRIP;
            let rows = inverse.chunks_exact_mut(self.n).zip(columns.iter().flat_map(Rows::iter));
            rows.for_each(|(row, part)| row[at..at + part.len()].copy_from_slice(part));
        }
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cholesky;
    use proptest::prelude::*;

    #[test]
    fn a_hand_computed_system() {
        let factor = CanonicalFactor::new(2, &[4.0, f64::NAN, 2.0, 3.0]).unwrap();
        let x = factor.solve(&Rows::new(1, vec![2.0, 5.0]).unwrap()).unwrap();
        assert!((x.data()[0] + 0.5).abs() < 1e-15 && (x.data()[1] - 2.0).abs() < 1e-15, "{x:?}");
        assert_eq!(factor.solve(&Rows::new(1, vec![2.0]).unwrap()), None);
        let singular = CanonicalFactor::new(2, &[1.0, 1.0, 1.0, 1.0]);
        assert_eq!(singular, Err(FactorError::NotPositiveDefinite { pivot: 1 }));
        assert!(matches!(CanonicalFactor::new(1, &[f64::NAN]), Err(FactorError::NonFinite { .. })));
        assert!(matches!(CanonicalFactor::new(2, &[1.0]), Err(FactorError::Shape { .. })));
    }

    #[test]
    fn results_come_in_order_whatever_the_count() {
        for count in [0, 1, 2, 3, 17] {
            assert_eq!(in_parallel(count, |i| i * i), (0..count).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    /// Over more than one strip, to the bit what solving for the whole unit matrix gives.
    #[test]
    fn an_inverse_is_the_solution_for_the_unit_matrix() {
        let n = 2 * STRIP + 3;
        let number = |i: usize, j: usize| ((i * j + 3 * (i + j)) as f64 * 0.7).sin() / n as f64;
        let matrix: Vec<f64> =
            (0..n * n).map(|at| number(at / n, at % n) + if at / n == at % n { 2.0 } else { 0.0 }).collect();
        let factor = CanonicalFactor::new(n, &matrix).unwrap();
        let unit = (0..n * n).map(|at| if at % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let expected = factor.solve(&Rows::new(n, unit).unwrap()).unwrap();
        let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&factor.inverse()), bits(expected.data()));
        assert_eq!(factor.inverse_columns(n..n + 1), None);
        let product: f64 =
            (0..n).map(|k| number(1, k) * expected.row(k)[1]).sum::<f64>() + 2.0 * expected.row(1)[1];
        assert!((product - 1.0).abs() < 1e-12, "{product}");
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_fast_factor(
            n in 1usize..30,
            numbers in prop::collection::vec(-1.0f64..1.0, 30 * 30 + 60),
        ) {
            let a = |i: usize| &numbers[i * n..(i + 1) * n];
            let entry = |i: usize, j: usize| dot(a(i), a(j)) + if i == j { 0.1 } else { 0.0 };
            let matrix: Vec<f64> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
            let right = Rows::new(2, numbers[900..900 + 2 * n].to_vec()).unwrap();
            let ours = CanonicalFactor::new(n, &matrix).unwrap().solve(&right).unwrap();
            let column: Vec<f64> = right.iter().map(|row| row[0]).collect();
            let theirs = Cholesky::new(n, &matrix).unwrap().solve(&column).unwrap();
            let size = dot(&theirs, &theirs).sqrt();
            for (row, x) in ours.iter().zip(theirs) {
                // The condition is at most (n + 0.1) / 0.1.
                let bound = 64.0 * n as f64 * f64::EPSILON * 10.0 * (n as f64 + 1.0) * size;
                prop_assert!((row[0] - x).abs() <= bound, "{} and {x}", row[0]);
            }
        }

        /// The first rows of a longer product do not depend on what comes behind them.
        #[test]
        fn a_dot_product_is_a_function_of_its_two_vectors(numbers in prop::collection::vec(-1.0f64..1.0, 60)) {
            let (a, b) = numbers.split_at(30);
            prop_assert_eq!(dot(a, b).to_bits(), dot(b, a).to_bits());
            let plain: f64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
            prop_assert!((dot(a, b) - plain).abs() < 1e-13);
        }
    }
}
