//! Memories and ledgers in files: taught, looked at, and facts taken out again.

use std::path::{Path, PathBuf};
use std::time::Instant;

use recant_core::AdapterState;
use recant_edit::{EditError, Fact, Memory};
use recant_eval::{Asked, ScoreError, Verdict, verdicts};
use recant_files::{OutputError, OutputFile};
use recant_methods::ledger::{Ledger, LedgerError};
use recant_methods::lifelong::{StateFileError, load_state, save_state_to};
use recant_methods::{memory, open_memory};
use recant_model::Model;
use recant_records::{AnyRecord, Opened, Record as _};

use crate::edit::EditRequest;
use crate::judged::Judged;
use crate::observer::{Heeding, Observer, Progress, Unit, phase};
use crate::records::{RecordFileError, open_record};
use crate::resources::{MethodSources, ResourceError, Resources};
use crate::store::StoreError;

/// A memory cannot be taught.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnFailure {
    /// What the method is made from cannot be had.
    #[error(transparent)]
    Resources(#[from] ResourceError),
    /// A fact cannot be learned.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The memory's file cannot be read or written.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// What became of a fact cannot be told.
    #[error(transparent)]
    Score(#[from] ScoreError),
}

/// What came of teaching.
pub struct Learned {
    /// The memory afterwards.
    pub memory: Box<dyn Memory>,
    /// The facts that were learned now.
    pub facts: Vec<Fact>,
    /// What became of each of them.
    pub verdicts: Vec<Verdict>,
    /// How many the memory knew already.
    pub known: usize,
    /// What to know about it.
    pub notes: Vec<String>,
    /// Learning, in seconds.
    pub seconds: f64,
}

impl Learned {
    /// The facts with their verdicts.
    #[must_use]
    pub fn judged(&self) -> Judged<'_> {
        Judged::new(&self.facts, &self.verdicts)
    }
}

/// Teaches the facts of a request to the memory of a file, or to one that is begun there by the request's method; the
/// file is written after every fact. What the memory knows already is passed over, unless the request says to edit again:
/// so a run that was interrupted goes on where it stopped.
///
/// # Errors
/// [`LearnFailure`]; what was learned before stands in the file.
pub fn learn(
    request: EditRequest,
    output: &OutputFile,
    model: &Model,
    observer: &dyn Observer,
) -> Result<Learned, LearnFailure> {
    let EditRequest { method, sources, again, notes: mut told, .. } = request;
    let begun = || begun(&method, &sources, output.path(), model.clone(), observer);
    let (mut memory, of_files) = phase(observer, "resources", begun)?;
    let mut facts = once(request.facts, &mut told);
    let given = facts.len();
    if !again {
        let held = memory.facts();
        let knows = |fact: &Fact| held.iter().any(|held| held.statement().same(&fact.statement()));
        facts.retain(|fact| !knows(fact));
    }
    let started = Instant::now();
    let mut notes = Vec::new();
    phase(observer, "learn", || -> Result<(), LearnFailure> {
        let mut detail = memory.name().to_owned();
        let tell = |done: usize, detail: &str| {
            let (done, of) = (done as u64, facts.len() as u64);
            observer.progress(Progress { work: "learn", detail, done, of, unit: Unit::Edits });
        };
        tell(0, &detail);
        for (at, fact) in facts.iter().enumerate() {
            tracing::debug!("learning {:?}", fact.text());
            notes = memory.learn_watched(std::slice::from_ref(fact), &Heeding(observer))?;
            // After every edit: whatever happens next, what was learned so far stands in the file.
            save_state_to(&memory.state()?, output)?;
            if let Some(loss) = memory.loss() {
                detail = format!("{}, loss {loss:.3}", memory.name());
            }
            tell(at + 1, &detail);
        }
        Ok(())
    })?;
    observer.idle();
    let seconds = started.elapsed().as_secs_f64();
    let verdicts = phase(observer, "score", || verdicts(&Asked::of(model, &facts)?, memory.model(), &facts))?;
    notes.extend(of_files.into_iter().chain(told));
    Ok(Learned { memory, known: given - facts.len(), facts, verdicts, notes, seconds })
}

