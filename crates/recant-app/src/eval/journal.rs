//! A sequence of edits under evaluation that goes on where it was interrupted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recant_edit::{EditError, Fact, Lifelong, Memory, StoredStateError, Watch};
use recant_eval::{Case, Event, Progress};
use recant_files::{OutputError, OutputFile, Outputs};
use recant_methods::lifelong::{MEMORY, StateFileError, load_state, save_state_to};
use recant_methods::{MethodInputs, memory, open_memory};
use recant_model::Model;
use recant_records::Opened;
use recant_records::seal::{self, Unsealed};
use serde::{Deserialize, Serialize};

use crate::kinds::JOURNAL;
use crate::observer::Observer;

/// How far a sequence has come cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A file may not be where it shall be, or cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A file cannot be read, or is the record of another run.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The memory's file cannot be read or written.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// The memory cannot be made or opened.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// How far it has come cannot be written down.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// What a sequence is, and how far it has come.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    method: String,
    step: usize,
    /// Numbers of the cases, in order.
    cases: Vec<u64>,
    progress: Progress,
}

/// How a record's payload begins; the first version was JSON alone, without a checksum.
const MAGIC: &[u8] = b"recant-resume-2\n";

impl Record {
    fn to_file(&self) -> Result<Vec<u8>, JournalError> {
        Ok(seal::seal(&[MAGIC, &serde_json::to_vec(self)?].concat()))
    }

    /// An error is a reason in words.
    fn from_file(bytes: &[u8]) -> Result<Opened<Self>, String> {
        let Unsealed { payload, checked } = seal::unseal(bytes).map_err(|error| error.to_string())?;
        let json = if checked { payload.strip_prefix(MAGIC) } else { Some(payload) };
        let json = json.ok_or("this is no record of a run that goes on")?;
        let value = serde_json::from_slice(json);
        let value = value
            .map_err(|error| format!("this is no record of a run that goes on, or it is damaged: {error}"))?;
        Ok(Opened { value, checked })
    }
}

/// Where the two files of a sequence may go: its record, and the memory as it was after some step.
#[derive(Debug, Clone)]
pub struct JournalFiles {
    file: OutputFile,
    state: OutputFile,
}

impl JournalFiles {
    /// Decides for a record; the memory goes beside it, in `FILE.state`.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn decide(outputs: &mut Outputs, path: &Path) -> Result<Self, OutputError> {
        let mut state = path.as_os_str().to_owned();
        state.push(".state");
        let file = outputs.continued(path, JOURNAL)?;
        Ok(Self { file, state: outputs.continued(&PathBuf::from(state), MEMORY)? })
    }

    /// The record itself.
    pub(super) fn record(&self) -> OutputFile {
        self.file.clone()
    }
}

/// A sequence that is written down.
pub(super) struct Journal {
    files: JournalFiles,
    record: Record,
    /// Where the sequence goes on.
    memory: Option<Box<dyn Memory>>,
    /// The first write that failed.
    failed: Option<JournalError>,
}

/// A memory that writes itself down after every step.
pub(super) struct Stored {
    memory: Box<dyn Memory>,
    file: OutputFile,
}

impl Journal {
    /// Reads the files, or begins them; `observer` hears what there is to know about them.
    pub(super) fn open(
        files: JournalFiles,
        method: &str,
        inputs: &MethodInputs,
        model: &Model,
        (cases, step): (&[Case], usize),
        observer: &dyn Observer,
    ) -> Result<Self, JournalError> {
        let fresh = memory(method, inputs, model.clone())?;
        let (path, state) = (files.file.path().to_owned(), files.state.path().to_owned());
        let refuse = |reason: String| JournalError::Read { path: path.clone(), reason };
        let cases: Vec<u64> = cases.iter().map(|case| case.id).collect();
        let begun = Record { method: method.to_owned(), step, cases, progress: Progress::default() };
        if !path.exists() {
            let journal = Self { files, record: begun, memory: Some(fresh), failed: None };
            // Before hours of work, not after them.
            journal.write()?;
            return Ok(journal);
        }
        let record = Record::from_file(&std::fs::read(&path).map_err(|error| refuse(error.to_string()))?)
            .map_err(refuse)?;
        record.note(&path).iter().for_each(|note| observer.note(note));
        let record = record.value;
        let same = [
            (record.method == begun.method, "method"),
            (record.step == begun.step, "number of facts a step"),
            (record.cases == begun.cases, "cases"),
        ];
        if let Some((_, what)) = same.into_iter().find(|(same, _)| !same) {
            return Err(refuse(format!("it is the record of a run with another {what}")));
        }
        let mut held = match load_state(&state) {
            Ok(held) => {
                held.note(&state).iter().for_each(|note| observer.note(note));
                open_memory(&held.value, model.clone())?
            }
            // Interrupted before its first step was learned.
            Err(StateFileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                if record.progress.steps > 0 {
                    return Err(refuse(format!("{} is gone", state.display())));
                }
                fresh
            }
            Err(error) => return Err(error.into()),
        };
        let wanted = memory(method, inputs, model.clone())?.settings();
        if let Some(key) = differing(&held.settings(), &wanted) {
            return Err(refuse(format!("it is the record of a run with another {key}")));
        }
        // The memory is written before its step is scored, so it may be one step ahead.
        held.roll_back(record.progress.steps)?;
        Ok(Self { files, record, memory: Some(held), failed: None })
    }

