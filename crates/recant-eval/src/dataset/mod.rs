//! Data sets: facts to write, and the prompts that judge them.
//!
//! The forms that people have are read ([`FORMS`]). A file is one JSON array of entries, has one entry a line, or is a
//! table.

mod entry;
mod forms;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recant_edit::{Fact, FactError, TextError, TextRecord, read_records};
use recant_model::Model;
use serde::Deserialize;

use crate::probe::{ScoreError, check_probe};
use entry::Fault;
use forms::Fields;
pub use forms::{FORMS, Form};

/// One edit and the prompts that judge it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The data set's own number.
    pub id: u64,
    /// What to write.
    pub fact: Fact,
    /// What the unedited model should say; `None` where the data set does not tell.
    pub target_true: Option<String>,
    /// Other ways to ask for the fact.
    pub paraphrases: Vec<String>,
    /// Prompts about other subjects that should not move.
    pub neighbours: Vec<Neighbour>,
    /// Prompts whose answer follows from the fact (EasyEdit's portability).
    pub consequences: Vec<Consequence>,
}

/// A prompt whose answer follows from a fact, by one more step or under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consequence {
    /// The prompt.
    pub prompt: String,
    /// The answer where the fact holds.
    pub answer: String,
}

/// A prompt that an edit should leave alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The prompt.
    pub prompt: String,
    /// Its own true answer; `None` where the data set does not tell.
    pub truth: Option<String>,
}

/// A fact that no edit is about, and that a model should go on answering.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Retained {
    /// The prompt.
    pub prompt: String,
    /// What the unedited model should answer, without a leading space.
    pub answer: String,
}

/// An entry of a data set that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("entry {entry}{}{}: {reason}", line_text(.line), field_text(.field))]
pub struct Unusable {
    /// The entry, counted from 0.
    pub entry: usize,
    /// The line where it begins, counted from 1, where that is known.
    pub line: Option<usize>,
    /// The field at fault, if it is one field's fault.
    pub field: Option<String>,
    /// What is wrong.
    pub reason: EntryError,
}

fn line_text(line: &Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" (line {line})"))
}

fn field_text(field: &Option<String>) -> String {
    field.as_ref().map_or_else(String::new, |field| format!(", `{field}`"))
}

/// What is wrong with an entry or its field.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The keys are those of no form that is read.
    #[error("it has the keys {}; {}", .keys.join(", "), forms::read_list())]
    UnknownForm {
        /// The keys that it has.
        keys: Vec<String>,
    },
    /// The field is not there.
    #[error("it is missing")]
    Missing,
    /// The field has no text.
    #[error("it is empty")]
    Empty,
    /// The field has another type.
    #[error("it is {found}; {wanted} is expected")]
    Type {
        /// What is there.
        found: &'static str,
        /// What should be there.
        wanted: &'static str,
    },
    /// A list of prompts and the list of their answers differ in length.
    #[error("there are {prompts} prompts and {answers} answers; each prompt needs its own")]
    Uneven {
        /// Number of prompts.
        prompts: usize,
        /// Number of answers.
        answers: usize,
    },
    /// The entry changes several facts at once, and a case is about one.
    #[error("it changes {facts} facts at once; entries of one fact are read")]
    SeveralFacts {
        /// How many.
        facts: usize,
    },
    /// The sentence does not show where its answer begins.
    #[error("it does not end with an answer behind \"is\" or \"are\"")]
    NoAnswer,
    /// The fact cannot be written.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// The model cannot be asked.
    #[error(transparent)]
    Score(#[from] ScoreError),
}

/// A data set cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The file cannot be read, or is no JSON.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Entries that are to be used cannot be.
    #[error("{path}, {first}{}", further_text(.further))]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The first of them.
        first: Box<Unusable>,
        /// How many more there are.
        further: usize,
    },
    /// There are no cases.
    #[error("{path} holds no cases")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

fn further_text(further: &usize) -> String {
    match further {
        0 => String::new(),
        1 => "; one more entry cannot be used".to_owned(),
        further => format!("; {further} more entries cannot be used"),
    }
}

/// The cases of a file, in order.
#[derive(Debug, Default)]
pub struct Dataset {
    path: PathBuf,
    /// What is to be edited.
    pub cases: Vec<Case>,
    /// Further cases that can be read: what the limit left over.
    pub spare: Vec<Case>,
    /// Entries in the file.
    pub available: usize,
    /// Entries within the limit that cannot be used.
    pub unusable: Vec<Unusable>,
    /// Keys that no form reads, with the number of entries within the limit that have them.
    pub unread: BTreeMap<String, usize>,
    /// Where each of `cases` comes from.
    origins: Vec<Origin>,
}

#[derive(Debug)]
struct Origin {
    entry: usize,
    line: usize,
    fields: Fields,
}

