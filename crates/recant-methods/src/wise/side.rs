//! The side memory as its difference Δ = W' − W₀ from the main memory: its mask, its activation, one edit's loss.

use burn::tensor::{Int, Tensor, activation};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recant_backend::{Device, host, ops, upload_f32, upload_ints};
use recant_edit::{EditError, Watch, Work};
use recant_model::{Activation, Model, TokenBatch};

use super::settings::{Focus, Optim, Pool, WiseSettings};
use crate::descent::{Descent, number};
use crate::region::{Observed, shift};

/// The places that shard `shard` may move: each independently with probability `ratio`.
#[must_use]
pub fn mask(seed: u64, shard: usize, ratio: f64, len: usize) -> Vec<bool> {
    // One stream a shard: the mask of a shard does not depend on how many there are.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(shard as u64 + 1);
    (0..len).map(|_| rng.random::<f64>() < ratio).collect()
}

/// Rows of one edit in tokens.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Prompt and target (without its last token) in each context, then of each replayed edit.
    pub inside: Vec<Vec<u32>>,
    /// Tokens of each inside row that are the prompt.
    pub prompts: Vec<usize>,
    /// The subject's last token in each inside row.
    pub lookups: Vec<usize>,
    /// What each inside row should say.
    pub targets: Vec<Vec<u32>>,
    /// Prompts that must be left alone.
    pub outside: Vec<Vec<u32>>,
}

/// Everything of one edit's loss that does not depend on Δ: the layers below the side memory ran once.
pub struct Lesson<'m> {
    model: &'m Model,
    settings: WiseSettings,
    inside: Observed,
    outside: Observed,
    inside_weights: Tensor<2>,
    /// Tokens of inside rows that must be left alone.
    rest: Option<Tensor<2>>,
    /// Where alone the fact may be learned, `[rows, tokens, 1]`; everywhere if `None`.
    learnable: Option<Tensor<3>>,
    outside_weights: Tensor<2>,
    places: Vec<(usize, usize)>,
    wanted: Tensor<2, Int>,
    /// What each place's loss counts, `[places, 1]`; they sum to 1 (less in reference mode).
    shares: Tensor<2>,
}

/// The parts of a loss, still on the device.
pub struct Parts {
    /// Sum of both.
    pub total: Tensor<1>,
    /// Cross-entropy of the targets.
    pub edit: Tensor<1>,
    /// The margins.
    pub act: Tensor<1>,
}

