//! The best approximation of a low-rank update by one of smaller rank.

use crate::push_through::{LowRank, times};
use crate::rows::Rows;

impl LowRank {
    /// The closest update of rank at most `rank` (Eckart and Young), and how far it is off: ‖ΔW − ΔW'‖ / ‖ΔW‖ in
    /// the Frobenius norm. `None` when `rank` is zero or the singular values were not found.
    ///
    /// The factors are orthogonalised first, so that the SVD is one of the rank's size.
    #[must_use]
    pub fn truncated(&self, rank: usize) -> Option<(Self, f64)> {
        if rank == 0 {
            return None;
        }
        let (left, right) = (self.left.view().transpose().qr(), self.right.view().transpose().qr());
        let core = times(left.thin_R(), right.thin_R().transpose());
        let svd = core.view().thin_svd().ok()?;
        let values: Vec<f64> = svd.S().column_vector().iter().copied().collect();
        let kept = rank.min(values.len());
        let squares = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>();
        let error = (squares(&values[kept..]) / squares(&values).max(f64::MIN_POSITIVE)).sqrt();
        let columns = times(left.compute_thin_Q().as_ref(), svd.U().get(.., ..kept));
        let other = times(right.compute_thin_Q().as_ref(), svd.V().get(.., ..kept));
        let turned = |matrix: &Rows, scale: Option<&[f64]>| {
            let column = |k: usize| {
                let by = scale.map_or(1.0, |scale| scale[k]);
                matrix.iter().map(move |row| row[k] * by)
            };
            Rows::new(matrix.count(), (0..kept).flat_map(column).collect())
        };
        Some((Self { left: turned(&columns, Some(&values))?, right: turned(&other, None)? }, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn difference(a: &LowRank, b: &LowRank) -> f64 {
        let (a, b) = (a.to_dense(), b.to_dense());
        let squares: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
        squares.sqrt()
    }

    #[test]
    fn the_larger_direction_is_kept() {
        // 3 e₁e₁ᵀ + 4 e₂e₂ᵀ: rank one keeps the 4 and misses 3 of 5.
        let rows = |numbers: [f64; 4]| Rows::new(2, numbers.to_vec()).unwrap();
        let form = LowRank { left: rows([3.0, 0.0, 0.0, 4.0]), right: rows([1.0, 0.0, 0.0, 1.0]) };
        let (one, error) = form.truncated(1).unwrap();
        assert!((error - 0.6).abs() < 1e-14, "{error}");
        let dense = one.to_dense();
        for (found, wanted) in dense.iter().zip([0.0, 0.0, 0.0, 4.0]) {
            assert!((found - wanted).abs() < 1e-13, "{dense:?}");
        }
        assert_eq!(form.truncated(0), None);
    }

    proptest! {
        /// The error is the one that is left, it never grows with the rank, and the full rank is exact.
        #[test]
        fn the_error_is_what_is_missing(
            n in 1usize..6,
            numbers in prop::collection::vec(-1.0f64..1.0, 6 * 9 + 6 * 7),
        ) {
            let form = LowRank {
                left: Rows::new(7, numbers[..n * 7].to_vec()).unwrap(),
                right: Rows::new(9, numbers[42..42 + n * 9].to_vec()).unwrap(),
            };
            let norm = form.to_dense().iter().map(|x| x * x).sum::<f64>().sqrt();
            let mut last = f64::INFINITY;
            for rank in 1..=n {
                let (smaller, error) = form.truncated(rank).unwrap();
                prop_assert_eq!(smaller.left.count(), rank);
                prop_assert!((difference(&form, &smaller) - error * norm).abs() < 1e-12 * norm.max(1.0));
                prop_assert!(error <= last);
                last = error;
            }
            prop_assert!(last < 1e-13);
        }
    }
}
