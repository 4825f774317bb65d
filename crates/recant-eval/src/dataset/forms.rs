//! The forms of data sets that are read, each by the keys that its publisher uses.

use recant_edit::Fact;
use recant_model::Model;
use serde_json::Value;

use super::entry::{Fault, Named, Object, Place, first, slots, unlike};
use super::{Case, EntryError, Neighbour, Retained};
use crate::probe::{Probe, ScoreError, check_probe};

/// What is read, for a reader whose file is something else.
pub(super) const READ: &str = "read are CounterFact (`requested_rewrite`, `paraphrase_prompts`, \
     `neighborhood_prompts`), EasyEdit's and KnowEdit's form (`subject`, `prompt`, `target_new`, `ground_truth`, \
     `rephrase_prompt` or `rephrase`, `locality_prompt` and `locality_ground_truth`, or `locality`) and zsRE of MEND \
     (`subject`, `src`, `alt`, `answers`, `rephrase`, `loc`, `loc_ans`)";

/// Keys of CounterFact that are read, or that other tools alone need.
const COUNTERFACT: [&str; 9] = [
    "case_id",
    "pararel_idx",
    "requested_rewrite",
    "paraphrase_prompts",
    "neighborhood_prompts",
    "attribute_prompts",
    "generation_prompts",
    "relation_id",
    "known_id",
];
/// The same of EasyEdit's and KnowEdit's form.
const FLAT: [&str; 11] = [
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
    "cond",
];
/// The same of zsRE in MEND's form. `pred` is what another model said, `cond` is made of the other fields.
const MEND: [&str; 10] =
    ["case_id", "subject", "src", "pred", "rephrase", "alt", "answers", "loc", "loc_ans", "cond"];

/// A case with where its texts come from.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) case: Case,
    pub(super) fields: Fields,
    /// Keys of the entry that are not read.
    pub(super) unread: Vec<String>,
}

/// Names of the fields that a case's texts come from.
#[derive(Debug)]
pub(super) struct Fields {
    prompt: String,
    target: String,
    truth: Option<String>,
    paraphrases: Vec<String>,
    /// Of each neighbour: its prompt and its answer.
    neighbours: Vec<(String, Option<String>)>,
}

impl Fields {
    /// The first text that a model cannot be asked about.
    pub(super) fn fault(&self, case: &Case, model: &Model) -> Option<(String, ScoreError)> {
        let new = (&self.target, &case.fact.target);
        let truth = self.truth.as_ref().zip(case.target_true.as_ref());
        let own = std::iter::once((&self.prompt, case.fact.text(), truth));
        let paraphrases = self.paraphrases.iter().zip(&case.paraphrases);
        let paraphrases = paraphrases.map(|(field, prompt)| (field, prompt.clone(), truth));
        let neighbours = self.neighbours.iter().zip(&case.neighbours);
        let neighbours = neighbours
            .map(|((field, of), about)| (field, about.prompt.clone(), of.as_ref().zip(about.truth.as_ref())));
        own.chain(paraphrases).chain(neighbours).find_map(|(field, prompt, truth)| {
            std::iter::once(new).chain(truth).find_map(|(of_target, target)| {
                let probe = Probe { prompt: prompt.clone(), target: target.clone(), literal: false };
                let error = check_probe(model, &probe).err()?;
                let field = if error.is_target() { of_target } else { field };
                Some((field.clone(), error))
            })
        })
    }
}

/// The parts of a case, whatever they are called.
struct Parts {
    subject: Named,
    prompt: Named,
    target: Named,
    truth: Option<Named>,
    paraphrases: Vec<Named>,
    neighbours: Vec<(Named, Option<Named>)>,
}

/// Reads an entry in the form that its keys show.
pub(super) fn case(value: &Value, entry: usize) -> Result<Read, Fault> {
    let nothing = Object::new();
    let place = Place { object: value.as_object().unwrap_or(&nothing), within: "" };
    let (parts, known) = if place.get("requested_rewrite").is_some() {
        (counterfact(place)?, &COUNTERFACT[..])
    } else if place.get("src").is_some() {
        (mend(place)?, &MEND[..])
    } else if place.get("prompt").is_some() {
        (flat(place)?, &FLAT[..])
    } else {
        let mut keys: Vec<String> = place.object.keys().cloned().collect();
        keys.sort();
        return Err(Fault { field: None, reason: EntryError::UnknownForm { keys } });
    };
    let id = match place.get("case_id") {
        None => entry as u64,
        Some(id) => id.as_u64().ok_or_else(|| unlike("case_id", id, "a whole number"))?,
    };
    let unread = place.object.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
    let Parts { subject, prompt, target, truth, paraphrases, neighbours } = parts;
    let fact = Fact::new(subject.text, prompt.text, target.text);
    let fact = fact.map_err(|error| Fault::at(&prompt.field, error.into()))?;
    let (truth_field, target_true) = truth.map(|truth| (truth.field, truth.text)).unzip();
    let (paraphrase_fields, paraphrases) =
        paraphrases.into_iter().map(|named| (named.field, named.text)).unzip();
    let (neighbour_fields, neighbours) = neighbours
        .into_iter()
        .map(|(prompt, answer)| {
            let (field, truth) = answer.map(|answer| (answer.field, answer.text)).unzip();
            ((prompt.field, field), Neighbour { prompt: prompt.text, truth })
        })
        .unzip();
    let fields = Fields {
        prompt: prompt.field,
        target: target.field,
        truth: truth_field,
        paraphrases: paraphrase_fields,
        neighbours: neighbour_fields,
    };
    Ok(Read { case: Case { id, fact, target_true, paraphrases, neighbours }, fields, unread })
}