impl<'m> Lesson<'m> {
    /// Runs the model up to the side memory, once.
    ///
    /// # Errors
    /// [`EditError::Layer`], [`EditError::Input`].
    pub fn new(model: &'m Model, settings: &WiseSettings, rows: &Rows) -> Result<Self, EditError> {
        let device = model.device();
        let inside = Observed::of(model, settings.layer, &rows.inside)?;
        let outside = Observed::of(model, settings.layer, &rows.outside)?;
        let (mut places, mut wanted, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for (row, (&prompt, target)) in rows.prompts.iter().zip(&rows.targets).enumerate() {
            // The reference's mask starts one position early, so it divides by one token too many.
            let divisor = target.len() + usize::from(settings.reference);
            for (i, id) in target.iter().enumerate() {
                places.push((row, prompt - 1 + i));
                wanted.push(id.cast_signed());
                shares.push(1.0 / (divisor * rows.inside.len()) as f32);
            }
        }
        let count = places.len();
        let of_prompt =
            |batch: &TokenBatch, prompts: &[usize]| pool_weights(settings, batch, prompts, device);
        let everywhere = of_prompt(&inside.batch, &rows.prompts);
        let (inside_weights, rest, learnable) = match settings.focus {
            Focus::Prompt => (everywhere, None, None),
            Focus::Subject | Focus::Scope => {
                let width = inside.batch.width();
                let one_hot =
                    |&lookup: &usize| (0..width).map(move |token| if token == lookup { 1.0 } else { 0.0 });
                let subject = rows.lookups.iter().flat_map(one_hot).collect();
                let subject: Tensor<2> = upload_f32(subject, [rows.lookups.len(), width], device);
                let rest = everywhere * (subject.clone().neg() + 1.0);
                let learnable = (settings.focus == Focus::Subject)
                    .then(|| subject.clone().reshape([rows.lookups.len(), width, 1]));
                (subject, Some(rest), learnable)
            }
        };
        Ok(Self {
            model,
            settings: *settings,
            inside_weights,
            rest,
            learnable,
            outside_weights: of_prompt(&outside.batch, outside.batch.lengths()),
            inside,
            outside,
            places,
            wanted: upload_ints(wanted, [count, 1], device),
            shares: upload_f32(shares, [count, 1], device),
        })
    }

    /// `L = L_edit + L_act` at a side memory Δ `[d_model, d_mlp]`, which may track gradients.
    #[must_use]
    pub fn loss(&self, delta: &Tensor<2>) -> Parts {
        let settings = &self.settings;
        let (outward, shift) = (shift(&self.outside.keys, delta), shift(&self.inside.keys, delta));
        // The pass is the one that will answer; only what the subject's token says is learned from it.
        let learning = match &self.learnable {
            None => shift.clone(),
            Some(subject) => {
                let still = shift.clone().detach() * (subject.clone().neg() + 1.0);
                shift.clone() * subject.clone() + still
            }
        };
        let log_probs = self.inside.above().log_probs(self.model, learning, &self.places);
        let edit = -(log_probs.gather(1, self.wanted.clone()) * self.shares.clone()).sum();
        let sigma = sigma(settings, self.model);
        let tokens = distances(shift, self.inside.outputs.clone(), sigma);
        let inside = pool(settings.pool, tokens.clone(), &self.inside_weights);
        let outside = distances(outward, self.outside.outputs.clone(), sigma);
        let mut outside = pool(settings.pool, outside, &self.outside_weights);
        if let Some(rest) = &self.rest {
            outside = Tensor::cat(vec![outside, pool(settings.pool, tokens, rest)], 0);
        }
        // in [rows, 1], out [1, rows]: every pair once.
        let pairs = outside.clone().transpose() - inside.clone() + settings.gamma;
        let act = mean_positive(pairs)
            + mean_positive(outside - settings.alpha)
            + mean_positive(inside.neg() + settings.beta);
        Parts { total: edit.clone() + act.clone(), edit, act }
    }

    /// Moves Δ until the loss is small. `mask` is 1 where it may move; `main` is W₀, for the decay; `watch` hears each
    /// step.
    ///
    /// # Errors
    /// [`EditError::NonFinite`], [`EditError::Cancelled`]; nothing was changed then, for Δ is a value.
    pub fn learn(
        &self,
        delta: Tensor<2>,
        mask: &Tensor<2>,
        main: &Tensor<2>,
        watch: &dyn Watch,
    ) -> Result<(Tensor<2>, Vec<[f32; 3]>), EditError> {
        let settings = &self.settings;
        let mut side = Descent::from(delta);
        let mut losses: Vec<[f32; 3]> = Vec::new();
        for step in 0..settings.n_iter {
            watch.tell(Work::Search, step, settings.n_iter)?;
            let leaf = side.leaf();
            let parts = self.loss(&leaf);
            let now = number(step, &parts.total)?;
            let before = losses.last().map_or(0.0, |held| held[0]);
            losses.push([now, host(&parts.edit)[0], host(&parts.act)[0]]);
            let still = !settings.reference || (now - before).abs() <= 1e-4;
            if now <= 0.02 && still {
                break;
            }
            let Some(gradient) = leaf.grad(&parts.total.backward()) else { break };
            let decay = (main.clone() + side.value().clone()) * settings.weight_decay;
            // The reference masks the gradient but not the decay, which then shrinks the whole memory.
            let gradient = match settings.reference {
                true => gradient * mask.clone() + decay,
                false => (gradient + decay) * mask.clone(),
            };
            match settings.optim {
                Optim::Sgd => side.put(side.value().clone() - gradient * settings.edit_lr),
                Optim::Adam => side.step(settings.edit_lr, gradient),
            }
            // Adam of a zero gradient is a zero step, but only up to its epsilon's rounding.
            if settings.optim == Optim::Adam && !settings.reference {
                side.put(side.value().clone() * mask.clone());
            }
            if let Some(bound) = settings.norm_constraint {
                side.put(side.value().clone().clamp(-bound, bound));
            }
        }
        Ok((side.value().clone(), losses))
    }
}

/// Which function the reference puts on outputs before it compares them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sigma {
    /// None: the paper's `‖A(x) (W' − W₀)‖`.
    None,
    Gelu,
    Silu,
}

