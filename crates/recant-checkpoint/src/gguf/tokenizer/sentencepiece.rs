//! SentencePiece's tokenizers that merge characters: the merges follow from the tokens and their scores.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::error::GgufError;
use super::super::names::Architecture;
use super::super::value::Values;
use super::{Parts, Vocabulary, key, named_token, refuse};

/// What stands for a blank within tokens.
const BLANK: &str = "\u{2581}";
/// Bytes of the longest token that is looked at for merges; longer ones, of which no tokenizer has any, would take time
/// that grows with the square of their length.
const LONGEST: usize = 1 << 8;

pub(super) fn parts(
    values: &Values,
    vocabulary: Vocabulary<'_>,
    architecture: Architecture,
) -> Result<Parts, GgufError> {
    let gemma = architecture.is_gemma();
    let unknown = named_token(values, &vocabulary.tokens, "unknown")?.map(|(_, text)| text);
    // A token of blanks only, of which Gemma has some, is spelled with blanks in the file.
    let spelled = |text: &str| {
        let blanks = gemma && !text.is_empty() && text.bytes().all(|byte| byte == b' ');
        if blanks { BLANK.repeat(text.len()) } else { text.to_owned() }
    };
    let tokens: Vec<(usize, String)> = vocabulary.each().map(|(id, text, _)| (id, spelled(text))).collect();
    let ids: BTreeMap<&str, usize> = tokens.iter().map(|(id, text)| (text.as_str(), *id)).collect();
    let merges = match values.texts(&key("merges"))? {
        Some(list) => list.into_iter().map(given).collect::<Result<Vec<_>, _>>()?,
        None => implied(&tokens, &ids, &scores(values, &vocabulary, gemma)?),
    };
    let prefix = values.flag(&key("add_space_prefix"))?.unwrap_or(true);
    let entries: Map<String, Value> = tokens.iter().map(|(id, text)| (text.clone(), (*id).into())).collect();
    // Those that are spelled otherwise in a text are made by merges.
    let added = vocabulary.added().into_iter();
    let added = added.filter(|entry| entry["content"].as_str().is_some_and(|text| ids.contains_key(text)));
    Ok(Parts {
        added: added.collect(),
        normalizer: normalizer(prefix),
        pre_tokenizer: Value::Null,
        decoder: decoder(prefix),
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": ids.contains_key("<0x00>"),
            "ignore_merges": false,
            "vocab": entries,
            "merges": merges,
        }),
    })
}

/// A merge that the file gives.
fn given(merge: &str) -> Result<Value, GgufError> {
    let (left, right) = merge
        .split_once(' ')
        .ok_or_else(|| refuse(format!("its merge {merge:?} is not two parts with a blank between them")))?;
    Ok(json!([left, right]))
}

/// The score of each token by its id: those with the highest are merged first.
fn scores(values: &Values, vocabulary: &Vocabulary<'_>, gemma: bool) -> Result<Vec<f64>, GgufError> {
    let count = vocabulary.tokens.len();
    if gemma {
        // Gemma's merges are in the order of its tokens, and not in that of the scores.
        return Ok((0..count).map(|id| -(id as f64)).collect());
    }
    let scores = values.numbers(&key("scores"))?.ok_or_else(|| GgufError::Missing { key: key("scores") })?;
    if scores.len() != count {
        return Err(refuse(format!("it has {count} tokens and scores of {}", scores.len())));
    }
    Ok(scores)
}

/// Every pair of tokens that makes a token, in the order in which `transformers` puts them: by score, and then by the
/// lengths of the parts in characters, the greatest first.
fn implied(tokens: &[(usize, String)], ids: &BTreeMap<&str, usize>, scores: &[f64]) -> Vec<Value> {
    struct Merge<'a> {
        parts: [&'a str; 2],
        score: f64,
        lengths: [usize; 2],
    }
    let mut merges = Vec::new();
    for (id, text) in
        tokens.iter().filter(|(id, text)| text.len() <= LONGEST && ids.get(text.as_str()) == Some(id))
    {
        let mut own: Vec<([usize; 2], Merge<'_>)> = Vec::new();
        let characters = text.chars().count();
        for (length, (at, _)) in text.char_indices().enumerate().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some(&first), Some(&second)) = (ids.get(left), ids.get(right)) {
                let merge = Merge {
                    parts: [left, right],
                    score: scores[*id],
                    lengths: [length, characters - length],
                };
                own.push(([first, second], merge));
            }
        }
        own.sort_by_key(|(ids, _)| *ids);
        merges.extend(own.into_iter().map(|(_, merge)| merge));
    }
    merges.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.lengths.cmp(&a.lengths)));
    merges.into_iter().map(|merge| json!(merge.parts)).collect()
}

fn normalizer(prefix: bool) -> Value {
    let blanks = json!({"type": "Replace", "pattern": {"String": " "}, "content": BLANK});
    if !prefix {
        return blanks;
    }
    let first = json!({"type": "Prepend", "prepend": BLANK});
    json!({"type": "Sequence", "normalizers": [first, blanks]})
}

fn decoder(prefix: bool) -> Value {
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": BLANK}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}
