//! What lifelong methods share: the lessons they were taught, and the files of their states.

mod file;
mod pairs;
pub(crate) mod places;

use recant_core::{AdapterState, StoredFact};
use recant_edit::{Contexts, EditError, Fact, StoredStateError};
use recant_model::Model;

pub use file::{MEMORY, StateFileError, load_state, save_state, save_state_to};
pub use pairs::{Pair, PairRule, Pairs};

use crate::settings::Setting;

/// Facts in the order in which they were learned, each with its step.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lessons {
    facts: Vec<Fact>,
    steps: Vec<u32>,
}

impl Lessons {
    pub(crate) fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// Number of steps: one more than the last fact's.
    pub(crate) fn steps(&self) -> usize {
        self.steps.last().map_or(0, |&step| step as usize + 1)
    }

    /// How many facts the first `steps` steps taught.
    pub(crate) fn within(&self, steps: usize) -> usize {
        self.steps.partition_point(|&step| (step as usize) < steps)
    }

    /// Appends facts as one step.
    pub(crate) fn push(&mut self, facts: &[Fact]) {
        let step = u32::try_from(self.steps()).unwrap_or(u32::MAX);
        self.facts.extend_from_slice(facts);
        self.steps.resize(self.facts.len(), step);
    }

    pub(crate) fn truncate(&mut self, facts: usize) {
        self.facts.truncate(facts);
        self.steps.truncate(facts);
    }

    /// Checks an index.
    pub(crate) fn check(&self, index: usize) -> Result<(), EditError> {
        let count = self.facts.len();
        if index < count { Ok(()) } else { Err(EditError::NoEdit { index, count }) }
    }

    /// Takes out a fact; the others keep their steps.
    pub(crate) fn remove(&mut self, index: usize) {
        self.facts.remove(index);
        self.steps.remove(index);
    }

    pub(crate) fn stored(&self) -> Vec<StoredFact> {
        let one = |(fact, &step): (&Fact, &u32)| StoredFact {
            step,
            subject: fact.subject.clone(),
            prompt: fact.prompt.clone(),
            target: fact.stored_target(),
            locality: fact.locality.clone(),
        };
        self.facts.iter().zip(&self.steps).map(one).collect()
    }

    pub(crate) fn from_stored(stored: &[StoredFact]) -> Result<Self, EditError> {
        let mut lessons = Self::default();
        for fact in stored {
            let read = Fact::stored(&fact.subject, &fact.prompt, &fact.target);
            let read = read.map_err(StoredStateError::from)?;
            lessons.facts.push(read.with_locality(fact.locality.clone()));
            lessons.steps.push(fact.step);
        }
        Ok(lessons)
    }
}

/// Whether a state may be opened on this model by this method.
pub(crate) fn check_state(state: &AdapterState, kind: &str, model: &Model) -> Result<(), EditError> {
    if state.kind() != kind {
        let (made_by, method) = (state.kind().to_owned(), kind.to_owned());
        return Err(StoredStateError::Method { made_by, method }.into());
    }
    let (made_for, found) = (state.base(), model.digest());
    if made_for != found {
        return Err(StoredStateError::Model { made_for, found }.into());
    }
    let (layer, layers) = (state.layer(), model.spec().layers);
    if layer >= layers {
        return Err(EditError::Layer { layer, layers });
    }
    Ok(())
}

/// The settings of a state, to be set one by one.
pub(crate) fn settings_of(state: &AdapterState) -> impl Iterator<Item = Setting> {
    state.settings().iter().map(|(key, value)| Setting { key: key.clone(), value: value.clone() })
}

/// Context templates as one setting: a JSON array.
pub(crate) fn write_contexts(contexts: &Contexts) -> String {
    serde_json::to_string(contexts).unwrap_or_default()
}

/// Context templates from one setting.
pub(crate) fn read_contexts(setting: &Setting) -> Result<Contexts, EditError> {
    let read = serde_json::from_str(&setting.value);
    read.map_err(|error| setting.refuse(format!("a JSON array of templates is expected: {error}")))
}
