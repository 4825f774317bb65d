//! LocFT-BF: plain fine-tuning done right ("Fine-tuning Done Right in Model Editing", ICLR 2026, arXiv 2509.22072).
//!
//! Other fine-tuning baselines go depth first: each fact is trained until it sits, then the next, and the next
//! undoes it. Here facts are trained breadth first: epochs over mini-batches of all of them, on one
//! down-projection, with the blocks below it computed once. `PAPER.md` beside this file says what differs.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use recant_edit::{Carry, EditError, Editor, Fact, Plan, Watch, Work};
use recant_model::Model;

use crate::descent::{Descent, Pace, of_one_part};
use crate::inputs::MethodInputs;
use crate::lesson::{Lesson, Objective, requests, trained};
use crate::region::{block_with_matrix, shift};
use crate::settings::{Param, Setting, Tunable, field, one_layer};
use crate::spec::{LayerRule, Make, MethodSpec};

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
        block_with_matrix(model, settings.layer)?;
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let mut order: Vec<&Fact> = facts.iter().collect();
        // Batches are made once, of facts in a random order, and visited in a new order at each epoch: their lower
        // layers are computed once.
        order.shuffle(&mut rng);
        let lesson = |batch: &[&Fact]| {
            let requests = requests(model, batch.iter().copied())?;
            Lesson::new(model, settings.layer, &requests, Objective::TargetNew)
        };
        let lessons = order.chunks(settings.batch_size).map(lesson).collect::<Result<Vec<_>, _>>()?;
        let nothing = || EditError::FactCount { method: self.name().to_owned(), count: 0 };
        let mut descent = Descent::from(lessons.first().ok_or_else(nothing)?.no_change(model));
        // An epoch's mean ends it, not the loss of a batch.
        let pace = Pace { steps: settings.epochs * lessons.len(), rate: settings.lr, enough: 0.0 };
        let mut losses = Vec::new();
        let mut visit: Vec<usize> = (0..lessons.len()).collect();
        for epoch in 0..settings.epochs {
            visit.shuffle(&mut rng);
            let mut sum = 0.0;
            for (behind, &at) in visit.iter().enumerate() {
                watch.tell(Work::Search, epoch * visit.len() + behind, pace.steps)?;
                let lesson = &lessons[at];
                let loss = |delta| lesson.loss(model, shift(&lesson.seen.keys, &delta));
                sum += descent.down(epoch, pace, loss)?;
            }
            let mean = sum / lessons.len().max(1) as f32;
            losses.push(mean);
            if mean < ENOUGH {
                break;
            }
        }
        trained(model, settings.layer, descent.value(), of_one_part(&losses), carry)
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
