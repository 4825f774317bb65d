//! LocFT-BF: plain fine-tuning done right ("Fine-tuning Done Right in Model Editing", ICLR 2026, arXiv 2509.22072).
//!
//! Other fine-tuning baselines go depth first: each fact is trained until it sits, then the next, and the next
//! undoes it. Here facts are trained breadth first: epochs over mini-batches of all of them, on one
//! down-projection, with the blocks below it computed once. `PAPER.md` beside this file says what differs.

use std::collections::BTreeMap;

use burn::optim::{AdamConfig, Optimizer};
use burn::tensor::{Int, Tensor};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use recant_backend::{host, upload_ints};
use recant_core::{Addend, Matrix};
use recant_edit::{Carry, EditError, Editor, Fact, Plan, Request, Trace, Watch, Work};
use recant_model::{Model, Slot};

use crate::inputs::MethodInputs;
use crate::settings::{Param, Setting, Tunable, field, one_layer};
use crate::spec::{LayerRule, Make, MethodSpec};
use crate::upper::{Upper, no_matrix};
use crate::wise::side::shift;

/// Settings of LocFT-BF.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocFtSettings {
    /// The edited layer.
    pub layer: usize,
    /// Largest number of passes over all facts.
    pub epochs: usize,
    /// Facts a mini-batch.
    pub batch_size: usize,
    /// Adam's learning rate.
    pub lr: f64,
    /// Seed of the order of facts.
    pub seed: u64,
}

/// Training ends when an epoch's mean loss is below this.
const ENOUGH: f32 = 1e-2;

impl LocFtSettings {
    /// Defaults at a layer.
    #[must_use]
    pub fn new(layer: usize) -> Self {
        Self { layer, epochs: 40, batch_size: 8, lr: 1e-3, seed: 0 }
    }

    /// Sets one hyper-parameter.
    ///
    /// # Errors
    /// [`EditError::Setting`] when it is unknown or out of range.
    pub fn set(&mut self, setting: &Setting) -> Result<(), EditError> {
        self.tune("locft-bf", setting)
    }
}

impl Tunable for LocFtSettings {
    fn params() -> Vec<Param<Self>> {
        vec![
            one_layer(|s: &mut Self| &mut s.layer, |s| s.layer),
            field!("epochs", "largest number of passes over all facts", epochs, count()),
            field!("batch_size", "facts in a mini-batch", batch_size, count()),
            field!("lr", "learning rate (Adam)", lr, float(f64::MIN_POSITIVE)),
            field!("seed", "seed of the order of facts", seed, whole()),
        ]
    }
}

/// Breadth-first fine-tuning of one down-projection.
#[derive(Debug, Clone, Copy)]
pub struct LocFt {
    settings: LocFtSettings,
}

impl LocFt {
    /// An editor.
    #[must_use]
    pub fn new(settings: LocFtSettings) -> Self {
        Self { settings }
    }
}

/// One fact, with everything below the edited matrix computed.
struct Lesson {
    upper: Upper,
    places: Vec<(usize, usize)>,
    wanted: Tensor<2, Int>,
}

impl Lesson {
    fn new(model: &Model, layer: usize, facts: &[&Fact]) -> Result<Self, EditError> {
        let (mut rows, mut places, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        for (row, fact) in facts.iter().enumerate() {
            let target = Request::new(model, fact).map_err(EditError::about(fact))?.target;
            let mut ids = model.tokenizer().encode(&fact.text())?;
            places.extend((0..target.len()).map(|i| (row, ids.len().saturating_sub(1) + i)));
            wanted.extend(target.iter().map(|id| id.cast_signed()));
            ids.extend(&target[..target.len() - 1]);
            rows.push(ids);
        }
        let count = wanted.len();
        Ok(Self {
            upper: Upper::observe(model, layer, &rows)?,
            places,
            wanted: upload_ints(wanted, [count, 1], model.device()),
        })
    }
}

impl Editor for LocFt {
    fn name(&self) -> &str {
        "locft-bf"
    }

    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError> {
        let settings = self.settings;
        let slot = Slot::MlpDown(settings.layer);
        let no_layer = || no_matrix(model, settings.layer);
        let [rows, cols] = model.weight(slot).ok_or_else(no_layer)?.dims();
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let mut order: Vec<&Fact> = facts.iter().collect();
        // Batches are made once, of facts in a random order, and visited in a new order at each epoch: their lower
        // layers are computed once.
        order.shuffle(&mut rng);
        let lessons = order
            .chunks(settings.batch_size)
            .map(|batch| Lesson::new(model, settings.layer, batch))
            .collect::<Result<Vec<_>, _>>()?;
        let adam = AdamConfig::new().with_epsilon(1e-8).build();
        let mut delta: Tensor<2> = Tensor::zeros([rows, cols], model.device().tensors());
        let mut state = None;
        let mut losses = Vec::new();
        let mut visit: Vec<usize> = (0..lessons.len()).collect();
        for epoch in 0..settings.epochs {
            visit.shuffle(&mut rng);
            let mut sum = 0.0;
            for (behind, &at) in visit.iter().enumerate() {
                let (done, of) = (epoch * visit.len() + behind, settings.epochs * visit.len());
                watch.tell(Work::Search, done, of)?;
                let lesson = &lessons[at];
                let leaf = delta.clone().autodiff().require_grad();
                let moved = shift(&lesson.upper.keys, &leaf);
                let log_probs = lesson.upper.log_probs(model, moved, &lesson.places);
                let loss = -log_probs.gather(1, lesson.wanted.clone()).mean();
                let now = host(&loss)[0];
                if !now.is_finite() {
                    return Err(EditError::NonFinite { step: epoch, loss: now });
                }
                sum += now;
                let grads = loss.backward();
                let Some(gradient) = leaf.grad(&grads) else { break };
                let (next, kept) = adam.step(settings.lr, delta, gradient, state);
                state = kept;
                delta = next;
            }
            let mean = sum / lessons.len().max(1) as f32;
            losses.push([mean, mean, 0.0, 0.0]);
            if mean < ENOUGH {
                break;
            }
        }
        let delta = Matrix::new(rows, cols, host(&delta));
        let delta = delta.map_err(|_| EditError::NonFinite { step: losses.len(), loss: f32::NAN })?;
        let mut plan = Plan::new(model.express(slot, Addend::Dense(delta)).ok_or_else(no_layer)?);
        plan.traces.push(Trace { losses, ..Trace::default() });
        plan.carry = carry.clone();
        Ok(plan)
    }

    fn settings(&self) -> BTreeMap<String, String> {
        self.settings.told()
    }
}

/// How the method is declared.
pub(crate) const METHOD: MethodSpec = MethodSpec {
    name: "locft-bf",
    summary: "breadth-first fine-tuning of one MLP on many facts",
    paper: Some("2509.22072"),
    needs_moments: false,
    needs_matrix: true,
    many: true,
    layers: LayerRule::One,
    settings: || LocFtSettings::new(0).infos(),
    make: Make::Editor(make),
};

fn make(inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let mut settings = LocFtSettings { seed: inputs.seed, ..LocFtSettings::new(inputs.layer) };
    inputs.set(|setting| settings.set(setting))?;
    Ok(Box::new(LocFt::new(settings)))
}
