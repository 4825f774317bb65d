//! What can go wrong between text and tokens.

use std::path::PathBuf;

/// Text and tokens cannot be turned into each other.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file of the tokenizer cannot be used.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: FormatError,
    },
    /// A text cannot be encoded.
    #[error("cannot tokenise {text:?}: {reason}")]
    Encode {
        /// The text, or its beginning.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// Tokens cannot be decoded.
    #[error("cannot decode tokens {ids:?}: {reason}")]
    Decode {
        /// The tokens, or the first of them.
        ids: Vec<u32>,
        /// What is wrong.
        reason: String,
    },
}

/// A file of a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refuses.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is a directory, a pipe or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is larger than any tokenizer.
    #[error("it has {bytes} bytes; at most {limit} are read")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// It is not JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A part of it cannot be believed.
    #[error("`{part}` {what}")]
    Part {
        /// The part, as the file names it.
        part: String,
        /// What is wrong with it.
        what: String,
    },
    /// The `tokenizers` library refuses it.
    #[error("{reason}")]
    Library {
        /// Its words.
        reason: String,
    },
}

impl FormatError {
    /// A complaint about a part.
    pub(crate) fn part(part: &str, what: impl Into<String>) -> Self {
        Self::Part { part: part.to_owned(), what: what.into() }
    }
}
