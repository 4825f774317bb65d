//! CounterFact, and AKEW's form of it.

use serde_json::Value;

use super::super::EntryError;
use super::super::entry::{Fault, Place, unlike};
use super::{Form, Parts};

/// CounterFact as Meng et al. 2022 publish it.
pub(super) const COUNTERFACT: Form = Form {
    name: "CounterFact, AKEW",
    keys: "`requested_rewrite` (`subject`, `prompt`, `target_new`, `target_true`; in AKEW `answer_new`, \
           `answer_true`, and `question`: another way to ask), `paraphrase_prompts`, \
           `neighborhood_prompts`",
    marks: &["requested_rewrite"],
    tells: |entry| entry.get("requested_rewrite").is_some_and(|rewrite| !rewrite.is_array()),
    known: &[
        "case_id",
        "pararel_idx",
        "requested_rewrite",
        "paraphrase_prompts",
        "neighborhood_prompts",
        "attribute_prompts",
        "generation_prompts",
        "relation_id",
        "known_id",
    ],
    read: counterfact,
};

/// Meng et al. 2022. The neighbourhood shares the true answer of the fact.
fn counterfact(entry: Place<'_>) -> Result<Parts, Fault> {
    let field = "requested_rewrite";
    let rewrite = match entry.get(field) {
        Some(Value::Object(object)) => Place { object, within: field },
        Some(other) => return Err(unlike(field, other, "an object")),
        None => return Err(Fault::at(field, EntryError::Missing)),
    };
    // A target is an object with its text and its number in Wikidata; AKEW has a text under another name.
    let target = |key: &'static str, akew: &'static str, needed: bool| {
        let key = if rewrite.get(key).is_none() && rewrite.get(akew).is_some() { akew } else { key };
        let (within, key, inner) = match rewrite.get(key) {
            Some(Value::Object(object)) => (rewrite.name(key), "str", object),
            _ => (field.to_owned(), key, rewrite.object),
        };
        let place = Place { object: inner, within: &within };
        if needed { place.answer(key).map(Some) } else { place.first(key) }
    };
    let truth = target("target_true", "answer_true", false)?;
    let mut paraphrases = entry.all("paraphrase_prompts")?;
    paraphrases.extend(rewrite.all("question")?);
    let neighbours = entry.all("neighborhood_prompts")?;
    Ok(Parts {
        subject: Some(rewrite.text("subject")?),
        prompt: rewrite.text("prompt")?,
        target: target("target_new", "answer_new", true)?
            .ok_or_else(|| Fault::at(field, EntryError::Missing))?,
        paraphrases,
        neighbours: neighbours.into_iter().map(|prompt| (prompt, truth.clone())).collect(),
        truth,
        consequences: Vec::new(),
    })
}
