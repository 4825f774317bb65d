//! The tokenizer of a model: `tokenizer.json` through the `tokenizers` crate.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Text to token ids and back. Cloning shares the vocabulary.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
}

/// Text and tokens cannot be turned into each other.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// tokenizer.json cannot be read.
    #[error("cannot read {path}: {reason}; a tokenizer.json must stand beside the weights")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A text cannot be encoded.
    #[error("cannot tokenise {text:?}: {reason}")]
    Encode {
        /// The text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// Tokens cannot be decoded.
    #[error("cannot decode tokens {ids:?}: {reason}")]
    Decode {
        /// The tokens.
        ids: Vec<u32>,
        /// What is wrong.
        reason: String,
    },
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Read`].
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let refuse = |reason: String| TokenizerError::Read { path: path.to_owned(), reason };
        if let Err(error) = std::fs::metadata(path) {
            return Err(refuse(error.to_string()));
        }
        let mut inner = tokenizers::Tokenizer::from_file(path).map_err(|error| refuse(error.to_string()))?;
        // A file may ask to pad or truncate; recant pads by itself and must not lose tokens in silence.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| refuse(error.to_string()))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Token ids of a text that stands at the beginning, with the special tokens that the tokenizer puts
    /// around it.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encoding(text, true).map(|encoding| encoding.get_ids().to_vec())
    }

    /// Token ids of a text that continues another one: no special tokens.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode_continuation(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encoding(text, false).map(|encoding| encoding.get_ids().to_vec())
    }

    /// As [`Tokenizer::encode`], with the byte range of the text that each token covers (empty for special
    /// tokens).
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode_with_spans(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, TokenizerError> {
        let encoding = self.encoding(text, true)?;
        let spans = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok(encoding.get_ids().iter().copied().zip(spans).collect())
    }

    /// Text of token ids, special tokens left out.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let text = self.inner.decode(ids, true);
        text.map_err(|error| TokenizerError::Decode { ids: ids.to_vec(), reason: error.to_string() })
    }

    /// Number of tokens, added ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn encoding(&self, text: &str, special: bool) -> Result<tokenizers::Encoding, TokenizerError> {
        let encoding = self.inner.encode(text, special);
        encoding.map_err(|error| TokenizerError::Encode { text: text.to_owned(), reason: error.to_string() })
    }
}
