//! GRACE: a codebook of activations (Hartvigsen et al., "Aging with GRACE", NeurIPS 2023, arXiv 2211.11031).
//!
//! Each edit becomes a key (the input of one block's down-projection at the last prompt token) with a ball
//! around it, and a value that stands in the place of that block's MLP output there. A prompt whose key lies in
//! no ball meets the model as it was. `PAPER.md` beside this file says what differs from the reference code.

mod codebook;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Tensor;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recant_backend::{Device, host, upload_f32};
use recant_core::{AdapterState, Point, bytes_digest};
use recant_edit::{EditError, Fact, Memory, Watch};
use recant_model::{Adapter, Hook, Model, gather_rows};

pub use codebook::{Codebook, Entry, distance};

use crate::descent::{Descent, Pace};
use crate::inputs::MethodInputs;
use crate::lesson::{Lesson, Objective, requests};
use crate::lifelong::places::{Answer, PlaceHook, Progress, Table, Where};
use crate::lifelong::{Pair, PairRule, Pairs, settings_of};
use crate::region::{Observed, block};
use crate::settings::{Param, Setting, Tunable, choice, field, one_layer};
use crate::spec::{LayerRule, Make, MethodSpec};

/// What a value is before it is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValInit {
    /// Drawn evenly from 0..1, as in the reference code; by the fact and the seed, not by the order of edits.
    Cold,
    /// The output that the block has there.
    Warm,
}

impl ValInit {
    const NAMES: [(&'static str, Self); 2] = [("cold", Self::Cold), ("warm", Self::Warm)];
}

/// Settings of GRACE, named as in the reference code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GraceSettings {
    /// The block.
    pub layer: usize,
    /// Initial radius ε of a ball.
    pub eps: f64,
    /// Adam's learning rate for a value.
    pub edit_lr: f64,
    /// Largest number of steps for a value.
    pub n_iter: usize,
    /// Where a value begins.
    pub val_init: ValInit,
    /// Seed of what is drawn.
    pub seed: u64,
}

/// A value is good enough when the loss is below this.
const ENOUGH: f32 = 1e-2;

impl GraceSettings {
    /// The reference's defaults at a block.
    #[must_use]
    pub fn new(layer: usize) -> Self {
        Self { layer, eps: 1.0, edit_lr: 1.0, n_iter: 100, val_init: ValInit::Cold, seed: 0 }
    }

    /// Sets one hyper-parameter.
    ///
    /// # Errors
    /// [`EditError::Setting`] when it is unknown or out of range.
    pub fn set(&mut self, setting: &Setting) -> Result<(), EditError> {
        self.tune("grace", setting)
    }
}

impl Tunable for GraceSettings {
    fn params() -> Vec<Param<Self>> {
        vec![
            one_layer(|s: &mut Self| &mut s.layer, |s| s.layer),
            field!("eps", "ε: first radius of a ball", eps, float(0.0)),
            field!("edit_lr", "learning rate of a value (Adam)", edit_lr, float(f64::MIN_POSITIVE)),
            field!("n_iter", "largest number of steps for a value", n_iter, count()),
            choice(
                "val_init",
                "where a value begins; cold: drawn, warm: as it is",
                &ValInit::NAMES,
                |s: &Self| s.val_init,
                |s| &mut s.val_init,
            ),
            field!("seed", "seed of what is drawn", seed, whole()),
        ]
    }
}

/// How GRACE finds its pairs, and when they answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grace {
    settings: GraceSettings,
}

impl Grace {
    /// A GRACE that knows nothing yet.
    ///
    /// # Errors
    /// [`EditError::Layer`].
    pub fn begin(base: Model, settings: GraceSettings) -> Result<Pairs, EditError> {
        Pairs::new(base, Box::new(Self { settings }))
    }

    /// GRACE as it stands in a state.
    ///
    /// # Errors
    /// [`EditError::State`] when the state is another model's or method's.
    pub fn open(base: Model, state: &AdapterState) -> Result<Pairs, EditError> {
        let mut settings = GraceSettings::new(state.layer());
        settings_of(state).try_for_each(|setting| settings.set(&setting))?;
        Pairs::open(base, Box::new(Self { settings }), state)
    }

