//! From a method's name to an editor.

use recant_edit::{Contexts, EditError, Editor, Lifelong, WeightSequence};
use recant_model::Model;

use crate::alphaedit::{self, AlphaEdit};
use crate::emmet::{self, Emmet};
use crate::ft::{self, FineTune, FtSettings, Objective};
use crate::memit::{self, Memit};
use crate::rome::{self, Covariance, KeyRule, Rome, RomeSettings};
use crate::settings::Setting;

/// What a person should know to choose a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodInfo {
    /// The name to type.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Whether it needs second moments of keys.
    pub needs_moments: bool,
    /// Whether one plan writes many facts together.
    pub many: bool,
    /// Names of its hyper-parameters.
    pub settings: &'static [&'static str],
}

/// Every method.
pub const METHODS: [MethodInfo; 7] = [
    MethodInfo {
        name: "r-rome",
        summary: "rank-one rewrite of one MLP, the same mean key throughout (arXiv 2403.07175)",
        needs_moments: true,
        many: false,
        settings: &rome::KNOWN,
    },
    MethodInfo {
        name: "rome",
        summary: "the original rank-one rewrite, bare-prompt key in the divisor (arXiv 2202.05262)",
        needs_moments: true,
        many: false,
        settings: &rome::KNOWN,
    },
    MethodInfo {
        name: "memit",
        summary: "many facts at once, spread over a range of layers (arXiv 2210.07229)",
        needs_moments: true,
        many: true,
        settings: &memit::KNOWN,
    },
    MethodInfo {
        name: "emmet",
        summary: "many facts at one layer as equality constraints (arXiv 2403.14236)",
        needs_moments: true,
        many: true,
        settings: &emmet::KNOWN,
    },
    MethodInfo {
        name: "alphaedit",
        summary: "many facts in the null space of ordinary keys (arXiv 2410.02355)",
        needs_moments: true,
        many: true,
        settings: &alphaedit::KNOWN,
    },
    MethodInfo {
        name: "ft-l",
        summary: "fine-tuning of one MLP, bounded step, last-token loss (a weak baseline)",
        needs_moments: false,
        many: false,
        settings: &ft::KNOWN,
    },
    MethodInfo {
        name: "ft-m",
        summary: "fine-tuning of one MLP on the whole target (a baseline)",
        needs_moments: false,
        many: false,
        settings: &ft::KNOWN,
    },
];

/// What editors are made from.
#[derive(Debug, Clone)]
pub struct MethodInputs {
    /// The edited layer.
    pub layer: usize,
    /// Layers of the methods that edit several, ascending; empty: `layer` alone.
    pub layers: Vec<usize>,
    /// Context templates.
    pub contexts: Contexts,
    /// Second moments of keys, if there are any; see [`Covariance::measured`].
    pub covariance: Option<Covariance>,
    /// The user's hyper-parameters.
    pub settings: Vec<Setting>,
}

/// Makes an editor.
///
/// # Errors
/// [`EditError::Setting`] when the name or a hyper-parameter is unknown, [`EditError::Statistics`] when the
/// method needs second moments and there are none.
pub fn method(name: &str, inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    match name {
        "r-rome" => make_rome(KeyRule::Mean, inputs),
        "rome" => make_rome(KeyRule::Bare, inputs),
        "memit" => {
            let settings = Memit::settings_of(inputs.layers(), &inputs.settings)?;
            let covariance = covariance(inputs, settings.mom2_adjustment)?;
            Ok(Box::new(Memit::new(settings, inputs.contexts.clone(), covariance)))
        }
        "emmet" => {
            let settings = Emmet::settings_of(&inputs.layers(), &inputs.settings)?;
            let covariance = covariance(inputs, settings.batch.mom2_adjustment)?;
            Ok(Box::new(Emmet::new(settings, inputs.contexts.clone(), covariance)))
        }
        "alphaedit" => {
            let settings = AlphaEdit::settings_of(inputs.layers(), &inputs.settings)?;
            let covariance = covariance(inputs, settings.batch.mom2_adjustment)?;
            Ok(Box::new(AlphaEdit::new(settings, inputs.contexts.clone(), covariance)))
        }
        "ft-l" => fine_tune(Objective::PromptLast, inputs),
        "ft-m" => fine_tune(Objective::TargetNew, inputs),
        _ => Err(EditError::Setting {
            key: "method".to_owned(),
            value: name.to_owned(),
            reason: format!("no such method; there are {}", METHODS.map(|info| info.name).join(", ")),
        }),
    }
}

/// Makes a model that goes on learning with a method, beginning at `base`.
///
/// # Errors
/// As [`method`].
pub fn lifelong(name: &str, inputs: &MethodInputs, base: Model) -> Result<Box<dyn Lifelong>, EditError> {
    Ok(Box::new(WeightSequence::new(base, method(name, inputs)?)))
}

impl MethodInputs {
    fn layers(&self) -> Vec<usize> {
        if self.layers.is_empty() { vec![self.layer] } else { self.layers.clone() }
    }
}

/// The measured covariance, or the identity where the user asked for it.
fn covariance(inputs: &MethodInputs, adjusted: bool) -> Result<Covariance, EditError> {
    match (&inputs.covariance, adjusted) {
        (_, false) => Ok(Covariance::Identity),
        (Some(covariance), true) => Ok(covariance.clone()),
        (None, true) => {
            let reason = "this method needs the second moments of the layer's keys: make them with \
                          `recant stats` and pass --stats FILE, or leave them out on purpose with \
                          --set mom2_adjustment=false (C = I, usually worse)";
            Err(EditError::Statistics { reason: reason.to_owned() })
        }
    }
}

fn make_rome(keys: KeyRule, inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let mut settings = RomeSettings::new(inputs.layer, keys);
    inputs.settings.iter().try_for_each(|setting| settings.set(setting))?;
    let covariance = covariance(inputs, settings.mom2_adjustment)?;
    Ok(Box::new(Rome::new(settings, inputs.contexts.clone(), covariance)))
}

fn fine_tune(objective: Objective, inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let mut settings = FtSettings::new(inputs.layer, objective);
    inputs.settings.iter().try_for_each(|setting| settings.set(setting))?;
    Ok(Box::new(FineTune::new(settings)))
}
