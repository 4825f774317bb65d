//! The change of one layer's matrix: as factors where that is smaller, in full where it is not.

use recant_core::{Addend, Matrix, WeightPatch};
use recant_edit::EditError;
use recant_linalg::{LowRank, Rows, push_through, ridge_update};
use recant_model::{Model, Slot};

use crate::batch::{express, unsolved};
use crate::region::no_matrix;

/// Δ `[d_model, d_key]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// Factors.
    Low(LowRank),
    /// The numbers in row order.
    Full(Vec<f64>),
}

/// Whether so many factors are smaller than the matrix.
fn pays(rank: usize, keys: usize, values: usize) -> bool {
    rank.saturating_mul(keys + values) < keys * values
}

impl Change {
    /// Δ = ((HᵀH + ρI)⁻¹ HᵀV)ᵀ, by a system of as many rows as tokens or as a key has numbers, whichever is smaller.
    ///
    /// # Errors
    /// Those of [`unsolved`].
    pub(super) fn of(keys: &Rows, values: &Rows, ridge: f64) -> Result<Self, EditError> {
        match pays(keys.count(), keys.width(), values.width()) {
            // (HᵀH + ρI)⁻¹ Hᵀ = Hᵀ (H Hᵀ + ρI)⁻¹
            true => push_through(keys, keys, values, ridge).map(Self::Low),
            false => ridge_update(keys, values, ridge).map(Self::Full),
        }
        .map_err(unsolved)
    }

    /// Both, one after the other. `None` when they are of different shapes.
    pub(super) fn plus(self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Low(one), Self::Low(two))
                if pays(one.left.count() + two.left.count(), one.right.width(), one.left.width()) =>
            {
                let (left, right) = (one.left.above(&two.left)?, one.right.above(&two.right)?);
                Some(Self::Low(LowRank { left, right }))
            }
            (one, two) => {
                let (mut sum, other) = (one.full(), two.full());
                sum.iter_mut().zip(&other).for_each(|(x, y)| *x += y);
                (sum.len() == other.len()).then_some(Self::Full(sum))
            }
        }
    }

    fn full(self) -> Vec<f64> {
        match self {
            Self::Low(form) => form.to_dense(),
            Self::Full(numbers) => numbers,
        }
    }

    /// As a patch of the model's own layout.
    ///
    /// # Errors
    /// [`EditError::Layer`], [`EditError::Mixture`]; [`EditError::Divisor`] when a number is beyond f32.
    pub(super) fn patch(&self, model: &Model, layer: usize) -> Result<WeightPatch, EditError> {
        let numbers = match self {
            Self::Low(form) => return express(model, layer, form),
            Self::Full(numbers) => numbers,
        };
        #[expect(clippy::cast_possible_truncation, reason = "patches are stored in f32")]
        let numbers = numbers.iter().map(|&x| x as f32).collect();
        let matrix = Matrix::new(model.spec().d_model, model.spec().d_mlp, numbers);
        let matrix = matrix.map_err(|_| EditError::Divisor { divisor: f64::NAN })?;
        let patch = model.express(Slot::MlpDown(layer), Addend::Dense(matrix));
        patch.ok_or_else(|| no_matrix(model, layer))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn rows(width: usize, count: usize, seed: u32) -> Rows {
        let number = |i: u32| {
            f64::from((i.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(40_503)) % 1_000) / 500.0 - 1.0
        };
        Rows::new(width, (0..(width * count) as u32).map(number).collect()).unwrap()
    }

    /// The system of tokens and the system of a key's numbers are one change, and it answers the normal equations:
    /// Δ (HᵀH + ρI) = VᵀH.
    #[test]
    fn both_systems_give_one_change() {
        for count in [2, 9, 30] {
            let (keys, values) = (rows(9, count, 1), rows(5, count, 2));
            let low = push_through(&keys, &keys, &values, 0.5).unwrap().to_dense();
            let full = ridge_update(&keys, &values, 0.5).unwrap();
            for i in 0..5 {
                for j in 0..9 {
                    let gram = |a: usize, b: usize| -> f64 {
                        keys.iter().map(|key| key[a] * key[b]).sum::<f64>() + if a == b { 0.5 } else { 0.0 }
                    };
                    let is: f64 = (0..9).map(|k| full[i * 9 + k] * gram(k, j)).sum();
                    let wanted: f64 =
                        keys.iter().zip(values.iter()).map(|(key, value)| value[i] * key[j]).sum();
                    assert!((is - wanted).abs() < 1e-9, "{count}: {is} {wanted}");
                    assert!((low[i * 9 + j] - full[i * 9 + j]).abs() < 1e-9, "{count}");
                }
            }
            let chosen = Change::of(&keys, &values, 0.5).unwrap();
            assert_eq!(matches!(chosen, Change::Low(_)), count * 14 < 45, "{count}");
        }
    }

    #[test]
    fn changes_add_up_as_factors_and_in_full() {
        let change = |count, seed| Change::of(&rows(9, count, seed), &rows(5, count, seed + 1), 0.5).unwrap();
        for (one, two, low) in [(1, 2, true), (2, 2, false), (1, 30, false), (30, 30, false)] {
            let (one, two) = (change(one, 1), change(two, 5));
            let wanted: Vec<f64> =
                one.clone().full().iter().zip(two.clone().full()).map(|(x, y)| x + y).collect();
            let sum = one.plus(two).unwrap();
            assert_eq!(matches!(sum, Change::Low(_)), low);
            assert!(sum.full().iter().zip(&wanted).all(|(x, y)| (x - y).abs() < 1e-12));
        }
        let other = Change::Full(vec![0.0; 7]);
        assert_eq!(change(30, 1).plus(other), None);
    }
}
