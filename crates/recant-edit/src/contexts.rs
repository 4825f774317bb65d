//! Texts put before a prompt, so that an edit holds in running text and not only at its beginning.

use std::ops::ControlFlow;

use recant_model::{AskError, Generation, Model, Row, Strategy};
use serde::{Deserialize, Serialize};

/// Context templates: texts with one `{}` where the prompt goes. An explicit value, stored with the edit:
/// other tools sample them once per process, unseeded, and so cannot repeat their own results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Contexts {
    templates: Vec<String>,
}

/// Templates cannot be used or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// There are none.
    #[error("there are no context templates; give at least \"{{}}\"")]
    Empty,
    /// A template does not have exactly one slot.
    #[error("context template {template:?} has {count} slots; it must hold {{}} exactly once")]
    Slots {
        /// The template.
        template: String,
        /// Slots it has.
        count: usize,
    },
    /// The model cannot write them.
    #[error("cannot sample context templates: {0}")]
    Sample(#[from] AskError),
}

impl TryFrom<Vec<String>> for Contexts {
    type Error = ContextError;

    fn try_from(templates: Vec<String>) -> Result<Self, ContextError> {
        Self::new(templates)
    }
}

impl From<Contexts> for Vec<String> {
    fn from(contexts: Contexts) -> Self {
        contexts.templates
    }
}

impl Contexts {
    /// Words that sampled contexts begin with, as in MEMIT's code.
    pub const OPENERS: [&'static str; 5] = ["The", "Therefore", "Because", "I", "You"];

    /// Takes templates as given. The first is the bare one by convention.
    ///
    /// # Errors
    /// [`ContextError`] when there are none or one has not exactly one slot.
    pub fn new(templates: Vec<String>) -> Result<Self, ContextError> {
        if templates.is_empty() {
            return Err(ContextError::Empty);
        }
        for template in &templates {
            let count = template.matches("{}").count();
            if count != 1 {
                return Err(ContextError::Slots { template: template.clone(), count });
            }
        }
        Ok(Self { templates })
    }

    /// Only the bare prompt.
    #[must_use]
    pub fn bare() -> Self {
        Self { templates: vec!["{}".to_owned()] }
    }

    /// The bare prompt, and for every `(tokens, count)` as many texts of that total length, sampled from
    /// the model (top-k 5) and followed by ". ". The same seed gives the same texts.
    ///
    /// ROME's code uses `[(5, 10), (10, 10)]`: 21 templates.
    ///
    /// # Errors
    /// [`ContextError::Sample`] when the model cannot write.
    pub fn sample(model: &Model, lengths: &[(usize, usize)], seed: u64) -> Result<Self, ContextError> {
        Self::sample_watched(model, lengths, seed, &mut || ControlFlow::Continue(()))
    }

    /// As [`Contexts::sample`]; `goes_on` is asked after each token, and may break off there.
    ///
    /// # Errors
    /// As [`Contexts::sample`], and [`AskError::Cancelled`].
    pub fn sample_watched(
        model: &Model,
        lengths: &[(usize, usize)],
        seed: u64,
        goes_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Self, ContextError> {
        let mut templates = Self::bare().templates;
        for &(tokens, count) in lengths {
            let rows = rows(model, tokens, count, seed, templates.len())?;
            let written = model.generate_rows_watched(&rows, true, goes_on)?;
            templates.extend(written.iter().enumerate().map(template));
        }
        Self::new(templates)
    }

    /// The templates.
    #[must_use]
    pub fn templates(&self) -> &[String] {
        &self.templates
    }

    /// A text put into each template.
    pub fn fill(&self, text: &str) -> Vec<String> {
        self.templates.iter().map(|template| template.replacen("{}", text, 1)).collect()
    }
}

/// What a text begins with.
fn opener(at: usize) -> &'static str {
    Contexts::OPENERS[at % Contexts::OPENERS.len()]
}

/// The template of a text that was written behind its opener.
fn template((at, written): (usize, &Generation)) -> String {
    let text = format!("{}{}", opener(at), written.text).replace(['{', '}', '\n'], " ");
    format!("{}. {{}}", text.trim_end().trim_end_matches(['.', '!', '?']))
}

/// What is asked for `count` texts of `tokens` tokens each; `before` others stand before them.
fn rows(
    model: &Model,
    tokens: usize,
    count: usize,
    seed: u64,
    before: usize,
) -> Result<Vec<Row>, ContextError> {
    let tokenizer = model.tokenizer().plain();
    let prompts = (0..count).map(|at| tokenizer.encode(opener(at))).collect::<Result<Vec<_>, _>>();
    let prompts = prompts.map_err(AskError::from)?;
    // One stream per text: asking for more texts does not change the earlier ones.
    let strategy = |at: usize| Strategy::Sample {
        top_k: 5,
        temperature: 1.0,
        seed: seed.wrapping_mul(1_000_003).wrapping_add((before + at) as u64),
    };
    let row = |(at, prompt): (usize, Vec<u32>)| Row {
        max_new: tokens.saturating_sub(prompt.len()).max(1),
        prompt,
        strategy: strategy(at),
    };
    Ok(prompts.into_iter().enumerate().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_one_slot() {
        assert!(Contexts::new(vec![]).is_err());
        assert!(Contexts::new(vec!["no slot".into()]).is_err());
        assert!(Contexts::new(vec!["{} {}".into()]).is_err());
        let contexts = Contexts::new(vec!["{}".into(), "So. {}".into()]).unwrap();
        assert_eq!(contexts.fill("Ada {}"), ["Ada {}", "So. Ada {}"]);
    }
}
