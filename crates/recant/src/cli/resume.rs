//! `recant eval --resume`: a sequence that goes on where it was interrupted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recant_app::JOURNAL;
use recant_edit::{EditError, Fact, Lifelong, Memory, StoredStateError, Watch};
use recant_eval::{Case, Event, Progress};
use recant_files::{OutputFile, Outputs};
use recant_methods::lifelong::{MEMORY, StateFileError, load_state, save_state_to};
use recant_methods::{MEMORIES, MethodInputs, memory, open_memory};
use recant_model::Model;
use recant_records::Opened;
use recant_records::seal::{self, Unsealed};
use serde::{Deserialize, Serialize};

use super::error::CliError;

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
    fn to_file(&self) -> Result<Vec<u8>, CliError> {
        Ok(seal::seal(&[MAGIC, &serde_json::to_vec(self)?].concat()))
    }

    /// An error is a reason in words.
    fn from_file(bytes: &[u8]) -> Result<Opened<Self>, String> {
        let Unsealed { payload, checked } = seal::unseal(bytes).map_err(|error| error.to_string())?;
        let json = if checked { payload.strip_prefix(MAGIC) } else { Some(payload) };
        let json = json.ok_or("this is no record of --resume")?;
        let value = serde_json::from_slice(json);
        let value =
            value.map_err(|error| format!("this is no record of --resume, or it is damaged: {error}"))?;
        Ok(Opened { value, checked })
    }
}

/// The two files of a sequence: its record, and the memory as it was after some step.
pub(crate) struct Journal {
    file: OutputFile,
    state: OutputFile,
    record: Record,
    /// Where the sequence goes on.
    memory: Option<Box<dyn Memory>>,
    /// The first write that failed.
    failed: Option<CliError>,
}

/// A memory that writes itself down after every step.
pub(crate) struct Stored {
    memory: Box<dyn Memory>,
    file: OutputFile,
}

impl Journal {
    /// Reads the files, or begins them.
    pub(crate) fn open(
        outputs: &mut Outputs,
        path: &Path,
        method: &str,
        inputs: &MethodInputs,
        model: &Model,
        cases: &[Case],
        step: usize,
    ) -> Result<Self, CliError> {
        let refuse = |reason: String| CliError::Read { path: path.to_owned(), reason };
        if !MEMORIES.iter().any(|info| info.name == method) {
            let known = MEMORIES.map(|info| info.name).join(", ");
            let reason = format!("{method} keeps no state that could be stored; {known} do");
            return Err(CliError::Option { option: "--resume", reason });
        }
        let fresh = memory(method, inputs, model.clone())?;
        let mut state = path.as_os_str().to_owned();
        state.push(".state");
        let state = PathBuf::from(state);
        let file = outputs.continued(path, JOURNAL)?;
        let state_file = outputs.continued(&state, MEMORY)?;
        let cases: Vec<u64> = cases.iter().map(|case| case.id).collect();
        let begun = Record { method: method.to_owned(), step, cases, progress: Progress::default() };
        if !path.exists() {
            let journal = Self { file, state: state_file, record: begun, memory: Some(fresh), failed: None };
            // Before hours of work, not after them.
            journal.write()?;
            return Ok(journal);
        }
        let record = Record::from_file(&std::fs::read(path).map_err(|error| refuse(error.to_string()))?)
            .map_err(refuse)?;
        record.note(path).iter().for_each(|note| remark!("note: {note}"));
        let record = record.value;
        let same = [
            (record.method == begun.method, "method"),
            (record.step == begun.step, "--batch-size"),
            (record.cases == begun.cases, "cases"),
        ];
        if let Some((_, what)) = same.into_iter().find(|(same, _)| !same) {
            return Err(refuse(format!("it is the record of a run with another {what}")));
        }
        let mut held = match load_state(&state) {
            Ok(held) => {
                held.note(&state).iter().for_each(|note| remark!("note: {note}"));
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
        Ok(Self { file, state: state_file, record, memory: Some(held), failed: None })
    }

    /// The memory, and how far it has come.
    pub(crate) fn resume(&mut self) -> Result<(Stored, Progress), CliError> {
        let gone = || CliError::Option { option: "--resume", reason: "it was resumed already".to_owned() };
        let memory = self.memory.take().ok_or_else(gone)?;
        Ok((Stored { memory, file: self.state.clone() }, self.record.progress.clone()))
    }

    /// Writes down how far the sequence has come.
    pub(crate) fn note(&mut self, event: &Event<'_>) {
        if let Event::Step { progress, .. } = event {
            self.record.progress = (*progress).clone();
            if let Err(error) = self.write() {
                self.failed.get_or_insert(error);
            }
        }
    }

    /// Whether everything was written down.
    pub(crate) fn kept(&mut self) -> Result<(), CliError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn write(&self) -> Result<(), CliError> {
        Ok(self.file.write(&self.record.to_file()?)?)
    }
}

/// The first setting in which two memories differ.
fn differing(held: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Option<String> {
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
