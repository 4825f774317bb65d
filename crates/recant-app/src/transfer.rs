//! Edits moved from a memory, a ledger or a patch to another, without another search.

use std::path::{Path, PathBuf};

use recant_core::WeightPatch;
use recant_edit::{EditError, Fact, Memory};
use recant_files::{FileKind, OutputError, OutputFile, Outputs, Role};
use recant_methods::ledger::{LEDGER, Ledger};
use recant_methods::lifelong::{MEMORY, Pairs};
use recant_methods::retrieval::Retrieval;
use recant_methods::rome::Covariance;
use recant_methods::transfer::{Loose, TransferError};
use recant_methods::{DEFAULT_METHOD, ledger, make_ledger, make_retrieval, retrieval};
use recant_model::Model;
use recant_records::{AnyRecord, Record};

use crate::kinds::PATCH;
use crate::observer::Observer;
use crate::records::{RecordFileError, open_record};
use crate::resources::{MethodSources, ResourceError, Resources};

/// Edits cannot be moved. Both sides are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveFailure {
    /// A side cannot be opened.
    #[error(transparent)]
    Record(#[from] RecordFileError),
    /// A side may not be written where it is, or cannot.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// What the other side is made from cannot be had.
    #[error(transparent)]
    Resources(#[from] ResourceError),
    /// A side cannot be made.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The edit does not fit the other side.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A patch does not know its fact, and nobody says it.
    #[error("a patch does not know its fact")]
    UnknownFact,
    /// A fact is said to a side that knows its facts.
    #[error("the side that the edit is taken from knows its facts")]
    KnownFacts,
    /// There is nothing to move.
    #[error("it holds no edit")]
    NoEdit,
    /// The other side is a patch that is there already.
    #[error("a patch is there already; it takes no other edit in")]
    PatchThere,
    /// The other side is not there yet, and nobody says what it shall be.
    #[error("the other side is not there yet, and its form is not said")]
    NoForm,
    /// A patch holds one edit.
    #[error("a patch holds one edit, not {count}; move them to a ledger, which solves for all together")]
    ManyInPatch {
        /// How many there are.
        count: usize,
    },
    /// A change of weights needs second moments.
    #[error("a change of weights needs the second moments of the layer's keys")]
    NoMoments,
}

/// What holds edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A retrieval memory.
    Memory,
    /// A ledger of one layer.
    Ledger,
    /// A rank-one change of weights.
    Patch,
}

/// Which edits are moved.
#[derive(Debug, Clone)]
pub enum Moving {
    /// All of them.
    All,
    /// Those whose prompts, with the subject in them, are these.
    Texts(Vec<String>),
    /// That of a patch, which does not know its fact.
    Stated(Fact),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct MoveRequest {
    /// Where the edit is: a retrieval memory, a ledger of one layer, or a patch.
    pub from: PathBuf,
    /// Where it goes. A memory or a ledger that is there takes it in.
    pub to: PathBuf,
    /// What the other side shall be, where it is not there yet.
    pub form: Option<Form>,
    /// Which edits.
    pub moving: Moving,
    /// Leave the edit where it is, too.
    pub copy: bool,
    /// What a side that is begun is made from.
    pub sources: MethodSources,
}

/// What was moved.
#[derive(Debug, Clone)]
pub struct Moved {
    /// The facts.
    pub facts: Vec<Fact>,
    /// The block of all of them.
    pub layer: usize,
    /// Whether they are still where they were.
    pub stays: bool,
    /// What to know about the files.
    pub notes: Vec<String>,
}

/// A file that holds edits, opened.
enum Holder {
    Memory(Box<Pairs>),
    Ledger(Ledger),
    Patch(WeightPatch),
}

impl Holder {
    /// Opens a file by how it begins.
    fn open(path: &Path, model: &Model, notes: &mut Vec<String>) -> Result<Self, MoveFailure> {
        let opened = open_record(path, AnyRecord::from_file)?;
        notes.extend(opened.note(path));
        match opened.value {
            AnyRecord::Memory(state) if state.kind() != retrieval::NAME => {
                Err(TransferError::Kind { kind: state.kind().to_owned() }.into())
            }
            AnyRecord::Memory(state) => Ok(Self::Memory(Box::new(Retrieval::open(model.clone(), &state)?))),
            AnyRecord::Ledger(ledger) => Ok(Self::Ledger(ledger)),
            AnyRecord::Patch(patch) => Ok(Self::Patch(patch)),
        }
    }