    fn first_value(&self, fact: &Fact, output: &[f32]) -> Vec<f32> {
        if self.settings.val_init == ValInit::Warm {
            return output.to_vec();
        }
        let mut text = format!("{}\n{}\n{}", fact.subject, fact.prompt, fact.target).into_bytes();
        text.extend_from_slice(&self.settings.seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(bytes_digest(&text));
        output.iter().map(|_| rng.random::<f32>()).collect()
    }
}

impl PairRule for Grace {
    fn name(&self) -> &str {
        "grace"
    }

    fn layer(&self) -> usize {
        self.settings.layer
    }

    fn settings(&self) -> BTreeMap<String, String> {
        self.settings.told()
    }

    fn find(&self, base: &Model, fact: &Fact, watch: &dyn Watch) -> Result<(Pair, f32), EditError> {
        let device = base.device();
        let requests = requests(base, [fact])?;
        let lesson = Lesson::new(base, self.settings.layer, &requests, Objective::TargetNew)?;
        let Observed { keys, outputs, .. } = &lesson.seen;
        // The first token is asked for behind the prompt's last one.
        let last = lesson.places[0].1;
        let at_last = |x: &Tensor<3>| host(&gather_rows(x.clone(), &[(0, last)], device));
        let (key, output) = (at_last(keys), at_last(outputs));

        let [_, tokens, width] = outputs.dims();
        let column = (0..tokens).map(|token| if token == last { 1.0 } else { 0.0 }).collect();
        let column: Tensor<3> = upload_f32(column, [1, tokens, 1], device);
        let before: Tensor<3> = upload_f32(output.clone(), [1, 1, width], device);
        let loss = |value: Tensor<1>| {
            lesson.loss(base, column.clone() * (value.reshape([1, 1, width]) - before.clone()))
        };
        let GraceSettings { n_iter: steps, edit_lr: rate, .. } = self.settings;
        let start = Descent::from(upload_f32(self.first_value(fact, &output), [width], device));
        let (value, losses) = start.run(Pace { steps, rate, enough: ENOUGH }, watch, |value| value, loss)?;
        let target = requests.into_iter().flat_map(|request| request.target).collect();
        Ok((Pair { key, value: host(&value), target }, losses.last().copied().unwrap_or(0.0)))
    }

    fn adapter(&self, base: &Model, pairs: &[Pair]) -> Arc<dyn Adapter> {
        Arc::new(GraceAdapter {
            codebook: Codebook::fold(pairs, self.settings.eps),
            // Checked when the memory was begun.
            layer: block(base, self.settings.layer).unwrap_or(u16::MAX),
            key: base.spec().key_point(self.settings.layer),
            device: base.device().clone(),
        })
    }

    fn notes(&self, _: &[Pair]) -> Vec<String> {
        Vec::new()
    }
}

struct GraceAdapter {
    codebook: Codebook,
    layer: u16,
    key: Point,
    device: Device,
}

impl Table for GraceAdapter {
    fn answer(&self, keys: Tensor<2>) -> Vec<Option<&[f32]>> {
        let [count, width] = keys.dims();
        if count == 0 {
            return Vec::new();
        }
        let found = |key: &[f32]| Some(self.codebook.pair(self.codebook.lookup(key)?).value.as_slice());
        host(&keys).chunks(width).map(found).collect()
    }
}

impl Adapter for GraceAdapter {
    fn begin(&self, prompts: &[usize]) -> Box<dyn Hook + '_> {
        Box::new(PlaceHook {
            table: self,
            layer: self.layer,
            key: self.key,
            places: Where::Last,
            answer: Answer::Replace,
            device: &self.device,
            prompts: prompts.to_vec(),
            state: Progress::Fresh,
        })
    }
}

/// How the method is declared.
pub(crate) const METHOD: MethodSpec = MethodSpec {
    name: "grace",
    summary: "a codebook of activations",
    paper: Some("2211.11031"),
    needs_moments: false,
    needs_matrix: false,
    many: true,
    layers: LayerRule::One,
    settings: || GraceSettings::new(0).infos(),
    make: Make::Memory(begin, |state, base| Ok(Box::new(Grace::open(base, state)?))),
};

fn begin(inputs: &MethodInputs, base: Model) -> Result<Box<dyn Memory>, EditError> {
    let mut settings = GraceSettings { seed: inputs.seed, ..GraceSettings::new(inputs.layer) };
    inputs.set(|setting| settings.set(setting))?;
    Ok(Box::new(Grace::begin(base, settings)?))
}
