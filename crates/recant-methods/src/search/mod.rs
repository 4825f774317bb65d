//! The search for v*: the output that makes a layer's model state the fact.
//!
//! ```math
//! v_* = \arg\min_z \frac1N \sum_j -\log P_{m:=z}[o_* \mid x_j + p] + D_{KL}(\cdot)
//! ```
//!
//! (ROME, equation 4.) Adam searches a displacement δ of what the MLP adds to the residual stream at the
//! subject's last token, in every context at once.
//!
//! Two evaluators compute the same loss. [`full`] runs the whole model at each step, as the reference code
//! does; it is the definition. [`tail`] runs only what can change: causality makes every position before
//! the lookup token and every layer up to the edited one constant while δ moves, so it keeps the residual
//! stream of the edited layer from the lookup token on, the keys and values before it, and computes logits
//! only where the loss reads them. [`many`] searches for many facts in one graph; both go down in one loop.

mod descent;
pub mod full;
pub mod many;
mod settings;
pub mod split;
pub mod tail;
pub mod turns;

use burn::tensor::{Int, Tensor, activation};
use recant_backend::{Device, host, upload_f32, upload_ints};
use recant_edit::{EditError, LossStep, Watch, Work};
use recant_model::{KvCache, Model, TokenBatch, gather_rows};

pub use settings::SearchSettings;

use crate::lookup::{FactRows, Row};
use crate::region::Observed;

/// The model's state before the edit, at the rows of one fact: everything that stays constant.
#[derive(Debug)]
pub struct Base {
    /// All rows: the rewriting ones, then the essence row, then those that say the name again.
    pub rows: Vec<Row>,
    /// Their tokens, padded, and their activations at the edited layer.
    pub seen: Observed,
    /// Key (input of the down-projection) at each row's lookup token, `[rows, d_mlp]`; of a mixture of experts the
    /// MLP's input, `[rows, d_model]`.
    pub keys: Vec<Vec<f32>>,
    /// Output of the MLP at each row's lookup token, `[rows, d_model]`.
    pub outputs: Vec<Vec<f32>>,
    /// Keys and values of every layer and position.
    pub cache: KvCache,
}

impl Base {
    /// Runs the model once over the rows of a fact.
    ///
    /// # Errors
    /// [`EditError::Layer`], [`EditError::Input`].
    pub fn observe(model: &Model, layer: usize, rows: &FactRows) -> Result<Self, EditError> {
        Self::over(model, layer, rows.all().cloned().collect(), 0)
    }

    /// Runs the model once over any rows, padded to at least `width` tokens.
    fn over(model: &Model, layer: usize, all: Vec<Row>, width: usize) -> Result<Self, EditError> {
        let ids: Vec<Vec<u32>> = all.iter().map(|row| row.ids.clone()).collect();
        let batch = TokenBatch::new(&ids, model.spec())?.at_least(width, model.spec());
        let mut cache = KvCache::default();
        let seen = Observed::run(model, layer, batch, Some(&mut cache))?;
        let places: Vec<(usize, usize)> = all.iter().map(|row| row.lookup).enumerate().collect();
        let at_lookup = |at: &Tensor<3>| {
            let rows = gather_rows(at.clone(), &places, model.device());
            let width = rows.dims()[1];
            host(&rows).chunks(width).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        let (keys, outputs) = (at_lookup(&seen.keys), at_lookup(&seen.outputs));
        Ok(Self { rows: all, seen, keys, outputs, cache })
    }
}

/// Computes log-probabilities of the rows with δ added to the edited layer's MLP output.
pub trait Evaluator {
    /// Log-probabilities `[places, vocab]` where the loss reads them: for each rewriting row the positions
    /// that predict its target tokens, in order, then the essence row's lookup token, then the positions that predict
    /// the tokens of the name where it is said again.
    /// `delta` `[d_model]` may track gradients.
    fn log_probs(&self, delta: Tensor<1>) -> Tensor<2>;
}

/// `(row, token)` of every place that the loss reads, in the order of [`Evaluator::log_probs`].
#[must_use]
pub fn places(rows: &FactRows) -> Vec<(usize, usize)> {
    let targets = rows.target.len();
    let predicting = rows.prompt_lengths.iter().enumerate();
    let mut places: Vec<(usize, usize)> =
        predicting.flat_map(|(row, &len)| (0..targets).map(move |i| (row, len - 1 + i))).collect();
    let essence = rows.rewriting.len();
    places.push((essence, rows.essence.lookup));
    let names = rows.names.iter().enumerate();
    places.extend(names.flat_map(|(at, name)| name.asked().map(move |(token, _)| (essence + 1 + at, token))));
    places
}

/// The loss of one fact as a function of δ.
pub struct Loss {
    settings: SearchSettings,
    device: Device,
    targets: Tensor<2, Int>,   // [contexts * target tokens, 1]
    essence_before: Tensor<2>, // [1, vocab]
    names: Option<Names>,
    init_norm: f64,
}

/// The tokens of the subject's name where it is said again.
struct Names {
    ids: Tensor<2, Int>, // [tokens, 1]
    /// Log-probabilities before the edit, less what may be lost, `[tokens, 1]`.
    least: Tensor<2>,
    /// The same share for each token that was the most probable one, 0 for the others, `[tokens, 1]`.
    shares: Tensor<2>,
}

/// Nats that a token of the name may lose.
const NAME_TOLERANCE: f64 = 0.05;

impl Names {
    /// `before` are the log-probabilities at the names' places, `[tokens, vocab]`.
    fn of(rows: &FactRows, before: Tensor<2>, device: &Device) -> Option<Self> {
        let ids: Vec<i32> =
            rows.names.iter().flat_map(|name| name.asked().map(|(_, id)| id.cast_signed())).collect();
        let count = ids.len();
        if count == 0 {
            return None;
        }
        let ids: Tensor<2, Int> = upload_ints(ids, [count, 1], device);
        let own = before.clone().gather(1, ids.clone());
        let known: Vec<bool> =
            host(&own).iter().zip(host(&before.max_dim(1))).map(|(own, best)| *own >= best).collect();
        let share = 1.0 / known.iter().filter(|known| **known).count().max(1) as f32;
        let shares = known.iter().map(|&known| if known { share } else { 0.0 }).collect();
        Some(Self { ids, least: own - NAME_TOLERANCE, shares: upload_f32(shares, [count, 1], device) })
    }

