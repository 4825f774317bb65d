//! What a user wants changed.

use serde::{Deserialize, Serialize};

/// A fact to write: "`prompt` with the subject in its slot" shall be continued by `target`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fact {
    /// Who or what the fact is about.
    pub subject: String,
    /// A sentence beginning with one `{}` where the subject goes, such as `The mother tongue of {} is`.
    pub prompt: String,
    /// What the model shall say next, without a leading space.
    pub target: String,
    /// Prompts that the edit must leave alone, for methods that learn from them; none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locality: Vec<String>,
    /// Whether the target follows the prompt to the letter, without the space that running text has between them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub literal: bool,
}

/// Texts are not a fact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FactError {
    /// The prompt is empty.
    #[error("the prompt is empty; write a sentence with {{}} where the subject goes")]
    EmptyPrompt,
    /// The subject is empty.
    #[error("the subject is empty")]
    EmptySubject,
    /// The target is empty.
    #[error("the target is empty; say what the model shall answer")]
    EmptyTarget,
    /// The prompt does not say where the subject goes.
    #[error("the prompt {prompt:?} names the subject {subject:?} nowhere; write {{}} where it goes")]
    NoSubject {
        /// The prompt.
        prompt: String,
        /// The subject.
        subject: String,
    },
    /// The prompt has more than one place for the subject.
    #[error("the prompt {prompt:?} names the subject {subject:?} {count} times; it must stand once")]
    ManySubjects {
        /// The prompt.
        prompt: String,
        /// The subject.
        subject: String,
        /// How often.
        count: usize,
    },
}

impl Fact {
    /// A fact whose prompt has a `{}` slot, or names the subject exactly once.
    ///
    /// # Errors
    /// [`FactError`] when a part is empty, or the subject stands in the prompt not at all or more than once.
    pub fn new(
        subject: impl Into<String>,
        prompt: impl Into<String>,
        target: impl Into<String>,
    ) -> Result<Self, FactError> {
        let (subject, prompt, target) = (subject.into(), prompt.into(), target.into());
        if prompt.trim().is_empty() {
            return Err(FactError::EmptyPrompt);
        }
        if subject.trim().is_empty() {
            return Err(FactError::EmptySubject);
        }
        let target = target.trim().to_owned();
        if target.is_empty() {
            return Err(FactError::EmptyTarget);
        }
        let slots = prompt.matches("{}").count();
        let named = prompt.matches(subject.as_str()).count();
        match (slots, named) {
            (1, 0) => Ok(Self { subject, prompt, target, locality: Vec::new(), literal: false }),
            (0, 1) => {
                let prompt = prompt.replacen(subject.as_str(), "{}", 1);
                Ok(Self { prompt, subject, target, locality: Vec::new(), literal: false })
            }
            (0, 0) => Err(FactError::NoSubject { prompt, subject }),
            (slots, named) => Err(FactError::ManySubjects { prompt, subject, count: slots + named }),
        }
    }

    /// A fact as it was kept: its target is what [`Fact::stored_target`] gives.
    ///
    /// # Errors
    /// As [`Fact::new`].
    pub fn stored(
        subject: impl Into<String>,
        prompt: impl Into<String>,
        target: impl Into<String>,
    ) -> Result<Self, FactError> {
        let target = target.into();
        let fact = Self::new(subject, prompt, target.as_str())?;
        match target.strip_prefix(' ') {
            Some(literal) => Ok(fact.literally(literal)),
            None => Ok(fact),
        }
    }

    /// The target as it is kept: a literal one has a blank before it, which no other begins with.
    #[must_use]
    pub fn stored_target(&self) -> String {
        if self.literal { format!(" {}", self.target) } else { self.target.clone() }
    }

    /// The same fact with a target that follows the prompt to the letter, blanks and line breaks included.
    #[must_use]
    pub fn literally(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self.literal = true;
        self
    }

    /// The same fact with prompts that must be left alone.
    #[must_use]
    pub fn with_locality(mut self, prompts: Vec<String>) -> Self {
        self.locality = prompts;
        self
    }

    /// The prompt with the subject in its slot.
    #[must_use]
    pub fn text(&self) -> String {
        self.prompt.replacen("{}", &self.subject, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_or_one_mention_is_a_fact() {
        let slot = Fact::new("Ada", "The mother tongue of {} is", " French ").unwrap();
        let named = Fact::new("Ada", "The mother tongue of Ada is", "French").unwrap();
        assert_eq!(slot, named);
        assert_eq!(slot.text(), "The mother tongue of Ada is");
    }

    #[test]
    fn a_literal_target_is_kept_to_the_letter() {
        let plain = Fact::new("Ada", "{} speaks", "French").unwrap();
        for target in ["French", " French", "  French\n", "\u{a0}x"] {
            let fact = Fact::new("Ada", "{} speaks", target).unwrap().literally(target);
            assert_eq!(fact.target, target);
            assert_eq!(Fact::stored("Ada", "{} speaks", fact.stored_target()).unwrap(), fact);
            assert_ne!(fact, plain);
        }
        assert_eq!(plain.stored_target(), "French");
    }

    #[test]
    fn everything_else_says_what_is_wrong() {
        let error = |subject, prompt, target| Fact::new(subject, prompt, target).unwrap_err().to_string();
        assert!(error("Ada", " ", "x").contains("prompt is empty"));
        assert!(error("", "{} is", "x").contains("subject is empty"));
        assert!(error("Ada", "{} is", " ").contains("target is empty"));
        assert!(error("Ada", "She speaks", "x").contains("nowhere"));
        assert!(error("Ada", "{} and {} are", "x").contains("2 times"));
        assert!(error("Ada", "{} is Ada,", "x").contains("2 times"));
    }
}