    /// The memory, and how far it has come; `None` when it was taken already.
    pub(super) fn resume(&mut self) -> Option<(Stored, Progress)> {
        let memory = self.memory.take()?;
        Some((Stored { memory, file: self.files.state.clone() }, self.record.progress.clone()))
    }

    /// Writes down how far the sequence has come.
    pub(super) fn note(&mut self, event: &Event<'_>) {
        if let Event::Step { progress, .. } = event {
            self.record.progress = (*progress).clone();
            if let Err(error) = self.write() {
                self.failed.get_or_insert(error);
            }
        }
    }

    /// Whether everything was written down.
    pub(super) fn kept(&mut self) -> Result<(), JournalError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn write(&self) -> Result<(), JournalError> {
        Ok(self.files.file.write(&self.record.to_file()?)?)
    }
}

/// The first name whose values differ.
pub(super) fn differing(
    held: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> Option<String> {
    let keys = held.keys().chain(wanted.keys());
    keys.into_iter().find(|key| held.get(*key) != wanted.get(*key)).cloned()
}

impl Lifelong for Stored {
    fn name(&self) -> &str {
        self.memory.name()
    }

    fn settings(&self) -> BTreeMap<String, String> {
        self.memory.settings()
    }

    fn contexts(&self) -> &[String] {
        self.memory.contexts()
    }

    fn learn_watched(&mut self, facts: &[Fact], watch: &dyn Watch) -> Result<Vec<String>, EditError> {
        let notes = self.memory.learn_watched(facts, watch)?;
        let written = save_state_to(&self.memory.state()?, &self.file);
        written.map_err(|error| StoredStateError::Write { source: error.into() })?;
        Ok(notes)
    }

    fn model(&self) -> &Model {
        self.memory.model()
    }

    fn steps(&self) -> usize {
        self.memory.steps()
    }

    fn roll_back(&mut self, steps: usize) -> Result<(), EditError> {
        self.memory.roll_back(steps)
    }

    fn state_bytes(&self) -> usize {
        self.memory.state_bytes()
    }

    fn loss(&self) -> Option<f32> {
        self.memory.loss()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a record are frozen, and those of the version before open.
    #[test]
    fn a_record_is_frozen() {
        let record =
            Record { method: "wise".to_owned(), step: 2, cases: vec![7, 9], progress: Progress::default() };
        let bytes = record.to_file().unwrap();
        let json = serde_json::to_string(&record).unwrap();
        assert!(json.starts_with(r#"{"method":"wise","step":2,"cases":[7,9],"progress":{"#), "{json}");
        assert_eq!(bytes, seal::seal(&[MAGIC, json.as_bytes()].concat()));
        assert!((JOURNAL.recognises)(&bytes) && (JOURNAL.recognises)(json.as_bytes()));
        let opened = |bytes: &[u8]| {
            let Opened { value, checked } = Record::from_file(bytes).unwrap();
            (value.cases, checked)
        };
        assert_eq!(opened(&bytes), (vec![7, 9], true));
        assert_eq!(opened(json.as_bytes()), (vec![7, 9], false));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Record::from_file(&damaged).is_err(), "byte {at}");
        }
    }
}