impl Dataset {
    /// Reads the first `limit` entries of a file as cases, and as many of the others as can be read. Entries that
    /// cannot be used are in [`Dataset::unusable`], with what is wrong.
    ///
    /// # Errors
    /// [`DatasetError::Text`], [`DatasetError::Empty`].
    pub fn read(path: &Path, limit: Option<usize>) -> Result<Self, DatasetError> {
        Self::of(path, &records(path)?, limit)
    }

    /// Whether a record has the form of one of the data sets, and not that of a plain fact.
    #[must_use]
    pub fn has_case(record: &TextRecord) -> bool {
        record.value.as_object().is_some_and(|entry| forms::told(entry) && !entry.contains_key("target"))
    }

    /// As [`Dataset::read`], of records that were read from `path`.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub fn of(path: &Path, records: &[TextRecord], limit: Option<usize>) -> Result<Self, DatasetError> {
        let mut set = Self { path: path.to_owned(), available: records.len(), ..Self::default() };
        let limit = limit.unwrap_or(usize::MAX);
        for (entry, record) in records.iter().enumerate() {
            match forms::case(&record.value, entry) {
                Ok(read) if entry < limit => {
                    read.unread.into_iter().for_each(|key| *set.unread.entry(key).or_default() += 1);
                    set.cases.push(read.case);
                    set.origins.push(Origin { entry, line: record.line, fields: read.fields });
                }
                Ok(read) => set.spare.push(read.case),
                Err(fault) if entry < limit => set.unusable.push(unusable(entry, record, fault)),
                Err(_) => {}
            }
        }
        Ok(set)
    }

    /// Moves the cases that `model` cannot be asked about to [`Dataset::unusable`]: prompts without tokens or longer
    /// than its context, targets that are no tokens.
    pub fn check(&mut self, model: &Model) {
        let cases = std::mem::take(&mut self.cases);
        for (case, origin) in cases.into_iter().zip(std::mem::take(&mut self.origins)) {
            match origin.fields.fault(&case, model) {
                None => {
                    self.cases.push(case);
                    self.origins.push(origin);
                }
                Some((field, error)) => self.unusable.push(Unusable {
                    entry: origin.entry,
                    line: Some(origin.line),
                    field: Some(field),
                    reason: error.into(),
                }),
            }
        }
        self.unusable.sort_by_key(|unusable| unusable.entry);
    }

    /// As it is with `skip_bad`: entries that cannot be used are left out. Without, one of them is an error.
    ///
    /// # Errors
    /// [`DatasetError::Unusable`].
    pub fn usable(self, skip_bad: bool) -> Result<Self, DatasetError> {
        if skip_bad { Ok(self) } else { self.all_usable() }
    }

    /// The first entry that cannot be used, as an error.
    ///
    /// # Errors
    /// [`DatasetError::Unusable`].
    pub fn all_usable(mut self) -> Result<Self, DatasetError> {
        if self.unusable.is_empty() {
            return Ok(self);
        }
        let further = self.unusable.len() - 1;
        Err(DatasetError::Unusable { path: self.path, first: Box::new(self.unusable.remove(0)), further })
    }
}

fn records(path: &Path) -> Result<Vec<TextRecord>, DatasetError> {
    let records = read_records(path)?;
    if records.is_empty() { Err(DatasetError::Empty { path: path.to_owned() }) } else { Ok(records) }
}

fn unusable(entry: usize, record: &TextRecord, Fault { field, reason }: Fault) -> Unusable {
    Unusable { entry, line: Some(record.line), field, reason }
}

/// Reads facts to be retained: objects with `prompt` and `answer`, in a JSON array or one a line.
///
/// # Errors
/// [`DatasetError`] names the entry and the field.
pub fn read_retained(path: &Path) -> Result<Vec<Retained>, DatasetError> {
    let read = |(entry, record): (usize, &TextRecord)| {
        forms::retained(&record.value).map_err(|fault| DatasetError::Unusable {
            path: path.to_owned(),
            first: Box::new(unusable(entry, record, fault)),
            further: 0,
        })
    };
    records(path)?.iter().enumerate().map(read).collect()
}

/// Whether a model can be asked about facts that were read from `path`.
///
/// # Errors
/// [`DatasetError::Unusable`] names the entry.
pub fn check_retained(path: &Path, facts: &[Retained], model: &Model) -> Result<(), DatasetError> {
    for (entry, fact) in facts.iter().enumerate() {
        check_probe(model, &fact.into()).map_err(|error| {
            let field = Some(if error.is_target() { "answer" } else { "prompt" }.to_owned());
            let first = Unusable { entry, line: None, field, reason: error.into() };
            DatasetError::Unusable { path: path.to_owned(), first: Box::new(first), further: 0 }
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
