//! The corruption of a subject: what is added to the embeddings of its tokens.

use std::f64::consts::TAU;
use std::ops::Range;

use burn::tensor::{Int, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recant_backend::{Device, host, upload_f32, upload_ints};
use recant_model::{InputError, Model};

use super::Corruption;

/// Rows of the table of embeddings that are looked at together.
const TOGETHER: usize = 4096;

/// What is added to the embeddings of a row of tokens, for each sample.
pub(super) struct Corrupt {
    /// `[samples, tokens, d_model]`, 0 outside the subject.
    pub(super) shift: Tensor<3>,
    /// How many.
    pub(super) samples: usize,
}

impl Corrupt {
    /// For the tokens `ids`, those of the subject at `subject`.
    pub(super) fn new(
        model: &Model,
        corruption: Corruption,
        ids: &[u32],
        subject: &Range<usize>,
    ) -> Result<Self, InputError> {
        let (d, samples) = (model.spec().d_model, corruption.samples());
        let table = Table::of(model);
        let mut shift = vec![0.0f32; samples * ids.len() * d];
        let of_subject = |sample: usize| {
            let first = (sample * ids.len() + subject.start) * d;
            first..first + subject.len() * d
        };
        match corruption {
            Corruption::Noise { factor, seed, .. } => {
                let deviation = factor * table.deviation;
                for sample in 0..samples {
                    // One stream a sample: asking for more does not change the earlier ones.
                    let mut rng = ChaCha8Rng::seed_from_u64(seed);
                    rng.set_stream(sample as u64);
                    fill_normal(&mut shift[of_subject(sample)], deviation, &mut rng);
                }
            }
            Corruption::Mean => {
                let own = host(&embedded(model, &ids[subject.clone()]));
                let mean = table.mean.iter().cycle();
                for ((shift, own), mean) in shift[of_subject(0)].iter_mut().zip(own).zip(mean) {
                    *shift = mean - own;
                }
            }
        }
        Ok(Self { shift: upload_f32(shift, [samples, ids.len(), d], model.device()), samples })
    }
}

/// What the table of embeddings is like.
struct Table {
    /// Of each of the `d_model` numbers.
    mean: Vec<f32>,
    /// Standard deviation of all numbers around their one mean, as `torch.std` has it.
    deviation: f64,
}

impl Table {
    fn of(model: &Model) -> Self {
        let (vocab, d) = (model.spec().vocab, model.spec().d_model);
        let (mut sums, mut squares) = (vec![0.0f64; d], 0.0f64);
        let ids: Vec<u32> = (0..vocab as u32).collect();
        for ids in ids.chunks(TOGETHER) {
            for row in host(&embedded(model, ids)).chunks_exact(d) {
                for (sum, &x) in sums.iter_mut().zip(row) {
                    *sum += f64::from(x);
                    squares += f64::from(x).powi(2);
                }
            }
        }
        let count = (vocab * d) as f64;
        let mean = sums.iter().sum::<f64>() / count;
        let variance = (squares - count * mean * mean) / (count - 1.0).max(1.0);
        #[expect(clippy::cast_possible_truncation, reason = "embeddings are f32")]
        let narrow = |sum: &f64| (sum / vocab as f64) as f32;
        Self { mean: sums.iter().map(narrow).collect(), deviation: variance.max(0.0).sqrt() }
    }
}

/// `[1, tokens, d_model]`.
fn embedded(model: &Model, ids: &[u32]) -> Tensor<3> {
    model.net().embedded(row(ids, model.device()))
}

fn row(ids: &[u32], device: &Device) -> Tensor<2, Int> {
    upload_ints(ids.iter().map(|id| id.cast_signed()).collect(), [1, ids.len()], device)
}

/// Fills with normally distributed numbers around 0, by Box and Muller's transform.
fn fill_normal(numbers: &mut [f32], deviation: f64, rng: &mut ChaCha8Rng) {
    for pair in numbers.chunks_mut(2) {
        // In (0, 1]: the logarithm of 0 is none.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let angle = TAU * rng.random::<f64>();
        for (x, part) in pair.iter_mut().zip([angle.cos(), angle.sin()]) {
            #[expect(clippy::cast_possible_truncation, reason = "embeddings are f32")]
            let narrow = (deviation * radius * part) as f32;
            *x = narrow;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean, variance and fourth moment of a normal distribution, each within five of its standard errors.
    #[test]
    fn noise_is_normal_and_drawn_from_its_seed() {
        let draw = |seed| {
            let mut numbers = vec![0.0; 40_001];
            fill_normal(&mut numbers, 2.0, &mut ChaCha8Rng::seed_from_u64(seed));
            numbers
        };
        let numbers = draw(7);
        assert_eq!(numbers, draw(7));
        assert_ne!(numbers, draw(8));
        let moment = |power| {
            let sum: f64 = numbers.iter().map(|&x| (f64::from(x) / 2.0).powi(power)).sum();
            sum / numbers.len() as f64
        };
        let error = |variance: f64| 5.0 * (variance / numbers.len() as f64).sqrt();
        assert!(moment(1).abs() < error(1.0), "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < error(2.0), "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < error(96.0), "{}", moment(4));
    }
}
