//! The tokenizer of a model: `tokenizer.json` through the `tokenizers` library.

use std::io::Read;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::chat::ChatFrame;
use crate::check::{Bounds, check};
use crate::continuation::Piece;
use crate::error::{FormatError, TokenizerError};
use crate::settings;

/// Bytes of the largest file that is read; the largest known ones have about 35 million.
const MAX_FILE: u64 = 96 << 20;
/// Bytes of the longest text that is handed to the library, after all that the tokenizer can do to its length.
const MAX_TEXT: usize = 256 << 20;
/// How much of a text or of ids an error repeats.
const MAX_SHOWN: usize = 200;

/// Text to token ids and back. Cloning shares the vocabulary.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    bounds: Bounds,
    kind: Arc<str>,
    /// Read around every prompt.
    chat: Option<Chat>,
}

/// A chat frame, with what it is in tokens.
#[derive(Debug, Clone)]
struct Chat {
    frame: ChatFrame,
    /// The token that ends an answer, if a target ends with it.
    end: Option<u32>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, and what the `tokenizer_config.json` beside it says about blanks.
    ///
    /// # Errors
    /// [`TokenizerError::Read`].
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let mut file = read(path)?;
        let beside = |name: &str| Some(path.with_file_name(name)).filter(|path| path.exists());
        if let Some(config) = beside("tokenizer_config.json") {
            let model = beside("config.json").map(|path| read(&path)).transpose()?;
            settings::apply(&mut file, &read(&config)?, model.as_ref());
        }
        Self::new(file).map_err(|source| TokenizerError::Read { path: path.to_owned(), source })
    }

    /// A tokenizer from the bytes of a `tokenizer.json`, and of the `tokenizer_config.json` and the `config.json` beside
    /// it.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn of_files(
        file: &[u8],
        settings: Option<&[u8]>,
        config: Option<&[u8]>,
    ) -> Result<Self, FormatError> {
        let mut file = bounded(file)?;
        if let Some(beside) = settings {
            let config = config.map(bounded).transpose()?;
            settings::apply(&mut file, &bounded(beside)?, config.as_ref());
        }
        Self::new(file)
    }

    /// A tokenizer from the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::new(serde_json::from_slice(bytes)?)
    }

    /// What is checked is what the library gets: never the bytes, in which a key could be there twice.
    fn new(mut file: Value) -> Result<Self, FormatError> {
        let bounds = check(&mut file)?;
        let kind = kind_of(&file).into();
        let inner = guard(|| serde_json::from_value(file).map_err(|error| error.to_string()))
            .map_err(|reason| FormatError::Library { reason })?;
        Ok(Self { inner: Arc::new(inner), bounds, kind, chat: None })
    }

    /// The same tokenizer, for a chat model: every prompt is read inside the frame, and with `end_token` a target ends
    /// with the token that ends an answer, if the frame has one.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] when the frame cannot be encoded.
    pub fn in_chat(&self, frame: ChatFrame, end_token: bool) -> Result<Self, TokenizerError> {
        let first = self.encode_bare(&frame.end)?.first().copied();
        let end = first.filter(|&id| end_token && self.is_mark(id));
        Ok(Self { chat: Some(Chat { frame, end }), ..self.clone() })
    }

    /// The tokenizer that reads texts as they stand.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self { chat: None, ..self.clone() }
    }

    /// The token that ends a target, in a chat.
    #[must_use]
    pub fn end_token(&self) -> Option<u32> {
        self.chat.as_ref()?.end
    }

    /// The frame that prompts are read in.
    #[must_use]
    pub fn chat(&self) -> Option<&ChatFrame> {
        Some(&self.chat.as_ref()?.frame)
    }

    /// Token ids of a text that stands at the beginning, with the special tokens that the tokenizer puts
    /// around it.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let pieces = self.encode_with_spans(text)?;
        Ok(pieces.into_iter().map(|(id, _)| id).collect())
    }

    /// A text in its frame; spans are those in the text, and empty for tokens of the frame alone. A frame says every
    /// special token itself.
    pub(crate) fn framed(&self, head: &str, text: &str, tail: &str) -> Result<Vec<Piece>, TokenizerError> {
        let encoding = self.encoding(&format!("{head}{text}{tail}"), false)?;
        let within = |at: usize| at.saturating_sub(head.len()).min(text.len());
        let piece =
            |(&id, &(start, end)): (&u32, &(usize, usize))| Piece { id, span: within(start)..within(end) };
        Ok(encoding.get_ids().iter().zip(encoding.get_offsets()).map(piece).collect())
    }

    /// Token ids of a text by itself, without special tokens.
    pub(crate) fn encode_bare(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encoding(text, false).map(|encoding| encoding.get_ids().to_vec())
    }

    /// As [`Tokenizer::encode_with_spans`], without special tokens after the text.
    pub(crate) fn pieces(&self, text: &str) -> Result<Vec<Piece>, TokenizerError> {
        if let Some(Chat { frame, .. }) = &self.chat {
            return self.framed(&frame.head, text, &frame.tail);
        }
        let encoding = self.encoding(text, true)?;
        let special = encoding.get_special_tokens_mask();
        let end = special.iter().rposition(|&mask| mask == 0).map_or(special.len(), |last| last + 1);
        let piece = |(&id, &(start, end)): (&u32, &(usize, usize))| Piece { id, span: start..end };
        Ok(encoding.get_ids().iter().zip(encoding.get_offsets()).take(end).map(piece).collect())
    }

    /// As [`Tokenizer::encode`], with the byte range of the text that each token covers (empty for special
    /// tokens).
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode_with_spans(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, TokenizerError> {
        if let Some(Chat { frame, .. }) = &self.chat {
            let pieces = self.framed(&frame.head, text, &frame.tail)?;
            return Ok(pieces.into_iter().map(|piece| (piece.id, piece.span)).collect());
        }
        let encoding = self.encoding(text, true)?;
        let spans = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok(encoding.get_ids().iter().copied().zip(spans).collect())
    }

    /// Text of token ids, special tokens left out.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let decoded = if ids.len().saturating_mul(self.bounds.token) > MAX_TEXT {
            Err("the text could be too long".to_owned())
        } else {
            guard(|| self.inner.decode(ids, true).map_err(|error| error.to_string()))
        };
        let first = || ids.iter().copied().take(MAX_SHOWN).collect();
        decoded.map_err(|reason| TokenizerError::Decode { ids: first(), reason })
    }

    /// Text of `ids[prompt..]` as it follows the text of the first `prompt` ids, special tokens left out.
    ///
    /// Decoded alone, the new tokens would lose the blank before their first word with some tokenizers.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`].
    pub fn decode_after(&self, ids: &[u32], prompt: usize) -> Result<String, TokenizerError> {
        let before = self.decode(&ids[..prompt])?;
        match self.decode(ids)?.strip_prefix(&before) {
            Some(text) => Ok(text.to_owned()),
            None => self.decode(&ids[prompt..]),
        }
    }

    /// Text of one token as it stands in the middle of a text: with the blank that it begins with, and the name of a
    /// special token.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`].
    pub fn token_text(&self, id: u32) -> Result<String, TokenizerError> {
        if let Some(added) = self.inner.get_added_vocabulary().get_added_tokens_decoder().get(&id) {
            return Ok(added.content.clone());
        }
        self.decode_after(&[id, id], 1)
    }

    /// Whether a token is special, or an added one that is no word: a mark such as `<|im_end|>`.
    pub(crate) fn is_mark(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder().get(&id);
        added.is_some_and(|added| added.special || !added.content.ends_with(char::is_alphanumeric))
    }

    /// What kind it is, for people: its model, and how blanks and unknown characters are treated.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Number of tokens, added ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn encoding(&self, text: &str, special: bool) -> Result<tokenizers::Encoding, TokenizerError> {
        let encoding = if text.len().saturating_mul(self.bounds.encode) > MAX_TEXT {
            Err(format!("{} bytes are too many for this tokenizer", text.len()))
        } else {
            guard(|| self.inner.encode(text, special).map_err(|error| error.to_string()))
        };
        let first = || text.chars().take(MAX_SHOWN).collect();
        encoding.map_err(|reason| TokenizerError::Encode { text: first(), reason })
    }
}

