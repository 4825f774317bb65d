//! tokenizer.json and tokenizer_config.json from what a GGUF file says about its tokenizer.

mod byte_level;
mod sentencepiece;
mod split;

use serde_json::{Map, Value, json};

use super::error::GgufError;
use super::names::Architecture;
use super::value::Values;

/// Kinds of tokens by their numbers in the file.
mod kind {
    pub(super) const NORMAL: u64 = 1;
    pub(super) const UNKNOWN: u64 = 2;
    pub(super) const CONTROL: u64 = 3;
    pub(super) const USER_DEFINED: u64 = 4;
    pub(super) const UNUSED: u64 = 5;
}

/// What a file says about its tokenizer.
pub(super) struct Tokenizer<'a> {
    values: &'a Values,
    architecture: Architecture,
    model: Model,
}

/// How texts become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    /// Merges of bytes, as GPT-2 has them; with the rule by which texts are split before.
    ByteLevel(split::Split),
    /// SentencePiece's merges of characters, with bytes for what is in no token.
    SentencePiece,
}

/// A token that begins or ends texts, or stands for others, with its key in tokenizer_config.json.
const NAMED: [(&str, &str); 4] =
    [("bos", "bos_token"), ("eos", "eos_token"), ("unknown", "unk_token"), ("padding", "pad_token")];

fn refuse(reason: impl Into<String>) -> GgufError {
    GgufError::Tokenizer { reason: reason.into() }
}

fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

/// Whether a file has a tokenizer at all.
pub(super) fn is_there(values: &Values) -> Result<bool, GgufError> {
    Ok(values.text(&key("model"))?.is_some_and(|model| !matches!(model, "none" | "no_vocab")))
}

impl<'a> Tokenizer<'a> {
    /// Finds out which tokenizer it is; nothing long is read yet.
    pub(super) fn new(values: &'a Values, architecture: Architecture) -> Result<Self, GgufError> {
        let model = match values.text(&key("model"))? {
            Some("gpt2") => Model::ByteLevel(split::Split::of(values.text(&key("pre"))?)?),
            Some("llama") => Model::SentencePiece,
            Some(other) => {
                return Err(refuse(format!(
                    "its kind is `{other}`; those of kind `gpt2` and `llama` can be"
                )));
            }
            None => return Err(GgufError::Missing { key: key("model") }),
        };
        Ok(Self { values, architecture, model })
    }

    /// tokenizer.json.
    pub(super) fn file(&self) -> Result<Value, GgufError> {
        let vocabulary = Vocabulary::read(self.values)?;
        let parts = match self.model {
            Model::ByteLevel(split) => byte_level::parts(self.values, &vocabulary, split)?,
            Model::SentencePiece => sentencepiece::parts(self.values, vocabulary.clone(), self.architecture)?,
        };
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": parts.added,
            "normalizer": parts.normalizer,
            "pre_tokenizer": parts.pre_tokenizer,
            "post_processor": self.template(&vocabulary)?,
            "decoder": parts.decoder,
            "model": parts.model,
        }))
    }

    fn adds(&self, name: &str, default: bool) -> Result<bool, GgufError> {
        Ok(self.values.flag(&key(name))?.unwrap_or(default))
    }

    /// Whether a text is begun with a token, where the file does not say it: llama.cpp's rule.
    fn begins_by_default(&self) -> bool {
        match self.model {
            Model::ByteLevel(split) => split.begins_by_default(),
            Model::SentencePiece => true,
        }
    }

    /// The tokens that are put before and after a text.
    fn template(&self, vocabulary: &Vocabulary<'_>) -> Result<Value, GgufError> {
        let ends = [("bos", "add_bos_token", self.begins_by_default()), ("eos", "add_eos_token", false)];
        let mut named: [Option<(u64, &str)>; 2] = [None; 2];
        for (slot, (name, flag, default)) in named.iter_mut().zip(ends) {
            if self.adds(flag, default)? {
                *slot = named_token(self.values, &vocabulary.tokens, name)?;
            }
        }
        if named == [None; 2] {
            return Ok(Value::Null);
        }
        let of_text = |sequence: &str, kind: u32| {
            let special = |token: Option<(u64, &str)>| {
                token.map(|(_, text)| json!({"SpecialToken": {"id": text, "type_id": kind}}))
            };
            let text = json!({"Sequence": {"id": sequence, "type_id": kind}});
            [special(named[0]), Some(text), special(named[1])].into_iter().flatten()
        };
        let tokens: Map<String, Value> = named
            .iter()
            .flatten()
            .map(|(id, text)| ((*text).to_owned(), json!({"id": text, "ids": [id], "tokens": [text]})))
            .collect();
        Ok(json!({
            "type": "TemplateProcessing",
            "single": of_text("A", 0).collect::<Vec<_>>(),
            "pair": of_text("A", 0).chain(of_text("B", 1)).collect::<Vec<_>>(),
            "special_tokens": tokens,
        }))
    }
}

