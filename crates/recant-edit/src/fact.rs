//! A fact in a model's tokens.

use recant_model::{Model, TokenizerError};
use recant_records::Fact;

use crate::EditError;

/// A fact cannot be put to a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The target has no tokens in this model's vocabulary.
    #[error("the target {target:?} is no token of this model")]
    NoTarget {
        /// The target.
        target: String,
    },
    /// Prompt and target are longer than the model's context.
    #[error(
        "prompt and target have {tokens} tokens, but this model reads at most {context}; shorten the prompt"
    )]
    TooLong {
        /// Tokens of the longest row.
        tokens: usize,
        /// Tokens the model can read.
        context: usize,
    },
    /// No token of the text covers the subject's end.
    #[error("the tokenizer gives no token for the end of the subject in {text:?}")]
    Lookup {
        /// The text.
        text: String,
    },
    /// A text cannot be tokenised.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// A fact in a model's tokens: what a method needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The fact.
    pub fact: Fact,
    /// Tokens of the target as they follow the prompt in running text.
    pub target: Vec<u32>,
}

impl Request {
    /// Tokenises the target as it follows the prompt; see [`recant_model::Tokenizer::continuation`].
    ///
    /// # Errors
    /// [`RequestError::NoTarget`] when nothing comes out, [`RequestError::Tokenizer`].
    pub fn new(model: &Model, fact: &Fact) -> Result<Self, RequestError> {
        let target = model.tokenizer().continuation(&fact.text(), &fact.target, fact.literal)?.target;
        if target.is_empty() {
            return Err(RequestError::NoTarget { target: fact.target.clone() });
        }
        Ok(Self { fact: fact.clone(), target })
    }

    /// The same with a full stop behind the target, so that whoever searches for it searches for an answer that ends there.
    /// As it is where the target ends itself, where it is taken literally, where prompts are read in a chat, whose answers
    /// have an end of their own, and where the stop would make other tokens of the target.
    ///
    /// # Errors
    /// [`RequestError::Tokenizer`].
    pub fn with_stop(mut self, model: &Model) -> Result<Self, RequestError> {
        let Fact { target, literal, .. } = &self.fact;
        let ends = target.chars().next_back().is_some_and(|last| !last.is_alphanumeric());
        if ends || *literal || model.tokenizer().chat().is_some() {
            return Ok(self);
        }
        let stopped = model.tokenizer().continuation(&self.fact.text(), &format!("{target}."), false)?.target;
        if stopped.starts_with(&self.target) {
            self.target = stopped;
        }
        Ok(self)
    }

    /// As [`Request::new`], for whoever plans an edit.
    ///
    /// # Errors
    /// [`EditError::Fact`] says which fact cannot be put into tokens.
    pub fn to_edit(model: &Model, fact: &Fact) -> Result<Self, EditError> {
        Self::new(model, fact).map_err(EditError::about(fact))
    }
}
