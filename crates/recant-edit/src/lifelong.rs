//! The lifelong way to hold a model: it goes on learning, and every step can be taken back.

use std::collections::BTreeMap;

use recant_core::{AdapterState, Blobs, WeightPatch};
use recant_model::Model;
use recant_records::{Carry, Fact};

use crate::editor::Editor;
use crate::error::EditError;
use crate::watch::Watch;

/// A model that is edited again and again. What it learned is a value that it owns; the base model is never
/// changed.
pub trait Lifelong: Send {
    /// The method's name, such as `memit`.
    fn name(&self) -> &str;

    /// Every setting that decides the result, for reports and records.
    fn settings(&self) -> BTreeMap<String, String>;

    /// The context templates that learning uses; none where a method reads only the prompt itself.
    fn contexts(&self) -> &[String] {
        &[]
    }

    /// Learns some facts as one step and returns what the user should know about it.
    ///
    /// # Errors
    /// [`EditError`]; the state is then the one before the call.
    fn learn(&mut self, facts: &[Fact]) -> Result<Vec<String>, EditError> {
        self.learn_watched(facts, &())
    }

    /// As [`Lifelong::learn`]; `watch` hears each step of the work, and may break it off.
    ///
    /// # Errors
    /// As [`Lifelong::learn`], and [`EditError::Cancelled`].
    fn learn_watched(&mut self, facts: &[Fact], watch: &dyn Watch) -> Result<Vec<String>, EditError>;

    /// The model as it is after the steps so far.
    fn model(&self) -> &Model;

    /// Number of steps so far.
    fn steps(&self) -> usize;

    /// Goes back to the state after the first `steps` steps, exactly; more than there are changes nothing.
    ///
    /// # Errors
    /// [`EditError`]; the state is then the one before the call.
    fn roll_back(&mut self, steps: usize) -> Result<(), EditError>;

    /// Bytes that the learned state takes, without the base model.
    fn state_bytes(&self) -> usize;

    /// The loss at which the search of the last step ended, for whoever shows progress; `None` where there was none.
    fn loss(&self) -> Option<f32> {
        None
    }
}

/// A lifelong model whose learning is an [`AdapterState`]: it can be stored, and any single edit taken out.
pub trait Memory: Lifelong {
    /// What was learned, as a value. Opening it again gives the same model, bit for bit on a CPU, and learning
    /// goes on from it as if nothing had happened.
    ///
    /// # Errors
    /// [`EditError`] when what was learned is not a state, such as numbers that are not finite.
    fn state(&self) -> Result<AdapterState, EditError>;

    /// What was learned, in order.
    fn facts(&self) -> &[Fact];

    /// Takes out the edit at `index` of [`Memory::facts`]. What remains is what would have been learned without
    /// it; each method says which parts it computes again for that.
    ///
    /// # Errors
    /// [`EditError::NoEdit`] when there is none; the state is then the one before the call.
    fn forget(&mut self, index: usize) -> Result<(), EditError>;
}

/// One step of a [`WeightSequence`].
struct Step {
    patch: WeightPatch,
    carry: Carry,
}

/// An [`Editor`] used again and again: each plan is made on the model that the plans before it left, with
/// their carry. Holds the patches, not a model a step; going back applies them again to the base, which
/// gives the same bytes.
pub struct WeightSequence {
    editor: Box<dyn Editor>,
    base: Model,
    now: Model,
    steps: Vec<Step>,
}

impl WeightSequence {
    /// A sequence that begins at `base`.
    #[must_use]
    pub fn new(base: Model, editor: Box<dyn Editor>) -> Self {
        Self { editor, now: base.clone(), base, steps: Vec::new() }
    }

    /// What the editor remembers now.
    #[must_use]
    pub fn carry(&self) -> Carry {
        self.steps.last().map(|step| step.carry.clone()).unwrap_or_default()
    }
}

impl Lifelong for WeightSequence {
    fn name(&self) -> &str {
        self.editor.name()
    }

    fn settings(&self) -> BTreeMap<String, String> {
        self.editor.settings()
    }

    fn contexts(&self) -> &[String] {
        self.editor.contexts()
    }

    fn learn_watched(&mut self, facts: &[Fact], watch: &dyn Watch) -> Result<Vec<String>, EditError> {
        let plan = self.editor.plan_watched(&self.now, facts, &self.carry(), watch)?;
        let (next, _) = self.now.apply(&plan.patch, &Blobs::new())?;
        self.now = next;
        self.steps.push(Step { patch: plan.patch, carry: plan.carry });
        Ok(plan.notes)
    }

    fn model(&self) -> &Model {
        &self.now
    }

    fn steps(&self) -> usize {
        self.steps.len()
    }

    fn roll_back(&mut self, steps: usize) -> Result<(), EditError> {
        let kept = &self.steps[..steps.min(self.steps.len())];
        let mut former = self.base.clone();
        for step in kept {
            former = former.apply(&step.patch, &Blobs::new())?.0;
        }
        self.now = former;
        self.steps.truncate(steps);
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.steps.iter().map(|step| step.patch.encode().len()).sum()
    }
}
