//! The closed forms beside a dense solve of the equations as the papers write them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use faer::Mat;
use faer::linalg::solvers::Solve;
use proptest::prelude::*;
use recant_linalg::{Cholesky, FactorError, NullSpace, Rows, UpdateError, push_through};

const D: usize = 20;
const M: usize = 6;

fn rows(width: usize, numbers: &[f64], count: usize) -> Rows {
    Rows::new(width, numbers[..count * width].to_vec()).unwrap()
}

fn mat(rows: &Rows) -> Mat<f64> {
    Mat::from_fn(rows.count(), rows.width(), |i, j| rows.row(i)[j])
}

/// A symmetric matrix with the given eigenvalues: three Householder reflections of a diagonal.
fn with_eigenvalues(values: &[f64], numbers: &[f64]) -> Mat<f64> {
    let d = values.len();
    let mut matrix = Mat::from_fn(d, d, |i, j| if i == j { values[i] } else { 0.0 });
    for part in 0..3 {
        let v = Mat::from_fn(d, 1, |i, _| numbers[part * d + i] + if i == part { 1.5 } else { 0.0 });
        let length = (v.transpose() * &v)[(0, 0)];
        let reflect = Mat::from_fn(d, d, |i, j| {
            (if i == j { 1.0 } else { 0.0 }) - 2.0 * v[(i, 0)] * v[(j, 0)] / length
        });
        matrix = &reflect * matrix * &reflect;
    }
    Mat::from_fn(d, d, |i, j| (matrix[(i, j)] + matrix[(j, i)]) / 2.0)
}

fn slice(matrix: &Mat<f64>) -> Vec<f64> {
    (0..matrix.nrows()).flat_map(|i| (0..matrix.ncols()).map(move |j| matrix[(i, j)])).collect()
}

/// R Kᵀ M⁻¹ by a dense LU; rows are keys and residuals. `m` need not be symmetric.
fn dense(residuals: &Mat<f64>, keys: &Mat<f64>, m: &Mat<f64>) -> Vec<f64> {
    let right = keys.transpose() * residuals; // [d, m]
    slice(&m.transpose().to_owned().partial_piv_lu().solve(&right).transpose().to_owned())
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn difference(a: &[f64], b: &[f64]) -> f64 {
    norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>())
}

/// Eigenvalues from 1 down to 10^-decades.
fn spread(decades: i32) -> Vec<f64> {
    (0..D).map(|i| 10f64.powf(-f64::from(decades) * i as f64 / (D - 1) as f64)).collect()
}

