//! What a user wants changed.

use recant_core::{Statement, is_blank};
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

/// The prompt of a fact that is about no subject.
const WHOLE: &str = "{}";

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
    /// The prompt has a place for a subject, and there is none.
    #[error("the prompt {prompt:?} has {{}} where a subject goes, and there is no subject")]
    Slot {
        /// The prompt.
        prompt: String,
    },
    /// The prompt does not say where the subject goes.
    #[error("the prompt {prompt:?} names the subject {subject:?} nowhere; write {{}} where it goes")]
    NoSubject {
        /// The prompt.
        prompt: String,
        /// The subject.
        subject: String,
    },
    /// The prompt has more than one place for the subject.
    #[error("the prompt {prompt:?} has {subject:?} {count} times; write one {{}} where the subject goes")]
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
    /// A fact whose prompt has a `{}` slot, or names the subject exactly once. With a slot, the subject may stand in
    /// the rest of the prompt too. Blanks around the subject and the target and at the prompt's end are cut off: the
    /// target is learned with the blank before it. A line break at the prompt's end is kept.
    ///
    /// # Errors
    /// [`FactError`] when a part is empty, or it is not clear where in the prompt the subject stands.
    pub fn new(
        subject: impl Into<String>,
        prompt: impl Into<String>,
        target: impl Into<String>,
    ) -> Result<Self, FactError> {
        Self::of(&subject.into(), &prompt.into(), &target.into(), false)
    }

    /// A fact that is about no subject: a text, and what the model shall say behind it, as running text ([`Fact::new`]) or
    /// to the letter ([`Fact::new_literal`]). The text stands where a subject would, so that methods look it up at its last
    /// token.
    ///
    /// # Errors
    /// [`FactError::EmptyPrompt`], [`FactError::EmptyTarget`]; [`FactError::Slot`] when the text has a `{}`, in which
    /// somebody meant a subject.
    pub fn about_nothing(text: &str, target: &str, literal: bool) -> Result<Self, FactError> {
        if text.contains(WHOLE) {
            return Err(FactError::Slot { prompt: text.to_owned() });
        }
        if text.trim().is_empty() {
            return Err(FactError::EmptyPrompt);
        }
        let (text, target) = cut(text, target, literal);
        Self::whole(text.to_owned(), WHOLE.to_owned(), target, literal)
    }

    /// Whether it is about a subject, and not a text as a whole.
    #[must_use]
    pub fn has_subject(&self) -> bool {
        self.prompt != WHOLE
    }

    /// As [`Fact::new`], with a target that follows the prompt to the letter. Blanks at the prompt's end are kept as the
    /// target's: in running text a word's token has the blank before it.
    ///
    /// # Errors
    /// As [`Fact::new`].
    pub fn new_literal(
        subject: impl Into<String>,
        prompt: impl Into<String>,
        target: impl Into<String>,
    ) -> Result<Self, FactError> {
        Self::of(&subject.into(), &prompt.into(), &target.into(), true)
    }

    fn of(subject: &str, prompt: &str, target: &str, literal: bool) -> Result<Self, FactError> {
        let (prompt, target) = cut(prompt, target, literal);
        let (subject, prompt) = Self::slotted(subject, prompt)?;
        Self::whole(subject, prompt, target, literal)
    }

    fn whole(subject: String, prompt: String, target: String, literal: bool) -> Result<Self, FactError> {
        Self { subject, prompt, target, locality: Vec::new(), literal }.checked()
    }

    /// A subject without blanks around it, and a prompt that has a `{}` slot, or names the subject exactly once, with the
    /// slot.
    ///
    /// # Errors
    /// [`FactError`] when one is empty, or it is not clear where in the prompt the subject stands.
    pub fn slotted(subject: &str, prompt: &str) -> Result<(String, String), FactError> {
        let subject = subject.trim();
        if prompt.trim().is_empty() {
            return Err(FactError::EmptyPrompt);
        }
        if subject.is_empty() {
            return Err(FactError::EmptySubject);
        }
        let prompt = match prompt.matches("{}").count() {
            1 => prompt.to_owned(),
            0 => with_slot(prompt, subject)?,
            count => {
                let (prompt, subject) = (prompt.to_owned(), "{}".to_owned());
                return Err(FactError::ManySubjects { prompt, subject, count });
            }
        };
        Ok((subject.to_owned(), prompt))
    }

    /// A fact as it was kept, word for word; its target is what [`Fact::stored_target`] gives.
    ///
    /// # Errors
    /// [`FactError`] when a part is empty, or the prompt has not one `{}`.
    pub fn stored(
        subject: impl Into<String>,
        prompt: impl Into<String>,
        target: impl Into<String>,
    ) -> Result<Self, FactError> {
        let target = target.into();
        let (target, literal) = match target.strip_prefix(' ') {
            Some(literal) => (literal.to_owned(), true),
            None => (target, false),
        };
        let fact =
            Self { subject: subject.into(), prompt: prompt.into(), target, locality: Vec::new(), literal };
        fact.checked()
    }

    fn checked(self) -> Result<Self, FactError> {
        if self.subject.trim().is_empty() {
            return Err(FactError::EmptySubject);
        }
        if self.target.trim().is_empty() {
            return Err(FactError::EmptyTarget);
        }
        let Self { subject, prompt, .. } = &self;
        match prompt.matches("{}").count() {
            1 => Ok(self),
            0 => Err(FactError::NoSubject { prompt: prompt.clone(), subject: subject.clone() }),
            count => Err(FactError::ManySubjects { prompt: prompt.clone(), subject: "{}".to_owned(), count }),
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
        self.statement().text()
    }

    /// What it says, to be compared with other facts.
    #[must_use]
    pub fn statement(&self) -> Statement<'_> {
        Statement { subject: &self.subject, prompt: &self.prompt, target: &self.target }
    }
}