    /// Mean loss of log-probability of the name's tokens, beyond what may be lost.
    fn lost(&self, now: Tensor<2>) -> Tensor<1> {
        let missing = self.least.clone() - now.gather(1, self.ids.clone());
        (activation::relu(missing) * self.shares.clone()).sum()
    }
}

/// A loss and its parts, still on the device.
pub struct LossParts {
    /// The sum, which is differentiated.
    pub total: Tensor<1>,
    parts: [Tensor<1>; 3],
}

impl LossParts {
    /// Total, NLL, KL, weight decay.
    fn told(&self) -> [Tensor<1>; 4] {
        let [nll, kl, decay] = self.parts.clone();
        [self.total.clone(), nll, kl, decay]
    }

    /// `[total, nll, kl, weight_decay]`.
    #[must_use]
    pub fn read(&self) -> LossStep {
        self.told().map(|x| host(&x)[0])
    }
}

impl Loss {
    /// The loss for `rows`; `init` is the MLP's output v₀ at the first row, `evaluator` gives the essence
    /// before the edit.
    #[must_use]
    pub fn new(
        settings: SearchSettings,
        rows: &FactRows,
        init: &[f32],
        evaluator: &dyn Evaluator,
        device: &Device,
    ) -> Self {
        let before = evaluator.log_probs(upload_f32(vec![0.0; init.len()], [init.len()], device));
        Self::given(settings, rows, init, before, device)
    }

    /// The loss for `rows` whose log-probabilities are `before` when nothing is added.
    fn given(
        settings: SearchSettings,
        rows: &FactRows,
        init: &[f32],
        before: Tensor<2>,
        device: &Device,
    ) -> Self {
        let count = rows.rewriting.len() * rows.target.len();
        let named = before.dims()[0] - count - 1;
        let names = (settings.name_factor > 0.0 && named > 0)
            .then(|| before.clone().narrow(0, count + 1, named))
            .and_then(|before| Names::of(rows, before, device));
        let ids = rows.target.iter().map(|id| id.cast_signed());
        let targets = (0..rows.rewriting.len()).flat_map(|_| ids.clone()).collect();
        Self {
            settings,
            device: device.clone(),
            targets: upload_ints(targets, [count, 1], device),
            essence_before: before.narrow(0, count, 1),
            names,
            init_norm: norm(init),
        }
    }

    /// `mean NLL + drift + v_weight_decay ‖δ‖ / ‖v₀‖²`, where drift is `kl_factor KL(now ‖ before)` of the essence, and
    /// `name_factor` times what the tokens of the subject's name lost where it is said again.
    #[must_use]
    pub fn at(&self, delta: Tensor<1>, evaluator: &dyn Evaluator) -> LossParts {
        let log_probs = evaluator.log_probs(delta.clone());
        self.of(delta, log_probs)
    }

