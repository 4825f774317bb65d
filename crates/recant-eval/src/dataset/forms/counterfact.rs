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
    let name = |key, akew| if rewrite.get(key).is_none() && rewrite.get(akew).is_some() { akew } else { key };
    let truth = at_target(rewrite, name("target_true", "answer_true"), |place, key| place.first(key))?;
    let mut paraphrases = entry.all("paraphrase_prompts")?;
    paraphrases.extend(rewrite.all("question")?);
    let neighbours = entry.all("neighborhood_prompts")?;
    Ok(Parts {
        subject: Some(rewrite.text("subject")?),
        prompt: rewrite.text("prompt")?,
        target: at_target(rewrite, name("target_new", "answer_new"), |place, key| place.answer(key))?,
        paraphrases,
        neighbours: neighbours.into_iter().map(|prompt| (prompt, truth.clone())).collect(),
        truth,
        consequences: Vec::new(),
    })
}

/// Reads a target's text where it stands: in an object with its number in Wikidata, or by itself.
pub(super) fn at_target<T>(rewrite: Place<'_>, key: &str, read: impl FnOnce(Place<'_>, &str) -> T) -> T {
    match rewrite.get(key) {
        Some(Value::Object(object)) => read(Place { object, within: &rewrite.name(key) }, "str"),
        _ => read(rewrite, key),
    }
}