    fn kind(&self) -> FileKind {
        match self {
            Self::Memory(_) => MEMORY,
            Self::Ledger(_) => LEDGER,
            Self::Patch(_) => PATCH,
        }
    }

    fn write(&self, output: &OutputFile) -> Result<(), MoveFailure> {
        let bytes = match self {
            Self::Memory(memory) => memory.state()?.to_file(),
            Self::Ledger(ledger) => ledger.to_file(),
            Self::Patch(patch) => patch.to_file(),
        };
        Ok(output.write(&bytes)?)
    }
}

/// What is asked for, in the order of the source.
fn chosen(
    request: &MoveRequest,
    holder: &Holder,
    model: &Model,
    observer: &dyn Observer,
) -> Result<Vec<Loose>, MoveFailure> {
    let held: Vec<Fact> = match (holder, &request.moving) {
        (Holder::Patch(patch), Moving::Stated(fact)) => {
            let methods = [DEFAULT_METHOD.to_owned()];
            let resources = Resources::gather(&request.sources, &methods, model, observer)?;
            return Ok(vec![Loose::in_patch(model, patch, fact, resources.contexts())?]);
        }
        (Holder::Patch(_), _) => return Err(MoveFailure::UnknownFact),
        (_, Moving::Stated(_)) => return Err(MoveFailure::KnownFacts),
        (Holder::Memory(memory), _) => memory.facts().to_vec(),
        (Holder::Ledger(ledger), _) => ledger.facts().cloned().collect(),
    };
    let texts = if let Moving::Texts(texts) = &request.moving { Some(texts) } else { None };
    let unknown = |text: &&String| !held.iter().any(|fact| fact.text() == **text);
    if let Some(text) = texts.into_iter().flatten().find(unknown) {
        return Err(TransferError::Unknown { text: text.clone() }.into());
    }
    let is_wanted = |fact: &Fact| texts.is_none_or(|texts| texts.contains(&fact.text()));
    let wanted = held.iter().enumerate().filter(|(_, fact)| is_wanted(fact));
    let one = |(at, fact): (usize, &Fact)| match holder {
        Holder::Memory(memory) => Loose::in_memory(memory, at),
        Holder::Ledger(ledger) => Loose::in_ledger(ledger, fact),
        Holder::Patch(_) => Err(TransferError::Unknown { text: fact.text() }),
    };
    Ok(wanted.map(one).collect::<Result<_, _>>()?)
}

/// The other side, empty, at the edit's layer.
fn begun(
    request: &MoveRequest,
    form: Form,
    layer: usize,
    model: &Model,
    observer: &dyn Observer,
) -> Result<Option<Holder>, MoveFailure> {
    let inputs = |name: &str| -> Result<_, MoveFailure> {
        let mut sources = request.sources.clone();
        (sources.wishes.layer, sources.wishes.layers) = (Some(layer), Some(vec![layer]));
        let resources = Resources::gather(&sources, &[name.to_owned()], model, observer)?;
        Ok(resources.inputs(name)?)
    };
    Ok(match form {
        Form::Memory => {
            let memory = make_retrieval(&inputs(retrieval::NAME)?, model.clone())?;
            Some(Holder::Memory(Box::new(memory)))
        }
        Form::Ledger => Some(Holder::Ledger(Ledger::new(make_ledger(&inputs(ledger::NAME)?)?.ground(model)))),
        Form::Patch => None,
    })
}

/// The change of weights that one edit is.
fn written(
    request: &MoveRequest,
    loose: Vec<Loose>,
    model: &Model,
    observer: &dyn Observer,
) -> Result<Holder, MoveFailure> {
    let [one] =
        <[Loose; 1]>::try_from(loose).map_err(|loose| MoveFailure::ManyInPatch { count: loose.len() })?;
    let mut sources = request.sources.clone();
    (sources.wishes.layer, sources.wishes.layers) = (Some(one.layer), None);
    let resources = Resources::gather(&sources, &[DEFAULT_METHOD.to_owned()], model, observer)?;
    let inputs = resources.inputs(DEFAULT_METHOD)?;
    let identity = inputs.settings.iter().any(|set| set.key == "mom2_adjustment" && set.value == "false");
    let covariance = match (inputs.covariance, identity) {
        (_, true) => Covariance::Identity,
        (Some(covariance), false) => covariance,
        (None, false) => return Err(MoveFailure::NoMoments),
    };
    Ok(Holder::Patch(one.into_patch(model, &covariance)?))
}

/// Moves edits between two files, both on `model`.
///
/// # Errors
/// [`MoveFailure`].
pub fn move_edits(
    request: &MoveRequest,
    model: &Model,
    outputs: &mut Outputs,
    observer: &dyn Observer,
) -> Result<Moved, MoveFailure> {
    let mut notes = Vec::new();
    let mut from = Holder::open(&request.from, model, &mut notes)?;
    // A patch is a record of what was done, and stays.
    let stays = request.copy || matches!(from, Holder::Patch(_));
    let from_output = match stays {
        true => outputs.reads(Role::Input, &request.from).map(|()| None)?,
        false => Some(outputs.continued(&request.from, from.kind())?),
    };
    let loose = chosen(request, &from, model, observer)?;
    let layer = loose.first().map(|one| one.layer).ok_or(MoveFailure::NoEdit)?;
    let facts: Vec<Fact> = loose.iter().map(|one| one.fact.clone()).collect();
    let there = request.to.exists().then(|| Holder::open(&request.to, model, &mut notes)).transpose()?;
    let kind = match (&there, request.form) {
        (Some(there), _) => there.kind(),
        (None, Some(Form::Memory)) => MEMORY,
        (None, Some(Form::Ledger)) => LEDGER,
        (None, _) => PATCH,
    };
    let to_output = outputs.continued(&request.to, kind)?;
    let to = match (there, request.form) {
        (Some(Holder::Patch(_)), _) => return Err(MoveFailure::PatchThere),
        (Some(there), _) => Some(there),
        (None, Some(form)) => begun(request, form, layer, model, observer)?,
        (None, None) => return Err(MoveFailure::NoForm),
    };
    let to = match to {
        None | Some(Holder::Patch(_)) => written(request, loose, model, observer)?,
        Some(Holder::Memory(mut memory)) => {
            loose.into_iter().try_for_each(|one| one.into_memory(&mut memory))?;
            Holder::Memory(memory)
        }
        Some(Holder::Ledger(mut ledger)) => {
            loose.into_iter().try_for_each(|one| one.into_ledger(&mut ledger))?;
            Holder::Ledger(ledger)
        }
    };
    if !stays {
        taken_out(&mut from, &facts)?;
    }
    // The new place first: a crash between the two leaves an edit in both, never in neither.
    to.write(&to_output)?;
    if let Some(output) = from_output {
        from.write(&output)?;
    }
    Ok(Moved { facts, layer, stays, notes })
}

fn taken_out(from: &mut Holder, moved: &[Fact]) -> Result<(), MoveFailure> {
    match from {
        Holder::Memory(memory) => {
            for fact in moved {
                let at = memory.facts().iter().position(|held| held == fact);
                at.map_or(Ok(()), |at| memory.forget(at))?;
            }
        }
        Holder::Ledger(ledger) => {
            for fact in moved {
                ledger.remove(fact).map_err(TransferError::from)?;
            }
        }
        Holder::Patch(_) => {}
    }
    Ok(())
}
