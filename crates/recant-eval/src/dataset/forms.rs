//! The forms of data sets that are read, each by the keys that its publisher uses.

use recant_edit::Fact;
use recant_model::Model;
use serde_json::Value;

use super::entry::{Fault, Named, Object, Place, first, slots, unlike};
use super::{Case, Consequence, EntryError, Neighbour, Retained};
use crate::probe::{Probe, ScoreError, check_probe};

/// What is read, for a reader whose file is something else.
pub(super) const READ: &str = "read are CounterFact (`requested_rewrite`, `paraphrase_prompts`, \
     `neighborhood_prompts`), EasyEdit's and KnowEdit's form (`subject`, `prompt`, `target_new`, `ground_truth`, \
     `rephrase_prompt` or `rephrase`, `locality_prompt` and `locality_ground_truth`, or `locality`, `portability`), zsRE of \
     MEND (`subject`, `src`, `alt`, `answers`, `rephrase`, `loc`, `loc_ans`, `portability`), WikiBigEdit (`subject`, \
     `update`, `ans`, `rephrase`, `personas`, `mhop`, `mhop_ans`, `loc`, `loc_ans`) and UnKE (`question`, `answer`, \
     `para_question`, `sub_question`, `sub_answer`)";

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
const FLAT: [&str; 12] = [
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
];
/// The same of zsRE in MEND's form. `pred` is what another model said, `cond` is made of the other fields.
const MEND: [&str; 11] = [
    "case_id",
    "subject",
    "src",
    "pred",
    "rephrase",
    "alt",
    "answers",
    "loc",
    "loc_ans",
    "cond",
    "portability",
];
/// The same of WikiBigEdit.
const WIKI_BIG: [&str; 13] = [
    "case_id", "subject", "update", "ans", "rephrase", "personas", "mhop", "mhop_ans", "loc", "loc_ans",
    "tag", "relation", "object",
];
/// The same of UnKE.
const UNKE: [&str; 7] =
    ["case_id", "id", "question", "answer", "para_question", "sub_question", "sub_answer"];

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
    /// The same of each consequence.
    consequences: Vec<(String, String)>,
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
        let consequences = self.consequences.iter().zip(&case.consequences);
        let consequences =
            consequences.map(|((field, of), about)| (field, about.prompt.clone(), vec![(of, &about.answer)]));
        let both = |(field, prompt, truth): (_, _, Option<_>)| {
            (field, prompt, std::iter::once(new).chain(truth).collect::<Vec<_>>())
        };
        let asked = own.chain(paraphrases).chain(neighbours).map(both).chain(consequences);
        asked.into_iter().find_map(|(field, prompt, targets)| {
            targets.into_iter().find_map(|(of_target, target)| {
                let probe = Probe { prompt: prompt.clone(), target: target.clone(), literal: false };
                let error = check_probe(model, &probe).err()?;
                let field: &String = if error.is_target() { of_target } else { field };
                Some((field.clone(), error))
            })
        })
    }
}

/// The parts of a case, whatever they are called.
struct Parts {
    /// `None` of a form whose facts are about no subject.
    subject: Option<Named>,
    prompt: Named,
    target: Named,
    truth: Option<Named>,
    paraphrases: Vec<Named>,
    neighbours: Vec<(Named, Option<Named>)>,
    consequences: Vec<(Named, Named)>,
}

/// Reads an entry in the form that its keys show.
pub(super) fn case(value: &Value, entry: usize) -> Result<Read, Fault> {
    let nothing = Object::new();
    let place = Place { object: value.as_object().unwrap_or(&nothing), within: "" };
    let (parts, known) = if place.get("requested_rewrite").is_some() {
        (counterfact(place)?, &COUNTERFACT[..])
    } else if place.get("src").is_some() {
        (mend(place)?, &MEND[..])
    } else if place.get("update").is_some() {
        (wiki_big(place)?, &WIKI_BIG[..])
    } else if place.get("para_question").is_some() {
        (unke(place)?, &UNKE[..])
    } else if place.get("prompt").is_some() {
        (flat(place)?, &FLAT[..])
    } else {
        let mut keys: Vec<String> = place.object.keys().cloned().collect();
        keys.sort();
        return Err(Fault { field: None, reason: EntryError::UnknownForm { keys } });
    };
    let id = match place.get("case_id").or_else(|| place.get("id").filter(|_| known.contains(&"id"))) {
        None => entry as u64,
        // A table's cells are strings.
        Some(Value::String(id)) if id.trim().parse::<u64>().is_ok() => id.trim().parse().unwrap_or_default(),
        Some(id) => id.as_u64().ok_or_else(|| unlike("case_id", id, "a whole number"))?,
    };
    let known = |key: &&String| known.contains(&key.as_str()) || known.contains(&without_number(key));
    let unread = place.object.keys().filter(|key| !known(key)).cloned().collect();
    let Parts { subject, prompt, target, truth, paraphrases, neighbours, consequences } = parts;
    let fact = match subject {
        Some(subject) => Fact::new(subject.text, prompt.text, target.text),
        None => Fact::about_nothing(&prompt.text, &target.text, false),
    };
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
    let (consequence_fields, consequences) = consequences
        .into_iter()
        .map(|(prompt, answer)| {
            ((prompt.field, answer.field), Consequence { prompt: prompt.text, answer: answer.text })
        })
        .unzip();
    let fields = Fields {
        prompt: prompt.field,
        target: target.field,
        truth: truth_field,
        paraphrases: paraphrase_fields,
        neighbours: neighbour_fields,
        consequences: consequence_fields,
    };
    Ok(Read { case: Case { id, fact, target_true, paraphrases, neighbours, consequences }, fields, unread })
}

