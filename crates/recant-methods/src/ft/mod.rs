//! FT-L and FT-M: gradient descent on one MLP's down-projection, the baselines of every table.
//!
//! FT-L ("constrained fine-tuning", Zhu et al., arXiv 2012.00363, in the form of EasyEdit's
//! `prompt_last`): every target token is asked for at the last prompt token, and no weight may move further
//! than `norm_constraint`. FT-M (`target_new`): plain teacher forcing of the target, unconstrained.
//! `PAPER.md` beside this file says what differs from the reference code.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use recant_edit::{Carry, EditError, Editor, Fact, Plan, Watch};
use recant_model::Model;

use crate::descent::{Descent, Pace, of_one_part};
use crate::inputs::MethodInputs;
pub use crate::lesson::Objective;
use crate::lesson::{Lesson, requests, trained};
use crate::region::{block_with_matrix, shift};
use crate::settings::{Param, Setting, Tunable, field, norm_constraint, one_layer};
use crate::spec::{LayerRule, Make, MethodSpec};

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
        block_with_matrix(model, settings.layer)?;
        let lesson = Lesson::new(model, settings.layer, &requests(model, facts)?, settings.objective)?;
        let loss = |delta: Tensor<2>| lesson.loss(model, shift(&lesson.seen.keys, &delta));
        let bounded = |delta: Tensor<2>| match settings.norm_constraint {
            Some(bound) => delta.clamp(-bound, bound),
            None => delta,
        };
        let start = Descent::from(lesson.no_change(model));
        let pace = Pace { steps: settings.num_steps, rate: settings.lr, enough: ENOUGH };
        let (delta, losses) = start.run(pace, watch, bounded, loss)?;
        trained(model, settings.layer, &delta, of_one_part(&losses), carry)
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
