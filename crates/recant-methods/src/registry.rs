//! From a method's name to an editor.

use std::collections::BTreeMap;

use recant_core::AdapterState;
use recant_edit::{Carry, Contexts, EditError, Editor, Fact, Lifelong, Memory, Plan, WeightSequence};
use recant_model::Model;

use crate::alphaedit::AlphaEdit;
use crate::batch::BatchSettings;
use crate::emmet::Emmet;
use crate::ft::{FineTune, FtSettings, Objective};
use crate::grace::{Grace, GraceSettings};
use crate::ledger::{LedgerEditor, LedgerSequence, LedgerSettings};
use crate::lifelong::Pairs;
use crate::locft::{LocFt, LocFtSettings};
use crate::memit::Memit;
use crate::retrieval::{Retrieval, RetrievalSettings};
use crate::rome::{Covariance, KeyRule, Rome, RomeSettings};
use crate::settings::{ParamInfo, Setting, Tunable};
use crate::wise::{Wise, WiseSettings};

/// Which layers a method edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerRule {
    /// One.
    One,
    /// Several.
    Several,
    /// The last of several, unless its own setting names more.
    Last,
}

/// What a person should know to choose a method.
#[derive(Debug, Clone, Copy)]
pub struct MethodInfo {
    /// The name to type.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Whether it needs second moments of keys.
    pub needs_moments: bool,
    /// Whether it edits or copies the matrix of a block, which a mixture of experts has not.
    pub needs_matrix: bool,
    /// Whether one plan writes many facts together.
    pub many: bool,
    /// Which layers it edits.
    pub layers: LayerRule,
    /// Its hyper-parameters, with their defaults.
    pub settings: fn() -> Vec<ParamInfo>,
}

impl MethodInfo {
    /// The method or memory of this name.
    ///
    /// # Errors
    /// [`EditError::Setting`] says which there are.
    pub fn find(name: &str) -> Result<&'static Self, EditError> {
        let mut all = METHODS.iter().chain(&MEMORIES);
        all.find(|info| info.name == name).ok_or_else(|| {
            let known: Vec<&str> = METHODS.iter().chain(&MEMORIES).map(|info| info.name).collect();
            named_method(name, format!("no such method; there are {}", known.join(", ")))
        })
    }

    /// The parameter that a name or an alias means.
    #[must_use]
    pub fn param(&self, key: &str) -> Option<ParamInfo> {
        (self.settings)().into_iter().find(|param| param.is_called(key))
    }

    /// Whether one plan may write this many facts.
    ///
    /// # Errors
    /// [`EditError::FactCount`].
    pub fn check_count(&self, facts: usize) -> Result<(), EditError> {
        if facts == 1 || (facts > 1 && self.many) {
            return Ok(());
        }
        Err(EditError::FactCount { method: self.name.to_owned(), count: facts })
    }
}

fn named_method(name: &str, reason: String) -> EditError {
    EditError::Setting { key: "method".to_owned(), value: name.to_owned(), reason }
}

