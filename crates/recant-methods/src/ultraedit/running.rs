//! Mean and spread of keys and gradients over everything an editor has seen: the method's lifelong normalisation.

use recant_core::Matrix;
use recant_edit::{Carry, EditError};

/// Running mean and sum of squared deviations of each number of `[key; gradient]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Running {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

/// Added to every spread, for one of nothing divides too.
const LEAST_SPREAD: f64 = f32::EPSILON as f64;

impl Running {
    /// Nothing seen yet.
    pub(super) fn nothing(width: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; width], squares: vec![0.0; width] }
    }

    /// What a carry remembers under a name, or nothing seen yet.
    ///
    /// # Errors
    /// [`EditError::Misfit`] when it is of another width.
    pub(super) fn of(carry: &Carry, name: &str, width: usize) -> Result<Self, EditError> {
        let Some(matrix) = carry.matrices.get(name) else { return Ok(Self::nothing(width)) };
        let misfit = || EditError::Misfit { what: "the model and the spreads of earlier edits" };
        let numbers = || matrix.data().iter().map(|&x| f64::from(x));
        let held = Some(matrix).filter(|matrix| matrix.rows() == 3 && matrix.cols() == width);
        let count = held.and_then(|_| numbers().next()).ok_or_else(misfit)?;
        let row = |row: usize| numbers().skip(row * width).take(width).collect();
        Ok(Self { count, mean: row(1), squares: row(2) })
    }

    /// As a matrix of a carry: the number of tokens, the mean, the squared deviations.
    ///
    /// # Errors
    /// [`EditError::Carry`] when a number is beyond f32.
    pub(super) fn kept(&self, name: &str) -> Result<(String, Matrix), EditError> {
        let width = self.mean.len();
        let counts = std::iter::repeat_n(&self.count, width);
        #[expect(clippy::cast_possible_truncation, reason = "a carry holds f32")]
        let numbers = counts.chain(&self.mean).chain(&self.squares).map(|&x| x as f32).collect();
        let named = |source| EditError::Carry { name: name.to_owned(), source };
        Matrix::new(3, width, numbers).map(|matrix| (name.to_owned(), matrix)).map_err(named)
    }

    /// Sees one token more (Welford's update).
    pub(super) fn see<'a>(&mut self, numbers: impl Iterator<Item = &'a f64>) {
        self.count += 1.0;
        for ((x, mean), squares) in numbers.zip(&mut self.mean).zip(&mut self.squares) {
            let off = x - *mean;
            *mean += off / self.count;
            *squares += off * (x - *mean);
        }
    }

    /// `(x − mean) / std` of the numbers from `first` on.
    pub(super) fn normal(&self, first: usize, numbers: &[f64]) -> Vec<f64> {
        let freedom = (self.count - 1.0).max(1.0);
        let seen = self.mean.iter().zip(&self.squares).skip(first);
        let one = |(x, (mean, squares)): (&f64, (&f64, &f64))| {
            (x - mean) / ((squares / freedom).sqrt() + LEAST_SPREAD)
        };
        numbers.iter().zip(seen).map(one).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    /// Against mean and standard deviation by hand: 1, 2, 6 have mean 3 and (unbiased) variance 7.
    #[test]
    fn tokens_are_normal_by_what_was_seen_and_go_on_from_a_carry() {
        let mut running = Running::nothing(2);
        for pair in [[1.0, 5.0], [2.0, 5.0]] {
            running.see(pair.iter());
        }
        let mut carry = Carry::default();
        carry.matrices.extend([running.kept("a").unwrap()]);
        let mut running = Running::of(&carry, "a", 2).unwrap();
        running.see([6.0, 5.0].iter());
        let normal = running.normal(0, &[3.0 + 7f64.sqrt(), 5.0]);
        assert!((normal[0] - 1.0).abs() < 1e-6 && normal[1] == 0.0, "{normal:?}");
        assert_eq!(running.normal(1, &[5.0]), [0.0]);
        assert!(matches!(Running::of(&carry, "a", 3), Err(EditError::Misfit { .. })));
        assert_eq!(Running::of(&carry, "b", 3).unwrap(), Running::nothing(3));
    }
}
