//! Editors plan; they never touch a model.

use std::collections::BTreeMap;

use recant_core::{StateError, WeightPatch};
use recant_model::{InputError, MixtureError, Model, ParamError, PatchError, TokenizerError};
use recant_records::{Carry, Fact};

use crate::contexts::ContextError;
use crate::fact::RequestError;
use crate::watch::Watch;

/// A method of editing.
pub trait Editor: Send + Sync {
    /// The name that users type, such as `r-rome`.
    fn name(&self) -> &str;

    /// As [`Editor::plan_after`], on a model without adapters: what a method has to say. Others call
    /// [`Editor::plan_after`]. Whatever takes long tells `watch` its steps.
    ///
    /// # Errors
    /// As [`Editor::plan_watched`].
    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError>;

    /// Plans the edit that makes `model` state `facts`, knowing what earlier plans left in `carry`. The model
    /// is only read, and the same inputs give the same plan. An editor without memory ignores the carry and
    /// hands it on.
    ///
    /// # Errors
    /// [`EditError`] names the fact or setting that stands in the way. A model that carries adapters is refused:
    /// the plan would be made for the weights alone, which is not the model that answers.
    fn plan_after(&self, model: &Model, facts: &[Fact], carry: &Carry) -> Result<Plan, EditError> {
        self.plan_watched(model, facts, carry, &())
    }

    /// As [`Editor::plan_after`]; `watch` hears each step of the work, and may break it off.
    ///
    /// # Errors
    /// As [`Editor::plan_after`], and [`EditError::Cancelled`].
    fn plan_watched(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError> {
        refuse_adapters(self.name(), model)?;
        self.plan_on_weights(model, facts, carry, watch)
    }

    /// Plans the first edit: [`Editor::plan_after`] with nothing carried.
    ///
    /// # Errors
    /// As [`Editor::plan_after`].
    fn plan(&self, model: &Model, facts: &[Fact]) -> Result<Plan, EditError> {
        self.plan_after(model, facts, &Carry::default())
    }

    /// Every setting that decides the plan, by its name in the literature, for reports and records.
    fn settings(&self) -> BTreeMap<String, String>;

    /// The context templates that its plans use; none where a method reads only the prompt itself.
    fn contexts(&self) -> &[String] {
        &[]
    }
}

/// Refuses a model that carries adapters, for a method that looks at the weights alone.
///
/// # Errors
/// [`EditError::Adapters`].
pub fn refuse_adapters(method: &str, model: &Model) -> Result<(), EditError> {
    match model.adapters().len() {
        0 => Ok(()),
        count => Err(EditError::Adapters { method: method.to_owned(), count }),
    }
}

/// What an editor found out: the edit, and how it got there.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// The change of weights.
    pub patch: WeightPatch,
    /// The quantities of the method's paper, one trace a fact.
    pub traces: Vec<Trace>,
    /// Things the user should know, such as a covariance that was replaced by the identity.
    pub notes: Vec<String>,
    /// What the editor wants to remember at its next plan; it belongs to this edit and is undone with it.
    pub carry: Carry,
}

impl Plan {
    /// A plan that only says what changes.
    #[must_use]
    pub fn new(patch: WeightPatch) -> Self {
        Self { patch, traces: Vec::new(), notes: Vec::new(), carry: Carry::default() }
    }
}

/// Intermediate quantities by the paper's names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// Vectors and matrices: name to (shape, numbers in row order).
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Loss columns by step: each step's total and its parts.
    pub losses: Vec<LossStep>,
    /// Names of lookup tokens and the like, for a person.
    pub texts: BTreeMap<String, String>,
}

/// The loss of a v* search at one step: `[total, nll, kl, weight_decay]`.
pub type LossStep = [f32; 4];