/// Every method that plans a change of weights.
pub const METHODS: [MethodInfo; 9] = [
    MethodInfo {
        name: "r-rome",
        summary: "rank-one rewrite of one MLP, the same mean key throughout (arXiv 2403.07175)",
        needs_moments: true,
        needs_matrix: true,
        many: false,
        layers: LayerRule::One,
        settings: || RomeSettings::new(0, KeyRule::Mean).infos(),
    },
    MethodInfo {
        name: "rome",
        summary: "the original rank-one rewrite, bare-prompt key in the divisor (arXiv 2202.05262)",
        needs_moments: true,
        needs_matrix: true,
        many: false,
        layers: LayerRule::One,
        settings: || RomeSettings::new(0, KeyRule::Bare).infos(),
    },
    MethodInfo {
        name: "memit",
        summary: "many facts at once, spread over a range of layers (arXiv 2210.07229)",
        needs_moments: true,
        needs_matrix: true,
        many: true,
        layers: LayerRule::Several,
        settings: || BatchSettings::new(vec![]).infos(),
    },
    MethodInfo {
        name: "emmet",
        summary: "many facts at one layer as equality constraints (arXiv 2403.14236)",
        needs_moments: true,
        needs_matrix: true,
        many: true,
        layers: LayerRule::Last,
        settings: || infos(Emmet::settings_of(&[], &[])),
    },
    MethodInfo {
        name: "alphaedit",
        summary: "many facts in the null space of ordinary keys (arXiv 2410.02355)",
        needs_moments: true,
        needs_matrix: true,
        many: true,
        layers: LayerRule::Several,
        settings: || infos(AlphaEdit::settings_of(vec![], &[])),
    },
    MethodInfo {
        name: "ledger",
        summary: "many facts as a set: add, remove and merge at any time, exactly",
        needs_moments: true,
        needs_matrix: true,
        many: true,
        layers: LayerRule::Several,
        settings: || LedgerSettings::new(vec![]).infos(),
    },
    MethodInfo {
        name: "ft-l",
        summary: "fine-tuning of one MLP, bounded step, last-token loss (a weak baseline)",
        needs_moments: false,
        needs_matrix: true,
        many: false,
        layers: LayerRule::One,
        settings: || FtSettings::new(0, Objective::PromptLast).infos(),
    },
    MethodInfo {
        name: "ft-m",
        summary: "fine-tuning of one MLP on the whole target (a baseline)",
        needs_moments: false,
        needs_matrix: true,
        many: false,
        layers: LayerRule::One,
        settings: || FtSettings::new(0, Objective::TargetNew).infos(),
    },
    MethodInfo {
        name: "locft-bf",
        summary: "breadth-first fine-tuning of one MLP on many facts (arXiv 2509.22072)",
        needs_moments: false,
        needs_matrix: true,
        many: true,
        layers: LayerRule::One,
        settings: || LocFtSettings::new(0).infos(),
    },
];

/// Every method that keeps a memory beside the weights; see [`memory`].
pub const MEMORIES: [MethodInfo; 3] = [
    MethodInfo {
        name: "wise",
        summary: "a side memory of one MLP behind a router (arXiv 2405.14768)",
        needs_moments: false,
        needs_matrix: true,
        many: true,
        layers: LayerRule::One,
        settings: || WiseSettings::new(0).infos(),
    },
    MethodInfo {
        name: "grace",
        summary: "a codebook of activations (arXiv 2211.11031)",
        needs_moments: false,
        needs_matrix: false,
        many: true,
        layers: LayerRule::One,
        settings: || GraceSettings::new(0).infos(),
    },
    MethodInfo {
        name: "memory",
        summary: "keys and residuals behind a similarity gate (NeuralDB, arXiv 2507.18028)",
        needs_moments: false,
        needs_matrix: false,
        many: true,
        layers: LayerRule::One,
        settings: || RetrievalSettings::new(0).infos(),
    },
];

fn infos(defaults: Result<impl Tunable, EditError>) -> Vec<ParamInfo> {
    defaults.map(|defaults| defaults.infos()).unwrap_or_default()
}

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
    /// Seed of everything that is drawn, where no hyper-parameter says another.
    pub seed: u64,
}

/// Makes an editor.
///
/// # Errors
/// [`EditError::Setting`] when the name or a hyper-parameter is unknown, [`EditError::Statistics`] when the
/// method needs second moments and there are none.
pub fn method(name: &str, inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let info = MethodInfo::find(name)?;
    Ok(Box::new(Registered { info, editor: editor(name, inputs)? }))
}

fn editor(name: &str, inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
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
        "ledger" => Ok(Box::new(make_ledger(inputs)?)),
        "ft-l" => fine_tune(Objective::PromptLast, inputs),
        "ft-m" => fine_tune(Objective::TargetNew, inputs),
        "locft-bf" => {
            let mut settings = LocFtSettings { seed: inputs.seed, ..LocFtSettings::new(inputs.layer) };
            inputs.settings.iter().try_for_each(|setting| settings.set(setting))?;
            Ok(Box::new(LocFt::new(settings)))
        }
        _ => Err(named_method(
            name,
            "this method keeps a memory beside the weights; it plans no change of weights".to_owned(),
        )),
    }
}

/// An editor that is asked for as many facts as its method writes.
struct Registered {
    info: &'static MethodInfo,
    editor: Box<dyn Editor>,
}

impl Editor for Registered {
    fn name(&self) -> &str {
        self.info.name
    }

    fn plan_on_weights(&self, model: &Model, facts: &[Fact], carry: &Carry) -> Result<Plan, EditError> {
        self.info.check_count(facts.len())?;
        self.editor.plan_on_weights(model, facts, carry)
    }

    fn settings(&self) -> BTreeMap<String, String> {
        self.editor.settings()
    }

