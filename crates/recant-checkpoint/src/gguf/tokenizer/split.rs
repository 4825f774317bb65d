//! How byte-level tokenizers split a text before they merge, by the name that llama.cpp gives to each way.

use serde_json::{Value, json};

use super::super::error::GgufError;
use super::refuse;

/// A way of splitting texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// Words with a blank before them, numbers, and the rest.
    Gpt2,
    /// Every digit alone first, then as GPT-2.
    Digits,
    /// Numbers of up to three digits; words with any one character before them.
    Llama3,
    /// As Llama 3, with every digit alone; texts are composed (NFC) before.
    Qwen2,
    /// Words are split where small letters are followed by capitals, too.
    Tekken,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Split {
    /// The way that a file names.
    pub(super) fn of(name: Option<&str>) -> Result<Self, GgufError> {
        Ok(match name {
            Some("default" | "gpt-2" | "phi-2") => Self::Gpt2,
            Some("smollm" | "starcoder") => Self::Digits,
            Some("llama-bpe" | "llama3" | "llama-v3") => Self::Llama3,
            Some("qwen2") => Self::Qwen2,
            Some("tekken") => Self::Tekken,
            Some(other) => {
                return Err(refuse(format!(
                    "it splits texts by the rule `{other}`, which recant does not know"
                )));
            }
            None => {
                return Err(refuse(
                    "the file is an old one that does not say how texts are split (tokenizer.ggml.pre)",
                ));
            }
        })
    }

    /// Whether llama.cpp begins texts with a token where the file does not say it.
    pub(super) fn begins_by_default(self) -> bool {
        matches!(self, Self::Llama3 | Self::Tekken)
    }

    /// Whether a piece that is a token as a whole is not merged from its bytes.
    pub(super) fn ignores_merges(self) -> bool {
        self.begins_by_default()
    }

    pub(super) fn normalizer(self) -> Value {
        if self == Self::Qwen2 { json!({"type": "NFC"}) } else { Value::Null }
    }

    pub(super) fn pre_tokenizer(self) -> Value {
        let bytes = |own_rule: bool| {
            json!({
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": own_rule,
            })
        };
        let pattern = match self {
            Self::Gpt2 => return bytes(true),
            Self::Digits => {
                let digits = json!({"type": "Digits", "individual_digits": true});
                return json!({"type": "Sequence", "pretokenizers": [digits, bytes(true)]});
            }
            Self::Llama3 => LLAMA3,
            Self::Qwen2 => QWEN2,
            Self::Tekken => TEKKEN,
        };
        let split = json!({
            "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false,
        });
        json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
    }
}