/// An edit cannot be planned. The model is as it was: planning never touches it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Whoever watched broke it off.
    #[error("the edit was broken off")]
    Cancelled,
    /// A fact cannot be used.
    #[error("{text:?}: {source}")]
    Fact {
        /// The fact's prompt.
        text: String,
        /// What is wrong.
        source: RequestError,
    },
    /// The method writes one fact at a time, or was given none.
    #[error("{method} writes {}, but {count} were given", written(.count))]
    FactCount {
        /// The method.
        method: String,
        /// How many facts.
        count: usize,
    },
    /// The model carries adapters, which the method would not see.
    #[error(
        "{method} plans on a model's weights, and this model carries {count} adapters beside them, which it would \
         ignore"
    )]
    Adapters {
        /// The method.
        method: String,
        /// How many.
        count: usize,
    },
    /// The method shares out a displacement of the residual stream, and between that and the MLPs stands a norm.
    #[error(
        "in a {architecture} model a norm stands between the MLP and the residual stream, so what is missing there \
         cannot be shared out over layers; the methods of one fact (rome, r-rome, ft-m) and the memories work"
    )]
    NormBehind {
        /// `model_type` of the model.
        architecture: &'static str,
    },
    /// The block is a mixture of experts, and the method edits a matrix.
    #[error(transparent)]
    Mixture(#[from] MixtureError),
    /// Quantities that belong together have other shapes.
    #[error("{what} has the shape {found:?}, where {expected:?} is expected; this is a defect of recant")]
    Shape {
        /// What it is.
        what: &'static str,
        /// Rows and width expected.
        expected: [usize; 2],
        /// Rows and width found.
        found: [usize; 2],
    },
    /// The model has no such layer.
    #[error("there is no layer {layer}; this model has {layers}, counted from 0")]
    Layer {
        /// The layer asked for.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
    /// A setting is unknown or out of its range.
    #[error("setting {key} = {value}: {reason}")]
    Setting {
        /// Its name.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two things that were asked for cannot both be.
    #[error("{one} and {other} contradict each other; say one of them")]
    Contradiction {
        /// The one, as it was said.
        one: String,
        /// The other.
        other: String,
    },
    /// Second moments are needed and were not given, or belong to something else.
    #[error("{reason}")]
    Statistics {
        /// What is wrong and what to do.
        reason: String,
    },
    /// The search met NaN or infinity.
    #[error("the search for v* met a loss of {loss} at step {step}; lower v_lr")]
    NonFinite {
        /// The step.
        step: usize,
        /// The loss.
        loss: f32,
    },
    /// The update is not finite: the key is (nearly) orthogonal to itself under C⁻¹.
    #[error("the update is not finite: the divisor k'ᵀu is {divisor:e}")]
    Divisor {
        /// The divisor.
        divisor: f64,
    },
    /// The method learns from prompts that must be left alone, and the fact has none.
    #[error(
        "{text:?} comes without a locality prompt, which this method learns from; give one, or take the embedded \
         neutral texts with neutral=true"
    )]
    Locality {
        /// The fact's prompt.
        text: String,
    },
    /// There is no room for another edit.
    #[error("the memory is full: it holds {capacity} edits; {hint}")]
    Full {
        /// Edits it can hold.
        capacity: usize,
        /// What to do.
        hint: &'static str,
    },
    /// There is no such edit.
    #[error("there is no edit {index}; {count} were learned, counted from 0")]
    NoEdit {
        /// The edit asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A stored state does not belong to this model or method, or is incomplete.
    #[error("the stored state cannot be used: {reason}")]
    State {
        /// What is wrong.
        reason: String,
    },
    /// The numbers that were learned do not make a state.
    #[error(transparent)]
    BadState(#[from] StateError),
    /// Tokens cannot be fed to the model.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A text cannot be tokenised.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Context templates cannot be used.
    #[error(transparent)]
    Contexts(#[from] ContextError),
    /// The model cannot be rebuilt around a changed matrix.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// The plan cannot be applied.
    #[error(transparent)]
    Apply(#[from] PatchError),
}

fn written(count: &usize) -> &'static str {
    if *count == 0 { "facts" } else { "one fact at a time" }
}

impl EditError {
    /// Says which fact an error is about.
    pub fn about(fact: &Fact) -> impl FnOnce(RequestError) -> Self {
        let text = fact.prompt.clone();
        move |source| Self::Fact { text, source }
    }
}