proptest! {
    /// MEMIT: R Kᵀ (B + K Kᵀ)⁻¹. The bound grows with n eps and the condition of the dense system and of B,
    /// which are known by construction; keys may repeat.
    #[test]
    fn memit_equals_the_dense_solve(
        n in 1usize..12,
        decades in 0i32..8,
        repeat in any::<bool>(),
        numbers in prop::collection::vec(-1.0f64..1.0, 3 * D + 12 * D + 12 * M),
    ) {
        let b = with_eigenvalues(&spread(decades), &numbers);
        let mut keys = numbers[3 * D..3 * D + n * D].to_vec();
        if repeat && n > 1 {
            let first = keys[..D].to_vec();
            keys[D..2 * D].copy_from_slice(&first);
        }
        let keys = Rows::new(D, keys).unwrap();
        let residuals = rows(M, &numbers[15 * D..], n);
        let factor = Cholesky::new(D, &slice(&b)).unwrap();
        let form = push_through(&keys, &factor.solve_rows(&keys).unwrap(), &residuals, 1.0).unwrap();
        let k = mat(&keys);
        let expected = dense(&mat(&residuals), &k, &(&b + k.transpose() * &k));
        let condition = (1.0 + norm(keys.data()).powi(2)) * 10f64.powi(decades);
        let bound = 16.0 * (n + D) as f64 * f64::EPSILON * condition * norm(&expected).max(1e-12);
        let off = difference(&form.to_dense(), &expected);
        prop_assert!(off <= bound, "{off:e} > {bound:e}");
        prop_assert_eq!(form.left.count(), n);
    }

    /// EMMET without a ridge writes what it is asked to: ΔW K = R exactly, up to the system's condition.
    #[test]
    fn without_a_ridge_the_keys_get_their_residuals(
        n in 1usize..8,
        decades in 0i32..5,
        numbers in prop::collection::vec(-1.0f64..1.0, 3 * D + 8 * D + 8 * M),
    ) {
        let b = with_eigenvalues(&spread(decades), &numbers);
        let keys = rows(D, &numbers[3 * D..], n);
        let residuals = rows(M, &numbers[11 * D..], n);
        let factor = Cholesky::new(D, &slice(&b)).unwrap();
        let images = factor.solve_rows(&keys).unwrap();
        let Ok(form) = push_through(&keys, &images, &residuals, 0.0) else { return Ok(()) };
        let written = slice(&(mat(&keys) * Mat::from_fn(D, M, |i, j| form.to_dense()[j * D + i])));
        let gram = mat(&keys) * mat(&images).transpose();
        let values = gram.self_adjoint_eigenvalues(faer::Side::Lower).unwrap();
        let condition = values[n - 1] / values[0];
        let scale = norm(&form.to_dense()) * norm(keys.data());
        let bound = 64.0 * (n + D) as f64 * f64::EPSILON * condition.max(1.0) * scale.max(1.0);
        let off = difference(&written, residuals.data());
        prop_assert!(off <= bound, "{off:e} > {bound:e}");
    }

    /// AlphaEdit: (P (K Kᵀ + Kₚ Kₚᵀ) + ρI)⁻¹ P K Rᵀ by LU, transposed; with earlier keys and without.
    #[test]
    fn alphaedit_equals_the_dense_solve(
        n in 1usize..6,
        earlier in 0usize..6,
        rank in 1usize..D,
        numbers in prop::collection::vec(-1.0f64..1.0, 3 * D + 12 * D + 6 * M),
    ) {
        let values: Vec<f64> = (0..D).map(|i| if i < rank { 0.0 } else { 1.0 + i as f64 }).collect();
        let c = with_eigenvalues(&values, &numbers);
        let space = NullSpace::of(D, &slice(&c), 0.5).unwrap();
        prop_assert_eq!(space.rank(), rank);
        let all = rows(D, &numbers[3 * D..], n + earlier);
        let residuals = rows(M, &numbers[15 * D..], n);
        let images = space.project(&all).unwrap();
        let form = push_through(&all, &images, &residuals, 0.5).unwrap();
        prop_assert_eq!(form.right.count(), n);
        let unit = Rows::new(D, (0..D * D).map(|i| if i % (D + 1) == 0 { 1.0 } else { 0.0 }).collect());
        let p = mat(&space.project(&unit.unwrap()).unwrap());
        let m = mat(&all);
        let ridge = Mat::from_fn(D, D, |i, j| if i == j { 0.5 } else { 0.0 });
        let system = &p * m.transpose() * &m + ridge;
        let new = mat(&rows(D, all.data(), n));
        let right = &p * new.transpose() * mat(&residuals);
        let expected = slice(&system.partial_piv_lu().solve(&right).transpose().to_owned());
        let condition = (0.5 + norm(all.data()).powi(2)) / 0.5;
        let bound = 64.0 * (n + earlier + D) as f64 * f64::EPSILON * condition * norm(&expected).max(1e-12);
        let off = difference(&form.to_dense(), &expected);
        prop_assert!(off <= bound, "{off:e} > {bound:e}");
    }

    /// Whitening is half of a solve, and a kept factor is the factor.
    #[test]
    fn whitening_and_keeping(numbers in prop::collection::vec(-1.0f64..1.0, 3 * D + 2 * D), decades in 0i32..8) {
        let b = with_eigenvalues(&spread(decades), &numbers);
        let factor = Cholesky::new(D, &slice(&b)).unwrap();
        let kept = Cholesky::from_lower(D, &factor.lower()).unwrap();
        let k = &numbers[3 * D..4 * D];
        prop_assert_eq!(factor.solve(k), kept.solve(k));
        let whole = factor.unwhiten(&factor.whiten(k).unwrap()).unwrap();
        prop_assert_eq!(factor.solve(k).unwrap(), whole);
    }
}

#[test]
fn a_rank_deficient_moment_is_refused_with_its_pivot() {
    // Two equal rows: the second pivot is the first that fails.
    let matrix = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let error = Cholesky::new(3, &matrix).unwrap_err();
    assert_eq!(error, FactorError::NotPositiveDefinite { pivot: 1 });
}

#[test]
fn equal_keys_need_a_ridge() {
    let keys = Rows::new(2, vec![1.0, 2.0, 1.0, 2.0]).unwrap();
    let residuals = Rows::new(1, vec![1.0, -1.0]).unwrap();
    let refused = push_through(&keys, &keys, &residuals, 0.0).unwrap_err();
    let source = FactorError::NotPositiveDefinite { pivot: 1 };
    assert_eq!(refused, UpdateError::System { keys: 2, source });
    // With one, contradictory residuals meet in the middle: nothing moves.
    let form = push_through(&keys, &keys, &residuals, 1.0).unwrap();
    assert!(norm(&form.to_dense()) < 1e-15);
}

#[test]
fn misfits_and_numbers_that_are_none_are_refused() {
    let keys = Rows::new(2, vec![1.0, 2.0]).unwrap();
    let two = Rows::new(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    assert!(matches!(push_through(&keys, &two, &keys, 1.0), Err(UpdateError::Shape { .. })));
    assert!(matches!(push_through(&keys, &keys, &two, 1.0), Err(UpdateError::Shape { .. })));
    let nan = Rows::new(2, vec![f64::NAN, 2.0]).unwrap();
    assert!(matches!(push_through(&nan, &nan, &keys, 1.0), Err(UpdateError::System { .. })));
    assert_eq!(push_through(&keys, &keys, &nan, 1.0), Err(UpdateError::NonFinite { key: 0 }));
    assert!(Cholesky::from_lower(2, &[1.0, 1.0, 0.0, 1.0]).is_err());
    assert!(Cholesky::from_lower(2, &[1.0, 0.0, 0.0, 0.0]).is_err());
}
