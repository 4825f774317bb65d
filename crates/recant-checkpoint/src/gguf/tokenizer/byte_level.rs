//! Tokenizers that merge bytes, as GPT-2's: the file has their merges as they are.

use serde_json::{Map, Value, json};

use super::super::error::GgufError;
use super::super::value::Values;
use super::split::Split;
use super::{Parts, Vocabulary, key, refuse};

pub(super) fn parts(values: &Values, vocabulary: &Vocabulary<'_>, split: Split) -> Result<Parts, GgufError> {
    let list = values.texts(&key("merges"))?.ok_or_else(|| GgufError::Missing { key: key("merges") })?;
    let pair = |merge: &str| match merge.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
            Ok(json!([left, right]))
        }
        _ => Err(refuse(format!("its merge {merge:?} is not two parts with a blank between them"))),
    };
    let merges = list.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let tokens: Map<String, Value> =
        vocabulary.each().map(|(id, text, _)| (text.to_owned(), id.into())).collect();
    Ok(Parts {
        added: vocabulary.added(),
        normalizer: split.normalizer(),
        pre_tokenizer: split.pre_tokenizer(),
        decoder: json!({
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        }),
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": split.ignores_merges(),
            "vocab": tokens,
            "merges": merges,
        }),
    })
}
