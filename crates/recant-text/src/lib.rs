//! Text to token ids and back.
//!
//! A [`Tokenizer`] is a `tokenizer.json` that was checked before it was believed. [`Tokenizer::continuation`] is the
//! one place that knows which ids a target has after a prompt: those that it has in running text.
//!
//! No tensor library is needed here, so that the reader of a downloaded file can be fuzzed without one.

mod chat;
mod check;
mod continuation;
mod error;
mod pattern;
mod separator;
mod settings;
mod template;
mod tokenizer;

pub use chat::{ChatError, ChatFrame};
pub use continuation::Continuation;
pub use error::{FormatError, TokenizerError};
pub use tokenizer::Tokenizer;
