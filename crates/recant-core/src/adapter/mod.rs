//! What a model learned beside its weights, as a value.
//!
//! A codebook, a side memory, a table of values: whatever a lifelong method keeps is an [`AdapterState`]. It
//! names the model it was made for, carries the facts it was taught, and has one canonical byte form, so that it
//! is stored, compared and hashed like a weight patch. What the tensors mean is the method's business; that they
//! are finite and complete is checked here.

mod codec;

use std::collections::BTreeMap;

pub use codec::StateDecodeError;

use crate::{AdapterId, Matrix, ModelDigest, ParamPath, Statement};

/// A fact as a state remembers it: enough to learn it again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredFact {
    /// The step in which it was learned, counted from 0; steps never descend.
    pub step: u32,
    /// Who or what the fact is about.
    pub subject: String,
    /// The sentence with `{}` where the subject goes.
    pub prompt: String,
    /// What the model shall say next.
    pub target: String,
    /// Prompts that the edit was told to leave alone.
    pub locality: Vec<String>,
}

impl StoredFact {
    /// What it says, to be compared with other facts.
    #[must_use]
    pub fn statement(&self) -> Statement<'_> {
        Statement { subject: &self.subject, prompt: &self.prompt, target: &self.target }
    }
}

/// What an adapter learned.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterState {
    kind: String,
    base: ModelDigest,
    layer: u32,
    settings: BTreeMap<String, String>,
    facts: Vec<StoredFact>,
    tensors: BTreeMap<ParamPath, Matrix>,
}

/// Parts do not make a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The kind is not a method's name.
    #[error("`{kind}` is not an adapter's kind: 1 to 32 of a-z, 0-9 and - are expected")]
    Kind {
        /// The kind.
        kind: String,
    },
    /// A fact stands before one of an earlier step.
    #[error("fact {index} was learned in step {step}, but stands behind one of step {before}")]
    Step {
        /// Index of the fact.
        index: usize,
        /// Its step.
        step: u32,
        /// The step of the fact before it.
        before: u32,
    },
    /// A text is too long for the byte form.
    #[error("a text of {len} bytes does not fit a state: at most {max} are allowed", max = AdapterState::MAX_TEXT)]
    Text {
        /// Its length.
        len: usize,
    },
}

impl AdapterState {
    /// Longest text in bytes: settings, subjects, prompts, targets.
    pub const MAX_TEXT: usize = 1 << 20;

    /// A state from its parts.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn new(
        kind: impl Into<String>,
        base: ModelDigest,
        layer: u32,
        settings: BTreeMap<String, String>,
        facts: Vec<StoredFact>,
        tensors: BTreeMap<ParamPath, Matrix>,
    ) -> Result<Self, StateError> {
        let kind = kind.into();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if kind.is_empty() || kind.len() > 32 || !kind.chars().all(plain) {
            return Err(StateError::Kind { kind });
        }
        for (index, pair) in facts.windows(2).enumerate() {
            if pair[1].step < pair[0].step {
                return Err(StateError::Step { index: index + 1, step: pair[1].step, before: pair[0].step });
            }
        }
        let of_fact = |fact: &StoredFact| {
            let own = [&fact.subject, &fact.prompt, &fact.target].map(String::len);
            own.into_iter().chain(fact.locality.iter().map(String::len)).max().unwrap_or(0)
        };
        let of_settings = settings.iter().map(|(key, value)| key.len().max(value.len()));
        let longest = facts.iter().map(of_fact).chain(of_settings).max().unwrap_or(0);
        if longest > Self::MAX_TEXT {
            return Err(StateError::Text { len: longest });
        }
        Ok(Self { kind, base, layer, settings, facts, tensors })
    }

    /// The method that made it, such as `grace`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Content id of the weights it was made for.
    #[must_use]
    pub fn base(&self) -> ModelDigest {
        self.base
    }

    /// The block it works in, counted from 0.
    #[must_use]
    pub fn layer(&self) -> usize {
        self.layer as usize
    }

    /// Every setting that decided it.
    #[must_use]
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// What it was taught, in order.
    #[must_use]
    pub fn facts(&self) -> &[StoredFact] {
        &self.facts
    }

    /// The learned numbers by name.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<ParamPath, Matrix> {
        &self.tensors
    }

    /// The learned matrix of a name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Matrix> {
        self.tensors.get(&ParamPath::new(name).ok()?)
    }

    /// Content id: BLAKE3 of [`AdapterState::encode`].
    #[must_use]
    pub fn id(&self) -> AdapterId {
        AdapterId::from_bytes(crate::bytes_digest(&self.encode()))
    }
}