/// Calls into the library, whose panics are errors here: nothing of ours is left half-done by one.
fn guard<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why");
        Err(format!("the tokenizers library broke off: {words}"))
    })
}

/// Its model, and how blanks and unknown characters are treated.
fn kind_of(file: &Value) -> String {
    let model = file["model"]["type"].as_str().unwrap_or("BPE");
    let has = |part: &str, step: &str| file[part].to_string().contains(&format!("\"type\":\"{step}\""));
    let style = if has("pre_tokenizer", "ByteLevel") || has("decoder", "ByteLevel") {
        "byte-level"
    } else if has("pre_tokenizer", "Metaspace") || has("normalizer", "Prepend") || has("decoder", "Metaspace")
    {
        "SentencePiece style"
    } else {
        "of its own style"
    };
    format!("{model}, {style}")
}

/// JSON of bounded size.
fn bounded(bytes: &[u8]) -> Result<Value, FormatError> {
    match bytes.len() as u64 {
        bytes @ MAX_FILE.. => Err(FormatError::TooLarge { bytes, limit: MAX_FILE }),
        _ => Ok(serde_json::from_slice(bytes)?),
    }
}

/// Reads a JSON file of bounded size.
fn read(path: &Path) -> Result<Value, TokenizerError> {
    let json = || -> Result<Value, FormatError> {
        // Asked before it is opened: a pipe would wait for a writer.
        let found = std::fs::metadata(path)?;
        if !found.is_file() {
            return Err(FormatError::NotAFile);
        }
        let too_large = |bytes| FormatError::TooLarge { bytes, limit: MAX_FILE };
        if found.len() > MAX_FILE {
            return Err(too_large(found.len()));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(too_large(bytes.len() as u64));
        }
        Ok(serde_json::from_slice(&bytes)?)
    };
    json().map_err(|source| TokenizerError::Read { path: path.to_owned(), source })
}