/// Meng et al. 2022. The neighbourhood shares the true answer of the fact.
fn counterfact(entry: Place<'_>) -> Result<Parts, Fault> {
    let field = "requested_rewrite";
    let rewrite = match entry.get(field) {
        Some(Value::Object(object)) => Place { object, within: field },
        Some(other) => return Err(unlike(field, other, "an object")),
        None => return Err(Fault::at(field, EntryError::Missing)),
    };
    // A target is an object with its text and its number in Wikidata.
    let target = |key: &str, needed: bool| {
        let (within, key, inner) = match rewrite.get(key) {
            Some(Value::Object(object)) => (rewrite.name(key), "str", object),
            _ => (field.to_owned(), key, rewrite.object),
        };
        let place = Place { object: inner, within: &within };
        if needed { place.answer(key).map(Some) } else { place.first(key) }
    };
    let truth = target("target_true", false)?;
    let neighbours = entry.all("neighborhood_prompts")?;
    Ok(Parts {
        subject: rewrite.text("subject")?,
        prompt: rewrite.text("prompt")?,
        target: target("target_new", true)?.ok_or_else(|| Fault::at(field, EntryError::Missing))?,
        paraphrases: entry.all("paraphrase_prompts")?,
        neighbours: neighbours.into_iter().map(|prompt| (prompt, truth.clone())).collect(),
        truth,
    })
}

/// EasyEdit's flattened CounterFact and zsRE, and KnowEdit.
fn flat(entry: Place<'_>) -> Result<Parts, Fault> {
    let mut paraphrases = entry.all("rephrase_prompt")?;
    paraphrases.extend(entry.all("rephrase")?);
    let mut neighbours = pairs(entry, "locality_prompt", "locality_ground_truth")?;
    if let Some(value) = entry.get("locality") {
        neighbours.extend(locality("locality", value)?);
    }
    Ok(Parts {
        subject: entry.text("subject")?,
        prompt: entry.text("prompt")?,
        target: entry.answer("target_new")?,
        truth: entry.first("ground_truth")?,
        paraphrases,
        neighbours,
    })
}

/// zsRE as MEND has it: the new answer is `alt`.
fn mend(entry: Place<'_>) -> Result<Parts, Fault> {
    Ok(Parts {
        subject: entry.text("subject")?,
        prompt: entry.text("src")?,
        target: entry.answer("alt")?,
        truth: entry.first("answers")?,
        paraphrases: entry.all("rephrase")?,
        neighbours: pairs(entry, "loc", "loc_ans")?,
    })
}

/// KnowEdit's `locality`: under each relation a pair of prompt and answer, or a list of such pairs.
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

/// A prompt with its answer, or a list of prompts with the list of their answers.
fn pairs(place: Place<'_>, prompt: &str, answer: &str) -> Result<Vec<(Named, Option<Named>)>, Fault> {
    let Some(prompts) = place.get(prompt) else { return Ok(Vec::new()) };
    let named = slots(&place.name(prompt), prompts)?;
    if !prompts.is_array() {
        let truth = place.first(answer)?;
        return Ok(named.into_iter().flatten().map(|prompt| (prompt, truth.clone())).collect());
    }
    let field = place.name(answer);
    let answers = match place.get(answer) {
        None => vec![None; named.len()],
        Some(Value::Array(answers)) if answers.len() == named.len() => {
            let one = |(at, answer): (usize, &Value)| first(&format!("{field}[{at}]"), answer);
            answers.iter().enumerate().map(one).collect::<Result<_, _>>()?
        }
        Some(Value::Array(answers)) => {
            let (prompts, answers) = (named.len(), answers.len());
            return Err(Fault::at(&field, EntryError::Uneven { prompts, answers }));
        }
        Some(other) => return Err(unlike(&field, other, "a list, as the prompts are one,")),
    };
    Ok(named.into_iter().zip(answers).filter_map(|(prompt, truth)| Some((prompt?, truth))).collect())
}

/// A fact that no edit is about.
pub(super) fn retained(value: &Value) -> Result<Retained, Fault> {
    let nothing = Object::new();
    let place = Place { object: value.as_object().unwrap_or(&nothing), within: "" };
    let (prompt, answer) = (place.text("prompt")?.text, place.text("answer")?.text);
    Ok(Retained { prompt, answer: answer.trim().to_owned() })
}