/// A token that the file names by its id.
fn named_token<'a>(
    values: &Values,
    tokens: &[&'a str],
    name: &str,
) -> Result<Option<(u64, &'a str)>, GgufError> {
    let key = key(&format!("{name}_token_id"));
    let Some(id) = values.whole(&key)? else { return Ok(None) };
    let text = usize::try_from(id).ok().and_then(|id| tokens.get(id));
    match text {
        Some(text) => Ok(Some((id, text))),
        // What some conversions write for none.
        None if id >= u64::from(u32::MAX) => Ok(None),
        None => Err(refuse(format!("{key} is {id}, and there are {} tokens", tokens.len()))),
    }
}

/// tokenizer_config.json: the named tokens and the chat template.
pub(super) fn config(values: &Values) -> Result<Value, GgufError> {
    let mut config = Map::new();
    config.insert("tokenizer_class".to_owned(), "PreTrainedTokenizerFast".into());
    config.insert("clean_up_tokenization_spaces".to_owned(), false.into());
    let tokens = values.texts(&key("tokens"))?.unwrap_or_default();
    for (name, entry) in NAMED {
        if let Some((_, text)) = named_token(values, &tokens, name)? {
            config.insert(entry.to_owned(), text.into());
        }
    }
    for name in ["add_bos_token", "add_eos_token"] {
        if let Some(flag) = values.flag(&key(name))? {
            config.insert(name.to_owned(), flag.into());
        }
    }
    if let Some(template) = values.text("tokenizer.chat_template")? {
        config.insert("chat_template".to_owned(), template.into());
    }
    Ok(Value::Object(config))
}

/// The parts of a tokenizer.json.
struct Parts {
    added: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
}

/// The tokens of a file, and the kind of each.
#[derive(Debug, Clone)]
struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    kinds: Vec<u64>,
}

impl<'a> Vocabulary<'a> {
    fn read(values: &'a Values) -> Result<Self, GgufError> {
        let needed = |name: &str| GgufError::Missing { key: key(name) };
        let tokens = values.texts(&key("tokens"))?.ok_or_else(|| needed("tokens"))?;
        let kinds = match values.wholes(&key("token_type"))? {
            Some(kinds) if kinds.len() != tokens.len() => {
                return Err(refuse(format!("it has {} tokens and kinds of {}", tokens.len(), kinds.len())));
            }
            Some(kinds) => kinds.into_iter().map(Option::unwrap_or_default).collect(),
            None => vec![kind::NORMAL; tokens.len()],
        };
        Ok(Self { tokens, kinds })
    }

    /// All tokens with their ids and kinds, but for those that only fill up the vocabulary.
    fn each(&self) -> impl Iterator<Item = (usize, &'a str, u64)> {
        let all = self.tokens.iter().zip(&self.kinds).enumerate();
        all.map(|(id, (text, kind))| (id, *text, *kind))
            .filter(|(id, text, kind)| *kind != kind::UNUSED || *text != format!("[PAD{id}]"))
    }

    /// The entries of `added_tokens`: what is found in a text before anything else is done to it.
    fn added(&self) -> Vec<Value> {
        let entry = |(id, text, kind): (usize, &str, u64)| {
            let special = matches!(kind, kind::CONTROL | kind::UNKNOWN);
            (special || kind == kind::USER_DEFINED).then(|| {
                json!({
                    "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": special,
                })
            })
        };
        self.each().filter(|(_, text, _)| !text.is_empty()).filter_map(entry).collect()
    }
}
