//! The forms of data sets that are read, each by the keys that its publisher uses: a file a form, and a line in [`FORMS`].

mod counterfact;
mod easyedit;
mod hallu_edit;
mod mend;
mod mquake;
mod ripple_edits;
mod unke;
mod wiki_big_edit;

use recant_edit::Fact;
use recant_model::Model;
use serde_json::Value;

use super::entry::{Fault, Named, Object, Place, first, slots, unlike};
use super::{Case, Consequence, EntryError, Neighbour, Retained};
use crate::probe::{Probe, ScoreError, check_probe};

/// A form of data sets, as its publisher has it.
#[derive(Debug)]
pub struct Form {
    /// What it is called.
    pub name: &'static str,
    /// Which keys are read, and as what; in Markdown.
    pub keys: &'static str,
    /// Keys that every entry of it has, by which a reader knows it.
    pub marks: &'static [&'static str],
    /// Whether an entry is of this form and of none before it in [`FORMS`].
    tells: fn(Place<'_>) -> bool,
    /// Keys that are read, or that other tools alone need.
    known: &'static [&'static str],
    read: fn(Place<'_>) -> Result<Parts, Fault>,
}

/// The forms that are read; the first that tells an entry reads it.
pub const FORMS: [&Form; 10] = [
    &counterfact::COUNTERFACT,
    &mquake::MQUAKE,
    &mend::MEND,
    &wiki_big_edit::WIKI_BIG_EDIT,
    &unke::UNKE,
    &easyedit::CKNOWEDIT,
    &easyedit::EASYEDIT,
    &easyedit::WIKI_BIO,
    &ripple_edits::RIPPLE_EDITS,
    &hallu_edit::HALLU_EDIT,
];

/// What is read, for a reader whose file is something else.
pub(super) fn read_list() -> String {
    let form = |form: &&Form| format!("{} (`{}`)", form.name, form.marks.join("`, `"));
    format!("read are {}", FORMS.iter().map(form).collect::<Vec<_>>().join("; "))
}

/// Whether an entry has the marks of a form.
pub(super) fn told(entry: &Object) -> bool {
    FORMS.iter().any(|form| form.marks.iter().all(|&mark| entry.contains_key(mark)))
}

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
    let Some(form) = FORMS.iter().find(|form| (form.tells)(place)) else {
        let mut keys: Vec<String> = place.object.keys().cloned().collect();
        keys.sort();
        return Err(Fault { field: None, reason: EntryError::UnknownForm { keys } });
    };
    let (parts, known) = ((form.read)(place)?, form.known);
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

/// Those prompts that have an answer.
fn answered(pairs: Vec<(Named, Option<Named>)>) -> Vec<(Named, Named)> {
    pairs.into_iter().filter_map(|(prompt, answer)| Some((prompt, answer?))).collect()
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
