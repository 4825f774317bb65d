//! Editors plan; they never touch a model.

use std::collections::BTreeMap;

use recant_core::WeightPatch;
use recant_model::Model;
use recant_records::{Carry, Fact};

use crate::error::EditError;
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
