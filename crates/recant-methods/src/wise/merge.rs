//! Merging the shards of a side memory, each as its difference from the main memory.
//!
//! Everything runs on the host in f64, in index order.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How several side memories become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergeAlg {
    /// TIES (Yadav et al., arXiv 2306.01708): trim, elect signs, merge what agrees.
    Ties,
    /// The mean.
    Linear,
    /// Spherical interpolation, one shard after the other.
    Slerp,
    /// DARE (Yu et al., arXiv 2311.03099) before TIES' election: drop at random, rescale.
    DareTies,
}

impl MergeAlg {
    /// The names, as in the reference code.
    pub(crate) const NAMES: [(&'static str, Self); 4] = [
        ("ties", Self::Ties),
        ("linear", Self::Linear),
        ("slerp", Self::Slerp),
        ("dare_ties", Self::DareTies),
    ];
}

/// Merges differences of one length with equal weights. `density` is the share of weights that TIES and DARE
/// keep; `seed` is DARE's.
#[must_use]
pub fn merge(alg: MergeAlg, deltas: &[Vec<f32>], density: f64, seed: u64) -> Vec<f32> {
    match deltas {
        [] => Vec::new(),
        [one] if alg == MergeAlg::Linear || alg == MergeAlg::Slerp => one.clone(),
        _ => match alg {
            MergeAlg::Linear => linear(deltas),
            MergeAlg::Slerp => {
                deltas[1..].iter().enumerate().fold(deltas[0].clone(), |merged, (i, delta)| {
                    // The running mean's weight: the i-th newcomer counts as one of i + 2.
                    slerp(&merged, delta, 1.0 / (i + 2) as f64)
                })
            }
            MergeAlg::Ties => {
                let trimmed: Vec<_> = deltas.iter().map(|delta| trim(delta, density)).collect();
                elect(&trimmed, true)
            }
            MergeAlg::DareTies => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut drop = |&x: &f32| {
                    let kept = rng.random::<f64>() < density;
                    if kept { narrow(f64::from(x) / density) } else { 0.0 }
                };
                let dropped: Vec<Vec<f32>> =
                    deltas.iter().map(|delta| delta.iter().map(&mut drop).collect()).collect();
                elect(&dropped, false)
            }
        },
    }
}

#[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
fn narrow(x: f64) -> f32 {
    x as f32
}

fn linear(deltas: &[Vec<f32>]) -> Vec<f32> {
    let count = deltas.len() as f64;
    let mean = |i: usize| narrow(deltas.iter().map(|delta| f64::from(delta[i])).sum::<f64>() / count);
    (0..deltas[0].len()).map(mean).collect()
}

/// Keeps the `⌊density · len⌋` entries of largest magnitude, the lower index first among equals.
fn trim(delta: &[f32], density: f64) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let kept = (density * delta.len() as f64) as usize;
    let mut order: Vec<usize> = (0..delta.len()).collect();
    order.sort_by(|&a, &b| delta[b].abs().total_cmp(&delta[a].abs()).then(a.cmp(&b)));
    let mut trimmed = vec![0.0; delta.len()];
    order.into_iter().take(kept).for_each(|i| trimmed[i] = delta[i]);
    trimmed
}

/// The elected sign at each place is that of the sum (positive at 0); those that carry it are averaged
/// (`normalise`) or summed with weights 1/n.
fn elect(deltas: &[Vec<f32>], normalise: bool) -> Vec<f32> {
    let weight = 1.0 / deltas.len() as f64;
    let one = |i: usize| {
        // Equal weights do not change a sign, but weighing each term would: 1/3 + 2/3 − 3/3 is not 0 in binary.
        let sum: f64 = deltas.iter().map(|delta| f64::from(delta[i])).sum();
        let positive = sum >= 0.0;
        let agreeing =
            deltas.iter().map(|delta| f64::from(delta[i])).filter(|&x| x != 0.0 && (x > 0.0) == positive);
        let (total, count) =
            agreeing.fold((0.0, 0.0), |(total, count), x| (total + weight * x, count + weight));
        narrow(if normalise && count > 0.0 { total / count } else { total })
    };
    (0..deltas[0].len()).map(one).collect()
}

/// Interpolates directions along the great circle and lengths linearly; nearly parallel ones linearly.
fn slerp(a: &[f32], b: &[f32], t: f64) -> Vec<f32> {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    let (len_a, len_b) = (dot(a, a).sqrt(), dot(b, b).sqrt());
    let mix = |wa: f64, wb: f64| {
        a.iter().zip(b).map(|(&x, &y)| narrow(wa * f64::from(x) + wb * f64::from(y))).collect::<Vec<f32>>()
    };
    if len_a == 0.0 || len_b == 0.0 {
        return mix(1.0 - t, t);
    }
    let cosine = dot(a, b) / (len_a * len_b);
    if cosine.abs() > 0.9995 {
        return mix(1.0 - t, t);
    }
    let angle = cosine.clamp(-1.0, 1.0).acos();
    let (wa, wb) = (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin());
    mix(wa, wb)
}
