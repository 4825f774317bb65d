//! The declaration of a method: what a person should know to choose it, what it needs, what can be set, and how it is
//! made. Each method declares itself in its folder; [`crate::METHODS`] and [`crate::MEMORIES`] list them.

use recant_core::AdapterState;
use recant_edit::{EditError, Editor, Lifelong, Memory};
use recant_model::Model;

use crate::inputs::MethodInputs;
use crate::settings::ParamInfo;

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

/// A method, declared.
#[derive(Debug, Clone, Copy)]
pub struct MethodSpec {
    /// The name to type.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Where it is published: an arXiv number, or `None` for what is recant's own.
    pub paper: Option<&'static str>,
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
    pub(crate) make: Make,
}

pub(crate) type MakeEditor = fn(&MethodInputs) -> Result<Box<dyn Editor>, EditError>;
pub(crate) type MakeSequence = fn(&MethodInputs, Model) -> Result<Box<dyn Lifelong>, EditError>;
pub(crate) type MakeMemory = fn(&MethodInputs, Model) -> Result<Box<dyn Memory>, EditError>;
pub(crate) type OpenMemory = fn(&AdapterState, Model) -> Result<Box<dyn Memory>, EditError>;

/// How a method is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Make {
    /// It plans changes of weights; one edit after another is one plan after another.
    Editor(MakeEditor),
    /// The same, but it goes on learning in a way of its own.
    EditorAnd(MakeEditor, MakeSequence),
    /// It keeps a memory beside the weights: an empty one, and one as a state has it.
    Memory(MakeMemory, OpenMemory),
}

impl MethodSpec {
    /// The parameter that a name or an alias means.
    #[must_use]
    pub fn param(&self, key: &str) -> Option<ParamInfo> {
        (self.settings)().into_iter().find(|param| param.is_called(key))
    }

    /// Whether it keeps a memory beside the weights instead of changing them.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        matches!(self.make, Make::Memory(..))
    }

    /// Whether what it wrote is a set of facts, which facts can be taken out of.
    #[must_use]
    pub fn is_ledger(&self) -> bool {
        self.name == crate::ledger::METHOD.name
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