/// A column's name without the number at its end: a table has `rephrase_1`, `rephrase_2` where JSON has a list.
fn without_number(key: &str) -> &str {
    let name = key.trim_end_matches(|c: char| c.is_ascii_digit());
    if name.len() == key.len() { key } else { name.strip_suffix('_').unwrap_or(key) }
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
        subject: Some(rewrite.text("subject")?),
        prompt: rewrite.text("prompt")?,
        target: target("target_new", true)?.ok_or_else(|| Fault::at(field, EntryError::Missing))?,
        paraphrases: entry.all("paraphrase_prompts")?,
        neighbours: neighbours.into_iter().map(|prompt| (prompt, truth.clone())).collect(),
        truth,
        consequences: Vec::new(),
    })
}

/// EasyEdit's flattened CounterFact and zsRE, and KnowEdit.
fn flat(entry: Place<'_>) -> Result<Parts, Fault> {
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
        subject: Some(entry.text("subject")?),
        prompt: entry.text("prompt")?,
        target: entry.answer("target_new")?,
        truth: entry.first("ground_truth")?,
        paraphrases,
        neighbours,
        consequences: portability(entry)?,
    })
}

/// zsRE as MEND has it: the new answer is `alt`.
fn mend(entry: Place<'_>) -> Result<Parts, Fault> {
    Ok(Parts {
        subject: Some(entry.text("subject")?),
        prompt: entry.text("src")?,
        target: entry.answer("alt")?,
        truth: entry.first("answers")?,
        paraphrases: entry.all("rephrase")?,
        neighbours: pairs(entry, "loc", "loc_ans")?,
        consequences: portability(entry)?,
    })
}

/// WikiBigEdit: questions about what changed between two snapshots of Wikidata. A persona asks the same in its own words.
fn wiki_big(entry: Place<'_>) -> Result<Parts, Fault> {
    let mut paraphrases = entry.all("rephrase")?;
    paraphrases.extend(entry.all("personas")?);
    Ok(Parts {
        subject: Some(entry.text("subject")?),
        prompt: entry.text("update")?,
        target: entry.answer("ans")?,
        truth: None,
        paraphrases,
        neighbours: pairs(entry, "loc", "loc_ans")?,
        consequences: answered(pairs(entry, "mhop", "mhop_ans")?),
    })
}

/// UnKE: a question without a subject, a long answer, and questions about parts of it.
fn unke(entry: Place<'_>) -> Result<Parts, Fault> {
    Ok(Parts {
        subject: None,
        prompt: entry.text("question")?,
        target: entry.answer("answer")?,
        truth: None,
        paraphrases: entry.all("para_question")?,
        neighbours: Vec::new(),
        consequences: answered(pairs(entry, "sub_question", "sub_answer")?),
    })
}

/// Columns of a table that have a number behind their name, in the order of the numbers.
fn numbers(entry: Place<'_>, name: &str) -> Vec<(u64, String)> {
    let number = |key: &String| Some((key.strip_prefix(name)?.strip_prefix('_')?.parse().ok()?, key.clone()));
    let mut found: Vec<(u64, String)> = entry.object.keys().filter_map(number).collect();
    found.sort();
    found
}

/// The texts of a key, and of the same key with numbers behind it.
fn numbered(entry: Place<'_>, name: &str) -> Result<Vec<Named>, Fault> {
    let mut texts = entry.all(name)?;
    for (_, key) in numbers(entry, name) {
        texts.extend(entry.all(&key)?);
    }
    Ok(texts)
}

/// EasyEdit's `portability`: pairs of prompt and answer under any names, or a question that it calls new.
fn portability(entry: Place<'_>) -> Result<Vec<(Named, Named)>, Fault> {
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

/// Those prompts that have an answer.
fn answered(pairs: Vec<(Named, Option<Named>)>) -> Vec<(Named, Named)> {
    pairs.into_iter().filter_map(|(prompt, answer)| Some((prompt, answer?))).collect()
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
