//! EasyEdit's flat form, which KnowEdit and many others use.

use serde_json::Value;

use super::super::entry::{Fault, Named, Place, unlike};
use super::{Form, Parts, answered, numbered, numbers, pairs};

/// EasyEdit's flattened CounterFact and zsRE, and KnowEdit.
pub(super) const EASYEDIT: Form = Form {
    name: "EasyEdit (CounterFact, zsRE), KnowEdit",
    keys: "`subject`, `prompt`, `target_new`, `ground_truth`, `rephrase_prompt` or `rephrase`, \
           `locality_prompt` with `locality_ground_truth`, or `locality` and `portability`: pairs of \
           `prompt` and `ground_truth` under any names, or lists of them",
    marks: &["prompt", "target_new"],
    tells: |entry| entry.get("prompt").is_some(),
    known: &[
        "case_id",
        "subject",
        "prompt",
        "target_new",
        "ground_truth",
        "rephrase_prompt",
        "rephrase",
        "locality_prompt",
        "locality_ground_truth",
        "locality",
        "portability",
        "cond",
    ],
    read: |entry| flat(entry, "ground_truth", true),
};

/// CKnowEdit: EasyEdit's form in Chinese. Its facts name no subject.
pub(super) const CKNOWEDIT: Form = Form {
    name: "CKnowEdit",
    keys: "`prompt`, `target_new`, `target_old`, `rephrase`, `locality`, `portability`; the facts are \
           about no subject, unless `subject` names one",
    marks: &["prompt", "target_new", "target_old"],
    tells: |entry| entry.has(&["prompt", "target_old"]) && entry.get("ground_truth").is_none(),
    known: &[
        "case_id",
        "subject",
        "prompt",
        "target_new",
        "target_old",
        "rephrase",
        "locality",
        "portability",
    ],
    read: |entry| flat(entry, "target_old", false),
};

/// KnowEdit's WikiBio: a text about somebody, and how it goes on.
pub(super) const WIKI_BIO: Form = Form {
    name: "KnowEdit WikiBio",
    keys: "`concept`, `text`, `labels` (how the text goes on), `locality`; without a subject where the \
           text does not name its concept",
    marks: &["concept", "text", "labels"],
    tells: |entry| entry.has(&["concept", "text", "labels"]),
    known: &["case_id", "concept", "text", "labels", "locality"],
    read: wiki_bio,
};

fn flat(entry: Place<'_>, truth: &str, needs_subject: bool) -> Result<Parts, Fault> {
    let mut paraphrases = numbered(entry, "rephrase_prompt")?;
    paraphrases.extend(numbered(entry, "rephrase")?);
    let mut neighbours = pairs(entry, "locality_prompt", "locality_ground_truth")?;
    for (number, prompt) in numbers(entry, "locality_prompt") {
        neighbours.extend(pairs(entry, &prompt, &format!("locality_ground_truth_{number}"))?);
    }
    if let Some(value) = entry.get("locality") {
        neighbours.extend(locality("locality", value)?);
    }
    Ok(Parts {
        subject: if needs_subject { Some(entry.text("subject")?) } else { entry.first("subject")? },
        prompt: entry.text("prompt")?,
        target: entry.answer("target_new")?,
        truth: entry.first(truth)?,
        paraphrases,
        neighbours,
        consequences: portability(entry)?,
    })
}

fn wiki_bio(entry: Place<'_>) -> Result<Parts, Fault> {
    let (concept, prompt) = (entry.text("concept")?, entry.text("text")?);
    Ok(Parts {
        subject: Some(concept).filter(|concept| prompt.text.matches(concept.text.trim()).count() == 1),
        prompt,
        target: entry.answer("labels")?,
        truth: None,
        paraphrases: Vec::new(),
        neighbours: entry.get("locality").map_or(Ok(Vec::new()), |value| locality("locality", value))?,
        consequences: Vec::new(),
    })
}

/// EasyEdit's `portability`: pairs of prompt and answer under any names, or a question that it calls new.
pub(super) fn portability(entry: Place<'_>) -> Result<Vec<(Named, Named)>, Fault> {
    let field = "portability";
    let Some(value) = entry.get(field) else { return Ok(Vec::new()) };
    let asked = match value {
        Value::Object(object) if object.contains_key("New Question") => {
            pairs(Place { object, within: field }, "New Question", "New Answer")?
        }
        value => locality(field, value)?,
    };
    Ok(answered(asked))
}

/// KnowEdit's `locality` and `portability`: under each relation a pair of prompt and answer, or a list of such pairs.
fn locality(field: &str, value: &Value) -> Result<Vec<(Named, Option<Named>)>, Fault> {
    match value {
        Value::Object(object) if object.contains_key("prompt") => {
            pairs(Place { object, within: field }, "prompt", "ground_truth")
        }
        Value::Object(object) => {
            let given = object.iter().filter(|(_, value)| !value.is_null());
            let parts = given.map(|(key, value)| locality(&format!("{field}.{key}"), value));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
        }
        Value::Array(items) => {
            let parts = items.iter().enumerate().map(|(at, item)| locality(&format!("{field}[{at}]"), item));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
        }
        Value::String(text) if text.trim().is_empty() => Ok(Vec::new()),
        other => Err(unlike(field, other, "an object with `prompt` and `ground_truth`, or a list of them,")),
    }
}
