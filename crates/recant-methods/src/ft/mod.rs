//! FT-L and FT-M: gradient descent on one MLP's down-projection, the baselines of every table.
//!
//! FT-L ("constrained fine-tuning", Zhu et al., arXiv 2012.00363, in the form of EasyEdit's
//! `prompt_last`): every target token is asked for at the last prompt token, and no weight may move further
//! than `norm_constraint`. FT-M (`target_new`): plain teacher forcing of the target, unconstrained.
//! `PAPER.md` beside this file says what differs from the reference code.

use std::collections::BTreeMap;

use burn::optim::{AdamConfig, Optimizer};
use burn::tensor::{Int, Tensor, activation};
use recant_backend::{host, upload_ints};
use recant_core::{Addend, Matrix, Point, Site};
use recant_edit::{Carry, EditError, Editor, Fact, Plan, Request, Trace, Watch, Work};
use recant_model::{ForwardInput, Model, NoHook, Observer, Positions, Slot, Source, TokenBatch, gather_rows};

use crate::inputs::MethodInputs;
use crate::settings::{Param, Setting, Tunable, field, norm_constraint, one_layer};
use crate::spec::{LayerRule, Make, MethodSpec};
use crate::upper::no_matrix;

/// Which tokens are trained at which positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Objective {
    /// FT-L: all target tokens at the last prompt token.
    PromptLast,
    /// FT-M: each target token behind its predecessors.
    TargetNew,
}

/// Settings of FT-L and FT-M, named as in the reference code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FtSettings {
    /// The edited layer.
    pub layer: usize,
    /// What is trained.
    pub objective: Objective,
    /// Largest number of steps.
    pub num_steps: usize,
    /// Adam's learning rate.
    pub lr: f64,
    /// Bound on how far any weight moves (L∞), if any.
    pub norm_constraint: Option<f64>,
}

/// Training ends when the loss is below this.
const ENOUGH: f32 = 1e-2;

impl FtSettings {
    /// The reference's defaults at a layer.
    #[must_use]
    pub fn new(layer: usize, objective: Objective) -> Self {
        let norm_constraint = (objective == Objective::PromptLast).then_some(5e-4);
        Self { layer, objective, num_steps: 25, lr: 5e-4, norm_constraint }
    }

    /// Sets one hyper-parameter.
    ///
    /// # Errors
    /// [`EditError::Setting`] when it is unknown or out of range.
    pub fn set(&mut self, setting: &Setting) -> Result<(), EditError> {
        self.tune("ft", setting)
    }
}

impl Tunable for FtSettings {
    fn params() -> Vec<Param<Self>> {
        vec![
            one_layer(|s: &mut Self| &mut s.layer, |s| s.layer),
            field!("num_steps", "largest number of steps", num_steps, count()),
            field!("lr", "learning rate (Adam)", lr, float(f64::MIN_POSITIVE)),
            norm_constraint(|s: &Self| s.norm_constraint, |s| &mut s.norm_constraint),
        ]
    }
}

/// The fine-tuning baselines.
#[derive(Debug, Clone, Copy)]
pub struct FineTune {
    settings: FtSettings,
}

impl FineTune {
    /// An editor.
    #[must_use]
    pub fn new(settings: FtSettings) -> Self {
        Self { settings }
    }
}

/// The rows of a training set and what they should say where.
struct Lesson {
    batch: TokenBatch,
    places: Vec<(usize, usize)>,
    targets: Vec<i32>,
}