/// Facts, each once, in their order. Of two that contradict each other both are learned, and it is noted.
fn once(facts: Vec<Fact>, notes: &mut Vec<String>) -> Vec<Fact> {
    let mut kept: Vec<Fact> = Vec::with_capacity(facts.len());
    for fact in facts {
        let said = fact.statement();
        let (text, target) = (fact.text(), &fact.target);
        match kept.iter().find(|earlier| earlier.statement().same_question(&said)) {
            Some(earlier) if earlier.statement().same(&said) => {
                notes.push(format!("{text} -> {target} is given twice and learned once"));
                continue;
            }
            Some(earlier) => notes.push(format!(
                "{text} is given with {:?} and {target:?}; the later one is learned last",
                earlier.target
            )),
            None => {}
        }
        kept.push(fact);
    }
    kept
}

/// The memory of a file, or an empty one, and what to know about the files that were read.
fn begun(
    method: &str,
    sources: &MethodSources,
    path: &Path,
    model: Model,
    observer: &dyn Observer,
) -> Result<(Box<dyn Memory>, Vec<String>), LearnFailure> {
    if path.exists() {
        let opened = load_state(path)?;
        let notes = opened.note(path).into_iter().collect();
        return Ok((open_memory(&opened.value, model)?, notes));
    }
    let resources = Resources::gather(sources, &[method.to_owned()], &model, observer)?;
    let notes = resources.notes(&model);
    Ok((memory(method, &resources.inputs(method)?, model)?, notes))
}

/// What holds facts cannot be looked at or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactsHeldError {
    /// A store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be opened.
    #[error(transparent)]
    Record(#[from] RecordFileError),
    /// A patch does not know its facts.
    #[error("cannot read {path}: it is a patch, which does not know its facts; a memory or a ledger does")]
    Patch {
        /// The file.
        path: PathBuf,
    },
    /// The memory cannot be opened, or holds no such edit.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The ledger holds no such edit.
    #[error("there is no edit {index}; the ledger holds {count}, counted from 0")]
    NoEdit {
        /// The edit asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The ledger does not give a fact back.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The memory's file cannot be written.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// The ledger's file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What holds facts.
pub enum FactsHeld {
    /// A memory.
    Memory(AdapterState),
    /// A ledger.
    Ledger(Ledger),
}

/// Opens the file of a memory or a ledger.
///
/// # Errors
/// [`FactsHeldError::Record`], [`FactsHeldError::Patch`].
pub fn open_held(path: &Path) -> Result<Opened<FactsHeld>, FactsHeldError> {
    let opened = open_record(path, AnyRecord::from_file)?;
    let checked = opened.checked;
    let value = match opened.value {
        AnyRecord::Memory(state) => FactsHeld::Memory(state),
        AnyRecord::Ledger(ledger) => FactsHeld::Ledger(ledger),
        AnyRecord::Patch(_) => return Err(FactsHeldError::Patch { path: path.to_owned() }),
    };
    Ok(Opened { value, checked })
}

/// Which edits a memory shall know no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// One, counted from 0.
    Edit(usize),
    /// All behind this many steps.
    BackTo(usize),
}

/// Takes edits out of a memory, and writes its file.
///
/// # Errors
/// [`FactsHeldError::Edit`], [`FactsHeldError::State`].
pub fn remove_from_memory(
    state: &AdapterState,
    model: Model,
    removal: Removal,
    output: &OutputFile,
) -> Result<Box<dyn Memory>, FactsHeldError> {
    let mut memory = open_memory(state, model)?;
    match removal {
        Removal::Edit(edit) => memory.forget(edit)?,
        Removal::BackTo(steps) => memory.roll_back(steps)?,
    }
    save_state_to(&memory.state()?, output)?;
    Ok(memory)
}

/// Takes an edit out of a ledger, counted from 0, and writes its file. Weights are not changed.
///
/// # Errors
/// [`FactsHeldError::NoEdit`], [`FactsHeldError::Output`].
pub fn remove_from_ledger(
    ledger: &mut Ledger,
    edit: usize,
    output: &OutputFile,
) -> Result<Fact, FactsHeldError> {
    let count = ledger.len();
    let fact = ledger.facts().nth(edit).cloned();
    let fact = fact.ok_or(FactsHeldError::NoEdit { index: edit, count })?;
    ledger.remove(&fact)?;
    output.write(&ledger.to_file())?;
    Ok(fact)
}
