//! From a method's name to an editor.

use recant_edit::{Contexts, EditError, Editor};

use crate::ft::{self, FineTune, FtSettings, Objective};
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
    /// Names of its hyper-parameters.
    pub settings: &'static [&'static str],
}

/// Every method.
pub const METHODS: [MethodInfo; 4] = [
    MethodInfo {
        name: "r-rome",
        summary: "rank-one rewrite of one MLP, the same mean key throughout (arXiv 2403.07175)",
        needs_moments: true,
        settings: &rome::KNOWN,
    },
    MethodInfo {
        name: "rome",
        summary: "the original rank-one rewrite, bare-prompt key in the divisor (arXiv 2202.05262)",
        needs_moments: true,
        settings: &rome::KNOWN,
    },
    MethodInfo {
        name: "ft-l",
        summary: "fine-tuning of one MLP, bounded step, last-token loss (a weak baseline)",
        needs_moments: false,
        settings: &ft::KNOWN,
    },
    MethodInfo {
        name: "ft-m",
        summary: "fine-tuning of one MLP on the whole target (a baseline)",
        needs_moments: false,
        settings: &ft::KNOWN,
    },
];

/// What editors are made from.
#[derive(Debug, Clone)]
pub struct MethodInputs {
    /// The edited layer.
    pub layer: usize,
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
        "ft-l" => fine_tune(Objective::PromptLast, inputs),
        "ft-m" => fine_tune(Objective::TargetNew, inputs),
        _ => Err(EditError::Setting {
            key: "method".to_owned(),
            value: name.to_owned(),
            reason: format!("no such method; there are {}", METHODS.map(|info| info.name).join(", ")),
        }),
    }
}

fn make_rome(keys: KeyRule, inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let mut settings = RomeSettings::new(inputs.layer, keys);
    inputs.settings.iter().try_for_each(|setting| settings.set(setting))?;
    let covariance = match (&inputs.covariance, settings.mom2_adjustment) {
        (_, false) => Covariance::Identity,
        (Some(covariance), true) => covariance.clone(),
        (None, true) => {
            let reason = "this method needs the second moments of the layer's keys: make them with \
                          `recant stats` and pass --stats FILE, or leave them out on purpose with \
                          --set mom2_adjustment=false (C = I, usually worse)";
            return Err(EditError::Statistics { reason: reason.to_owned() });
        }
    };
    Ok(Box::new(Rome::new(settings, inputs.contexts.clone(), covariance)))
}

fn fine_tune(objective: Objective, inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let mut settings = FtSettings::new(inputs.layer, objective);
    inputs.settings.iter().try_for_each(|setting| settings.set(setting))?;
    Ok(Box::new(FineTune::new(settings)))
}
