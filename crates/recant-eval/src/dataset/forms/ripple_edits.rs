//! RippleEdits.

use serde_json::Value;

use super::super::EntryError;
use super::super::entry::{Fault, Named, Object, Place, unlike};
use super::{Form, Parts};

/// RippleEdits (Cohen et al. 2023): an edit as a sentence, and what should and should not follow from it.
pub(super) const RIPPLE_EDITS: Form = Form {
    name: "RippleEdits",
    keys: "`edit` (`prompt`: a sentence that ends with the new answer; `previous_fact`), \
           `Subject_Aliasing` (other ways to ask), `Logical_Generalization`, `Compositionality_I` and \
           `_II` (what follows), `Relation_Specificity` and `Forgetfulness` (what should stay); \
           conditions are not asked",
    marks: &["example_type", "edit"],
    tells: |entry| entry.get("edit").is_some_and(Value::is_object),
    known: &[
        "case_id",
        "example_type",
        "edit",
        "Relation_Specificity",
        "Relation_Specifity",
        "Logical_Generalization",
        "Subject_Aliasing",
        "Compositionality_I",
        "Compositionality_II",
        "Forgetfulness",
    ],
    read: ripple_edits,
};

/// A query of a test: what is asked, the first answer, and the number of the thing that it is about.
struct Query {
    prompt: Named,
    answer: Option<Named>,
    subject: Option<String>,
}

fn ripple_edits(entry: Place<'_>) -> Result<Parts, Fault> {
    let Some(Value::Object(edit)) = entry.get("edit") else {
        return Err(Fault::at("edit", EntryError::Missing));
    };
    let edit = Place { object: edit, within: "edit" };
    let [aliases, logical, first, second, specific, misspelled, forgetful] = [
        "Subject_Aliasing",
        "Logical_Generalization",
        "Compositionality_I",
        "Compositionality_II",
        "Relation_Specificity",
        "Relation_Specifity",
        "Forgetfulness",
    ]
    .map(|axis| queries(entry, axis));
    let (aliases, mut specific) = (aliases?, specific?);
    specific.extend(misspelled?);
    let sentence = edit.text("prompt")?;
    let (prompt, target) = split(&sentence, aliases.iter().filter_map(|query| query.answer.as_ref()))?;
    let truth = match edit.get("previous_fact") {
        Some(Value::Object(object)) => {
            let before = Place { object, within: "edit.previous_fact" }.text("prompt")?;
            let answer = before.text.trim().strip_prefix(prompt.text.as_str());
            let answer = answer.map(|answer| answer.trim_end_matches('.').trim().to_owned());
            answer.filter(|answer| !answer.is_empty()).map(|text| Named { field: before.field, text })
        }
        _ => None,
    };
    let own = edit.get("subject_id").and_then(Value::as_str);
    let about = specific.iter().filter(|query| own.is_some() && query.subject.as_deref() == own);
    let subject = subject(&prompt.text, about.map(|query| query.prompt.text.as_str()));
    let (same, other): (Vec<Query>, Vec<Query>) = aliases
        .into_iter()
        .partition(|query| query.answer.as_ref().is_some_and(|answer| answer.text == target.text));
    let follows = [other, logical?, first?, second?].into_iter().flatten();
    Ok(Parts {
        subject: subject.map(|text| Named { field: prompt.field.clone(), text }),
        paraphrases: same.into_iter().map(|query| query.prompt).collect(),
        neighbours: specific
            .into_iter()
            .chain(forgetful?)
            .map(|query| (query.prompt, query.answer))
            .collect(),
        consequences: follows.filter_map(|query| Some((query.prompt, query.answer?))).collect(),
        prompt,
        target,
        truth,
    })
}

/// The sentence without its end, and the end: one of the answers that are known to be the new one, or what stands behind the
/// last "is" or "are", as all of the published templates have it.
fn split<'a>(sentence: &Named, answers: impl Iterator<Item = &'a Named>) -> Result<(Named, Named), Fault> {
    let text = sentence.text.trim().trim_end_matches('.').trim_end();
    let known =
        answers.filter_map(|answer| text.strip_suffix(answer.text.as_str())).find(|rest| rest.ends_with(' '));
    let verb = || [" is ", " are "].iter().filter_map(|verb| Some(text.rfind(verb)? + verb.len())).max();
    let at = known.map(str::len).or_else(verb);
    let (prompt, target) = at.map_or((text, ""), |at| text.split_at(at));
    if target.trim().is_empty() {
        return Err(Fault::at(&sentence.field, EntryError::NoAnswer));
    }
    let named = |text: &str| Named { field: sentence.field.clone(), text: text.trim().to_owned() };
    Ok((named(prompt), named(target)))
}

/// What the sentence is about: what it has in common with a question about the same thing, "of X is", or what stands behind
/// its last "of".
fn subject<'a>(prompt: &str, mut others: impl Iterator<Item = &'a str>) -> Option<String> {
    let end = prompt.rfind(' ')?;
    let body = &prompt[..end];
    let common = |other: &str| {
        let other = &other[..other.rfind(' ')?];
        let same = body.char_indices().rev().zip(other.chars().rev()).take_while(|((_, a), b)| a == b);
        let shared = &body[same.last()?.0.0..];
        shared.split_once(" of ").map(|(_, subject)| subject.to_owned())
    };
    let found =
        others.find_map(common).or_else(|| body.rsplit_once(" of ").map(|(_, subject)| subject.to_owned()));
    found.filter(|subject| !subject.trim().is_empty() && prompt.matches(subject.as_str()).count() == 1)
}

/// What an axis asks, in order.
fn queries(entry: Place<'_>, axis: &str) -> Result<Vec<Query>, Fault> {
    let mut read = Vec::new();
    for (at, test) in list(entry.get(axis), axis)?.iter().enumerate() {
        let within = format!("{axis}[{at}]");
        let test = Place { object: object(test, &within)?, within: &within };
        let field = test.name("test_queries");
        for (at, query) in list(test.get("test_queries"), &field)?.iter().enumerate() {
            let within = format!("{field}[{at}]");
            let query = Place { object: object(query, &within)?, within: &within };
            read.push(Query {
                prompt: query.text("prompt")?,
                answer: answer(query)?,
                subject: query.get("subject_id").and_then(Value::as_str).map(str::to_owned),
            });
        }
    }
    Ok(read)
}

/// The first answer's value.
fn answer(query: Place<'_>) -> Result<Option<Named>, Fault> {
    let field = query.name("answers");
    let Some(first) = list(query.get("answers"), &field)?.first() else { return Ok(None) };
    let within = format!("{field}[0]");
    Place { object: object(first, &within)?, within: &within }.first("value")
}

fn list<'a>(value: Option<&'a Value>, field: &str) -> Result<&'a [Value], Fault> {
    match value {
        None => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(unlike(field, other, "a list")),
    }
}

fn object<'a>(value: &'a Value, field: &str) -> Result<&'a Object, Fault> {
    value.as_object().ok_or_else(|| unlike(field, value, "an object"))
}
