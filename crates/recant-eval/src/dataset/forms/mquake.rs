//! MQuAKE.

use serde_json::Value;

use super::super::EntryError;
use super::super::entry::{Fault, Place, unlike};
use super::counterfact::at_target;
use super::{Form, Parts};

/// MQuAKE (Zhong et al. 2023): facts, and questions that need several steps.
pub(super) const MQUAKE: Form = Form {
    name: "MQuAKE (CF, CF-3k-v2, T, Remastered)",
    keys: "`requested_rewrite`: a list of one fact (`subject`, `prompt`, `target_new`, `target_true`, \
           `question`: another way to ask), `questions` with `new_answer`; entries that change several \
           facts at once cannot be used",
    marks: &["requested_rewrite", "questions"],
    tells: |entry| entry.get("requested_rewrite").is_some_and(Value::is_array),
    known: &[
        "case_id",
        "requested_rewrite",
        "questions",
        "new_answer",
        "new_answer_alias",
        "answer",
        "answer_alias",
        "answer_extended",
        "new_answer_extended",
        "single_hops",
        "new_single_hops",
        "orig",
    ],
    read: mquake,
};

fn mquake(entry: Place<'_>) -> Result<Parts, Fault> {
    let field = "requested_rewrite";
    let facts = entry.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let rewrite = match facts {
        [Value::Object(object)] => Place { object, within: "requested_rewrite[0]" },
        [] => return Err(Fault::at(field, EntryError::Empty)),
        [other] => return Err(unlike("requested_rewrite[0]", other, "an object")),
        facts => return Err(Fault::at(field, EntryError::SeveralFacts { facts: facts.len() })),
    };
    let target = |key| at_target(rewrite, key, |place, key| place.first(key));
    let missing = || Fault::at(&rewrite.name("target_new.str"), EntryError::Missing);
    let consequences = match entry.first("new_answer")? {
        Some(answer) => entry.all("questions")?.into_iter().map(|asked| (asked, answer.clone())).collect(),
        None => Vec::new(),
    };
    Ok(Parts {
        subject: Some(rewrite.text("subject")?),
        prompt: rewrite.text("prompt")?,
        target: target("target_new")?.ok_or_else(missing)?,
        truth: target("target_true")?,
        paraphrases: rewrite.all("question")?,
        neighbours: Vec::new(),
        consequences,
    })
}
