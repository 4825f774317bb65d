//! The closed form of a batch beside a dense LU solve, in one process.
//! `cargo bench -p recant-benches --no-default-features --bench closed_form` (no model, so Burn is not compiled);
//! `RAYON_NUM_THREADS=1` measures one thread.
//!
//! For d = 3072 and 6400 (the key lengths of GPT-2 small and XL) and batches of 1, 10 and 100: R Kᵀ (λC + KKᵀ)⁻¹
//! by the push-through identity with the factor of C cached, and by a dense LU solve of the d x d system, as
//! the reference code does for every layer and every call. The factor's own cost is printed too. Then the
//! ledger at 1,000 facts: rebuilding after one fact came or went.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and may fail")]

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use faer::Mat;
use faer::linalg::solvers::Solve;
use recant_linalg::canonical::{CanonicalFactor, dot};
use recant_linalg::{Cholesky, Rows, push_through};

/// Length of a residual: that of a mid-sized model. It is the same for both paths.
const D_MODEL: usize = 768;

/// Numbers between -1 and 1 without a pattern that a solver could use.
fn numbers(count: usize, salt: u64) -> Vec<f64> {
    let mut state = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A symmetric, diagonally dominant matrix: positive definite without a product of d³.
fn moment(d: usize) -> Vec<f64> {
    let mut c = numbers(d * d, 7);
    for i in 0..d {
        for j in 0..i {
            c[i * d + j] = c[j * d + i];
        }
        c[i * d + i] = d as f64;
    }
    c
}

fn seconds(mut work: impl FnMut()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

fn closed_forms(criterion: &mut Criterion, lines: &mut Vec<String>) {
    for d in [3072, 6400] {
        let c = moment(d);
        let mut factor = None;
        let factored = seconds(|| factor = Some(Cholesky::new(d, &c).unwrap()));
        let factor = factor.unwrap();
        for n in [1, 10, 100] {
            let keys = Rows::new(d, numbers(n * d, 11)).unwrap();
            let residuals = Rows::new(D_MODEL, numbers(n * D_MODEL, 13)).unwrap();
            let mut group = criterion.benchmark_group(format!("closed form, d {d}, N {n}"));
            group.sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_millis(100));
            group.measurement_time(Duration::from_secs(3));
            let mut times = Vec::new();
            group.bench_function("push-through", |bencher| {
                bencher.iter_custom(|iterations| {
                    let run = || {
                        let images = factor.solve_rows(&keys).unwrap();
                        push_through(&keys, &images, &residuals, 1.0).unwrap()
                    };
                    let each = (0..iterations).map(|_| seconds(|| drop(run())));
                    let each: Vec<f64> = each.collect();
                    times.extend_from_slice(&each);
                    Duration::from_secs_f64(each.iter().sum())
                });
            });
            group.finish();
            times.sort_by(f64::total_cmp);
            let ours = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
            // Once is enough for seconds of cubic work, and the dense path would fill the night otherwise.
            let k = Mat::from_fn(n, d, |i, j| keys.row(i)[j]);
            let r = Mat::from_fn(n, D_MODEL, |i, j| residuals.row(i)[j]);
            let mut dense = None;
            let theirs = seconds(|| {
                let gram = k.transpose() * &k;
                let system = Mat::from_fn(d, d, |i, j| c[i * d + j] + gram[(i, j)]);
                dense = Some(system.partial_piv_lu().solve(k.transpose() * &r));
            });
            let images = factor.solve_rows(&keys).unwrap();
            let form = push_through(&keys, &images, &residuals, 1.0).unwrap().to_dense();
            let dense = dense.unwrap();
            let square = |x: f64| x * x;
            let off: f64 = (0..D_MODEL * d).map(|at| square(form[at] - dense[(at % d, at / d)])).sum();
            let size: f64 = form.iter().map(|&x| square(x)).sum();
            lines.push(format!(
                "| {d} | {n} | {factored:.2} | {:.2} | {:.0} | {:.0} | {:.0e} |",
                ours * 1e3,
                theirs * 1e3,
                theirs / ours,
                (off / size).sqrt()
            ));
        }
    }
}

/// A ledger of 1,000 facts at d = 3072: what one more fact costs, and the rebuild that follows any change.
fn ledger(lines: &mut Vec<String>) {
    let (d, n) = (3072, 1000);
    let factor = Cholesky::new(d, &moment(d)).unwrap();
    let white: Vec<Vec<f64>> = (0..n).map(|i| numbers(d, 100 + i as u64)).collect();
    let gram = |i: usize, j: usize| dot(&white[i], &white[j]) / d as f64;
    let mut system = vec![0.0; n * n];
    let all = seconds(|| {
        for i in 0..n {
            for j in 0..=i {
                system[i * n + j] = gram(i, j) + if i == j { 1.0 } else { 0.0 };
            }
        }
    });
    let key = numbers(d, 5);
    let insert = seconds(|| {
        let new = factor.whiten(&key).unwrap();
        let row: Vec<f64> = white.iter().map(|other| dot(&new, other)).collect();
        assert_eq!(row.len(), n);
    });
    let residuals = Rows::new(D_MODEL, numbers(n * D_MODEL, 17)).unwrap();
    let rebuild = seconds(|| {
        let solved = CanonicalFactor::new(n, &system).unwrap().solve(&residuals).unwrap();
        assert_eq!(solved.count(), n);
    });
    lines.push(format!("| {d} | {n} | {:.1} | {:.1} | {:.1} |", insert * 1e3, rebuild * 1e3, all * 1e3));
}

fn main() {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let (mut forms, mut ledgers) = (Vec::new(), Vec::new());
    closed_forms(&mut criterion, &mut forms);
    ledger(&mut ledgers);
    println!(
        "\n| d | N | factor of C, s (once) | push-through, ms | dense LU, ms | times as fast | difference |"
    );
    println!("|---|---|---|---|---|---|---|");
    forms.iter().for_each(|line| println!("{line}"));
    println!(
        "\n| d | facts | insert: key and Gram row, ms | remove or insert: rebuild, ms | Gram from nothing, ms |"
    );
    println!("|---|---|---|---|---|");
    ledgers.iter().for_each(|line| println!("{line}"));
    criterion.final_summary();
}