pub(crate) fn sigma(settings: &WiseSettings, model: &Model) -> Sigma {
    match (settings.reference, model.spec().activation) {
        (false, _) => Sigma::None,
        (true, Activation::Silu) => Sigma::Silu,
        (true, _) => Sigma::Gelu,
    }
}

/// Activation of each token, `[rows, tokens]`: how far the side memory's output is from the main memory's.
pub(crate) fn distances(shift: Tensor<3>, outputs: Tensor<3>, sigma: Sigma) -> Tensor<2> {
    let moved = match sigma {
        Sigma::None => shift,
        Sigma::Gelu => ops::gelu_tanh(outputs.clone() + shift) - ops::gelu_tanh(outputs),
        Sigma::Silu => ops::silu(outputs.clone() + shift) - ops::silu(outputs),
    };
    let [rows, tokens, _] = moved.dims();
    // √(x + tiny) has a finite slope at 0, where every edit of a fresh memory starts.
    ((moved.clone() * moved).sum_dim(2) + 1e-12).sqrt().reshape([rows, tokens])
}

/// Which tokens count: those of the prompt (of the whole padded row in reference mode), as shares for a mean and
/// as ones for a maximum, `[rows, tokens]`.
fn pool_weights(
    settings: &WiseSettings,
    batch: &TokenBatch,
    prompts: &[usize],
    device: &Device,
) -> Tensor<2> {
    let width = batch.width();
    let of_row = |&prompt: &usize| {
        let counted = if settings.reference { width } else { prompt };
        let share = if settings.pool == Pool::Mean { 1.0 / counted as f32 } else { 1.0 };
        (0..width).map(move |token| if token < counted { share } else { 0.0 })
    };
    upload_f32(prompts.iter().flat_map(of_row).collect(), [prompts.len(), width], device)
}

/// One activation a row, `[rows, 1]`.
fn pool(pool: Pool, distances: Tensor<2>, weights: &Tensor<2>) -> Tensor<2> {
    let weighted = distances * weights.clone();
    match pool {
        Pool::Mean => weighted.sum_dim(1),
        Pool::Max => weighted.max_dim(1),
    }
}

/// Activation of each row on the host, over the first `prompts[row]` tokens.
pub(crate) fn activations(
    settings: &WiseSettings,
    shift: Tensor<3>,
    outputs: Tensor<3>,
    sigma: Sigma,
    prompts: &[usize],
) -> Vec<f64> {
    let [_, tokens, _] = shift.dims();
    let numbers = host(&distances(shift, outputs, sigma));
    let of_row = |(row, &prompt): (&[f32], &usize)| {
        let counted = &row[..prompt.clamp(1, row.len())];
        match settings.pool {
            Pool::Mean => counted.iter().map(|&d| f64::from(d)).sum::<f64>() / counted.len() as f64,
            Pool::Max => counted.iter().map(|&d| f64::from(d)).fold(0.0, f64::max),
        }
    };
    numbers.chunks(tokens).zip(prompts).map(of_row).collect()
}

/// Mean over the entries above 0; 0 when there are none.
fn mean_positive(x: Tensor<2>) -> Tensor<1> {
    let positive = activation::relu(x);
    let count = host(&positive).iter().filter(|&&x| x > 0.0).count().max(1);
    positive.sum() / count as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use recant_backend::DeviceSpec;

    #[test]
    fn mean_positive_counts_only_what_is_above_zero() {
        let device = Device::open(DeviceSpec::Flex).unwrap();
        let mean = |x: Vec<f32>| host(&mean_positive(upload_f32(x.clone(), [1, x.len()], &device)))[0];
        assert_eq!(mean(vec![1.0, -5.0, 3.0, 0.0]), 2.0);
        assert_eq!(mean(vec![-1.0, -2.0]), 0.0);
    }

    #[test]
    fn a_mask_has_its_share_and_its_own_stream() {
        let count = |mask: &[bool]| mask.iter().filter(|&&one| one).count();
        let (first, second) = (mask(7, 0, 0.2, 20_000), mask(7, 1, 0.2, 20_000));
        assert!((3_700..4_300).contains(&count(&first)), "{}", count(&first));
        assert_ne!(first, second);
        assert_eq!(first, mask(7, 0, 0.2, 20_000));
        assert!(mask(7, 0, 1.0, 100).iter().all(|&one| one));
    }
}