    fn contexts(&self) -> &[String] {
        self.editor.contexts()
    }
}

/// Makes a model that goes on learning with a method, beginning at `base`.
///
/// # Errors
/// As [`method`].
pub fn lifelong(name: &str, inputs: &MethodInputs, base: Model) -> Result<Box<dyn Lifelong>, EditError> {
    if MEMORIES.iter().any(|info| info.name == name) {
        return memory(name, inputs, base).map(|memory| memory as Box<dyn Lifelong>);
    }
    match name {
        "ledger" => Ok(Box::new(LedgerSequence::new(base, make_ledger(inputs)?))),
        _ => Ok(Box::new(WeightSequence::new(base, method(name, inputs)?))),
    }
}

/// Makes an empty memory of one of [`MEMORIES`] in front of `base`.
///
/// # Errors
/// As [`method`].
pub fn memory(name: &str, inputs: &MethodInputs, base: Model) -> Result<Box<dyn Memory>, EditError> {
    let each = &inputs.settings;
    match name {
        "grace" => {
            let mut settings = GraceSettings { seed: inputs.seed, ..GraceSettings::new(inputs.layer) };
            each.iter().try_for_each(|setting| settings.set(setting))?;
            Ok(Box::new(Grace::begin(base, settings)?))
        }
        "memory" => Ok(Box::new(make_retrieval(inputs, base)?)),
        "wise" => {
            let mut settings = WiseSettings { seed: inputs.seed, ..WiseSettings::new(inputs.layer) };
            each.iter().try_for_each(|setting| settings.set(setting))?;
            let contexts = several(inputs, &base)?;
            Ok(Box::new(Wise::begin(base, settings, contexts)?))
        }
        _ => method(name, inputs).and_then(|_| {
            let reason = format!("it keeps no memory; {} do", MEMORIES.map(|info| info.name).join(", "));
            Err(named_method(name, reason))
        }),
    }
}

/// An empty retrieval memory in front of `base`.
///
/// # Errors
/// As [`method`].
pub fn make_retrieval(inputs: &MethodInputs, base: Model) -> Result<Pairs, EditError> {
    let mut settings = RetrievalSettings::new(inputs.layer);
    inputs.settings.iter().try_for_each(|setting| settings.set(setting))?;
    let contexts = several(inputs, &base)?;
    Retrieval::begin(base, settings, contexts)
}

/// Opens the memory of a state, whichever method made it.
///
/// # Errors
/// [`EditError::State`] when the state is another model's, or of a method that this version does not know;
/// [`EditError::Adapters`] when `base` is in front of another memory already.
pub fn open_memory(state: &AdapterState, base: Model) -> Result<Box<dyn Memory>, EditError> {
    match state.kind() {
        "grace" => Ok(Box::new(Grace::open(base, state)?)),
        "memory" => Ok(Box::new(Retrieval::open(base, state)?)),
        "wise" => Ok(Box::new(Wise::open(base, state)?)),
        other => Err(EditError::State { reason: format!("no method `{other}` is known") }),
    }
}

/// The contexts given, or five short ones where only the bare prompt was: an edit should hold in running text.
fn several(inputs: &MethodInputs, base: &Model) -> Result<Contexts, EditError> {
    if inputs.contexts != Contexts::bare() {
        return Ok(inputs.contexts.clone());
    }
    let seed = inputs.settings.iter().find(|setting| setting.key == "seed");
    let seed = seed.map_or(Ok(inputs.seed), Setting::whole)?;
    Ok(Contexts::sample(base, &[(5, 2), (10, 3)], seed)?)
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
            let reason = "this method needs the second moments of the layer's keys, or mom2_adjustment=false to \
                          leave them out on purpose (C = I, usually worse)";
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

/// The ledger editor.
///
/// # Errors
/// As [`method`].
pub fn make_ledger(inputs: &MethodInputs) -> Result<LedgerEditor, EditError> {
    let settings = LedgerEditor::settings_of(inputs.layers(), &inputs.settings)?;
    let covariance = covariance(inputs, settings.batch.mom2_adjustment)?;
    Ok(LedgerEditor::new(settings, inputs.contexts.clone(), covariance))
}

fn fine_tune(objective: Objective, inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let mut settings = FtSettings::new(inputs.layer, objective);
    inputs.settings.iter().try_for_each(|setting| settings.set(setting))?;
    Ok(Box::new(FineTune::new(settings)))
}