    /// The loss of δ, given the log-probabilities that it leads to.
    fn of(&self, delta: Tensor<1>, log_probs: Tensor<2>) -> LossParts {
        let count = self.targets.dims()[0];
        let nll = -log_probs.clone().narrow(0, 0, count).gather(1, self.targets.clone()).mean();
        let lost = self.names.as_ref().map(|names| {
            let count = count + 1;
            names.lost(log_probs.clone().narrow(0, count, log_probs.dims()[0] - count))
        });
        let now = log_probs.narrow(0, count, 1);
        let kl = (now.clone().exp() * (now - self.essence_before.clone())).sum() * self.settings.kl_factor;
        let kl = match lost {
            Some(lost) => kl + lost * self.settings.name_factor,
            None => kl,
        };
        // √(x + tiny) has a finite slope at 0, where the search starts; torch defines the slope there as 0,
        // and with δ = 0 so does this: the gradient is δ / ‖δ‖ = 0.
        let length = ((delta.clone() * delta).sum() + 1e-30).sqrt();
        let decay = length * (self.settings.v_weight_decay / (self.init_norm * self.init_norm));
        let total = nll.clone() + kl.clone() + decay.clone();
        LossParts { total, parts: [nll, kl, decay] }
    }

    /// The loss and its gradient by δ, on the host.
    #[must_use]
    pub fn with_gradient(&self, delta: &[f32], evaluator: &dyn Evaluator) -> (LossStep, Vec<f32>) {
        let delta: Tensor<1> = upload_f32(delta.to_vec(), [delta.len()], &self.device);
        let leaf = delta.autodiff().require_grad();
        let parts = self.at(leaf.clone(), evaluator);
        let step = parts.read();
        let grads = parts.total.backward();
        (step, leaf.grad(&grads).map(|grad| host(&grad)).unwrap_or_default())
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The displacement, `[d_model]`.
    pub delta: Vec<f32>,
    /// v₀, the MLP's output at the first row, `[d_model]`.
    pub init: Vec<f32>,
    /// Loss at each step.
    pub losses: Vec<LossStep>,
}

impl Found {
    /// v* = v₀ + δ.
    #[must_use]
    pub fn v_star(&self) -> Vec<f32> {
        self.init.iter().zip(&self.delta).map(|(v, d)| v + d).collect()
    }
}

/// What one step of a search reads: some contexts of a fact, their loss and who computes it.
pub struct Reading<'a> {
    loss: Loss,
    evaluator: &'a dyn Evaluator,
}

impl<'a> Reading<'a> {
    /// What is read in `rows` by `evaluator`; `init` is the MLP's output v₀ at the first row.
    #[must_use]
    pub fn new(
        settings: SearchSettings,
        rows: &FactRows,
        init: &[f32],
        evaluator: &'a dyn Evaluator,
        device: &Device,
    ) -> Self {
        Self { loss: Loss::new(settings, rows, init, evaluator, device), evaluator }
    }
}

/// Searches δ with Adam, from v₀ = `init`; the steps take turns at the readings. `watch` hears each step. Of no readings
/// nothing is found: δ = 0.
///
/// # Errors
/// [`EditError::NonFinite`] when the loss stops being a number; [`EditError::Cancelled`].
pub fn search(
    settings: SearchSettings,
    init: &[f32],
    readings: &[Reading<'_>],
    device: &Device,
    watch: &dyn Watch,
) -> Result<Found, EditError> {
    let nothing = || Found { delta: vec![0.0; init.len()], init: init.to_vec(), losses: Vec::new() };
    if readings.is_empty() {
        return Ok(nothing());
    }
    let (steps, turns) = (settings.v_num_grad_steps, readings.len());
    let goes_on = |step| watch.tell(Work::Search, step, steps);
    let at = |step: usize, deltas: &Tensor<2>| {
        let Reading { loss, evaluator } = &readings[step % turns];
        vec![loss.at(deltas.clone().reshape([init.len()]), *evaluator)]
    };
    let mut found = descent::descend(settings, &[init.to_vec()], device, turns, &goes_on, &at)?;
    Ok(found.pop().unwrap_or_else(nothing))
}

/// Euclidean length, summed in f64.
pub(crate) fn norm(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}

/// Shortens δ to `bound` where it is longer.
fn clamp(delta: &mut [f32], bound: f64) {
    let length = norm(delta);
    if length > bound {
        #[expect(clippy::cast_possible_truncation, reason = "δ is f32")]
        delta.iter_mut().for_each(|x| *x = (f64::from(*x) * bound / length) as f32);
    }
}