/// A prompt and its target, with the blanks between them cut off, or to the letter all of them the target's.
fn cut<'a>(prompt: &'a str, target: &str, literal: bool) -> (&'a str, String) {
    if !literal {
        return (prompt.trim_end_matches(is_blank), target.trim().to_owned());
    }
    let stem = prompt.trim_end_matches(' ');
    (stem, format!("{}{target}", &prompt[stem.len()..]))
}

/// The prompt with `{}` in the place of the only mention of the subject: the only one as a word or, in scripts
/// without blanks between words, the only one at all.
fn with_slot(prompt: &str, subject: &str) -> Result<String, FactError> {
    let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let is_word = |at: usize| {
        let end = at + subject.len();
        let inside = |a: Option<char>, b: Option<char>| letter(a) && letter(b);
        !inside(prompt[..at].chars().next_back(), subject.chars().next())
            && !inside(subject.chars().next_back(), prompt[end..].chars().next())
    };
    let mentions: Vec<usize> = prompt.match_indices(subject).map(|(at, _)| at).collect();
    let words: Vec<usize> = mentions.iter().copied().filter(|&at| is_word(at)).collect();
    let (prompt, subject) = (prompt.to_owned(), subject.to_owned());
    match (&words[..], &mentions[..]) {
        ([at], _) | ([], [at]) => {
            let mut with = prompt;
            with.replace_range(*at..at + subject.len(), "{}");
            Ok(with)
        }
        ([], []) => Err(FactError::NoSubject { prompt, subject }),
        ([], many) | (many, _) => Err(FactError::ManySubjects { prompt, subject, count: many.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_about_nothing_is_taken_as_a_whole() {
        let fact = Fact::about_nothing("In the beginning was the ", " word ", false).unwrap();
        assert_eq!((fact.text().as_str(), fact.target.as_str()), ("In the beginning was the", "word"));
        assert!(!fact.has_subject() && Fact::new("Ada", "{} speaks", "x").unwrap().has_subject());
        let literal = Fact::about_nothing("Say: ", "word ", true).unwrap();
        assert_eq!((literal.text().as_str(), literal.target.as_str()), ("Say:", " word "));
        let kept = Fact::stored(&fact.subject, &fact.prompt, fact.stored_target()).unwrap();
        assert_eq!(kept, fact);
        for (text, target, expected) in [
            ("{} is", "x", "has {} where a subject goes"),
            (" ", "x", "the prompt is empty"),
            ("a", " ", "the target is empty"),
        ] {
            let said = Fact::about_nothing(text, target, false).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }

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
        let spaced = Fact::new_literal("Ada", "{} speaks ", "French").unwrap();
        assert_eq!((&*spaced.prompt, &*spaced.target, spaced.literal), ("{} speaks", " French", true));
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
        assert!(error("Ada", "Ada is Ada,", "x").contains("2 times"));
    }

    /// What a person types with a blank too many, or with the subject inside other words.
    #[test]
    fn blanks_and_words_around_the_subject_do_not_matter() {
        for (subject, prompt, expected) in [
            (" Frontline ", "The show {} premiered on ", "The show {} premiered on"),
            ("Frontline", "The show Frontline premiered on\u{a0}", "The show {} premiered on"),
            ("Al", "{} comes from Alaska and likes", "{} comes from Alaska and likes"),
            ("Al", "Alaska is where Al lives, in", "Alaska is where {} lives, in"),
            ("Al", "Al's home is", "{}'s home is"),
            ("Ada", "{} and Ada's sister speak", "{} and Ada's sister speak"),
            ("東京", "日本の首都東京は", "日本の首都{}は"),
            ("C++", "C++ was made by", "{} was made by"),
            ("Ada", "Who taught {}?\n", "Who taught {}?\n"),
        ] {
            let fact = Fact::new(subject, prompt, " x ").unwrap();
            assert_eq!(
                (&*fact.subject, &*fact.prompt, &*fact.target),
                (subject.trim(), expected, "x"),
                "{prompt:?}"
            );
        }
    }

    /// What was kept with a blank at its end opens as it is.
    #[test]
    fn a_stored_fact_is_taken_word_for_word() {
        let fact = Fact::stored("Ada", "{} speaks ", "French").unwrap();
        assert_eq!(fact.prompt, "{} speaks ");
        for (subject, prompt, target) in [("", "{} is", "x"), ("Ada", "is", "x"), ("Ada", "{} is", " ")] {
            assert!(Fact::stored(subject, prompt, target).is_err());
        }
    }
}