impl Lesson {
    fn new(model: &Model, requests: &[Request], objective: Objective) -> Result<Self, EditError> {
        let (mut rows, mut places, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for (row, request) in requests.iter().enumerate() {
            let mut ids = model.tokenizer().encode(&request.fact.text())?;
            let last = ids.len().saturating_sub(1);
            for (i, &token) in request.target.iter().enumerate() {
                places.push((row, if objective == Objective::TargetNew { last + i } else { last }));
                targets.push(token.cast_signed());
            }
            if objective == Objective::TargetNew {
                ids.extend(&request.target[..request.target.len() - 1]);
            }
            rows.push(ids);
        }
        Ok(Self { batch: TokenBatch::new(&rows, model.spec())?, places, targets })
    }
}

impl Editor for FineTune {
    fn name(&self) -> &str {
        match self.settings.objective {
            Objective::PromptLast => "ft-l",
            Objective::TargetNew => "ft-m",
        }
    }

    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError> {
        let settings = self.settings;
        let device = model.device();
        let no_layer = || no_matrix(model, settings.layer);
        let slot = Slot::MlpDown(settings.layer);
        let before = model.weight(slot).ok_or_else(no_layer)?;
        let requests = facts
            .iter()
            .map(|fact| Request::new(model, fact).map_err(EditError::about(fact)))
            .collect::<Result<Vec<_>, _>>()?;
        let lesson = Lesson::new(model, &requests, settings.objective)?;

        // Nothing below the edited block depends on its weights: it is computed once.
        let site = Site::Block(settings.layer as u16, Point::ResidPre);
        let mut below = Observer::up_to([site]);
        let _stopped = model.net().forward(ForwardInput::tokens(&lesson.batch, device), &mut below);
        let below = below.take(site).ok_or_else(no_layer)?;

        let targets: Tensor<2, Int> = upload_ints(lesson.targets.clone(), [lesson.targets.len(), 1], device);
        let adam = AdamConfig::new().with_epsilon(1e-8).build();
        let mut weight = before.clone();
        let mut state = None;
        let mut losses = Vec::new();
        for step in 0..settings.num_steps {
            watch.tell(Work::Search, step, settings.num_steps)?;
            let leaf = weight.clone().autodiff().require_grad();
            let net = model.net_with(slot, leaf.clone()).ok_or_else(no_layer)?;
            let input = ForwardInput {
                source: Source::Residual { block: settings.layer, x: below.clone() },
                positions: Positions::From(0),
                past: None,
                keep: None,
                only: None,
            };
            let hidden = net.forward(input, &mut NoHook).ok_or_else(no_layer)?;
            let logits = net.unembed(gather_rows(hidden, &lesson.places, device));
            let loss = -activation::log_softmax(logits, 1).gather(1, targets.clone()).mean();
            let now = host(&loss)[0];
            losses.push([now, now, 0.0, 0.0]);
            if !now.is_finite() {
                return Err(EditError::NonFinite { step, loss: now });
            }
            if now < ENOUGH {
                break;
            }
            let grads = loss.backward();
            let Some(gradient) = leaf.grad(&grads) else { break };
            let (moved, next) = adam.step(settings.lr, weight, gradient, state);
            state = next;
            weight = match settings.norm_constraint {
                Some(bound) => before.clone() + (moved - before.clone()).clamp(-bound, bound),
                None => moved,
            };
        }
        let [rows, cols] = before.dims();
        let delta = Matrix::new(rows, cols, host(&(weight - before)));
        let delta = delta.map_err(|_| EditError::NonFinite { step: losses.len(), loss: f32::NAN })?;
        let patch = model.express(slot, Addend::Dense(delta)).ok_or_else(no_layer)?;
        let mut plan = Plan::new(patch);
        plan.traces.push(Trace { losses, ..Trace::default() });
        plan.carry = carry.clone();
        Ok(plan)
    }

    fn settings(&self) -> BTreeMap<String, String> {
        self.settings.told()
    }
}

/// How the method is declared.
pub(crate) const FT_L: MethodSpec = MethodSpec {
    name: "ft-l",
    summary: "fine-tuning of one MLP, bounded step, last-token loss (a weak baseline)",
    paper: Some("2012.00363"),
    needs_moments: false,
    needs_matrix: true,
    many: false,
    layers: LayerRule::One,
    settings: || FtSettings::new(0, Objective::PromptLast).infos(),
    make: Make::Editor(|inputs| make(Objective::PromptLast, inputs)),
};

/// How the method is declared.
pub(crate) const FT_M: MethodSpec = MethodSpec {
    name: "ft-m",
    summary: "fine-tuning of one MLP on the whole target (a baseline)",
    paper: None,
    needs_moments: false,
    needs_matrix: true,
    many: false,
    layers: LayerRule::One,
    settings: || FtSettings::new(0, Objective::TargetNew).infos(),
    make: Make::Editor(|inputs| make(Objective::TargetNew, inputs)),
};

fn make(objective: Objective, inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let mut settings = FtSettings::new(inputs.layer, objective);
    inputs.set(|setting| settings.set(setting))?;
    Ok(Box::new(FineTune::new(settings)))
}
