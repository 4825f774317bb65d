//! From the errors of the libraries to those of the binary, each under one name whichever layer says it.

use recant_app::{
    DialogueError, EditFailure, EditFilesError, EvalFailure, ExportFailure, FactsError, FactsHeldError,
    JournalError, LearnFailure, ModelRefError, MoveFailure, RecordFileError, ResourceError, StatsFailure,
    StoreError,
};
use recant_edit::EditError;
use recant_remote::RemoteError;

use super::error::CliError;

impl From<ModelRefError> for CliError {
    fn from(error: ModelRefError) -> Self {
        match error {
            ModelRefError::NoModel { name } => Self::NoModel { name },
            ModelRefError::Hub(error) => Self::Hub(error),
            ModelRefError::Source(error) => Self::Source(error),
            ModelRefError::Open(error) => Self::Open(error),
            ModelRefError::Rev(error) => error.into(),
            ModelRefError::Checkout(error) => error.into(),
            ModelRefError::Guard(error) => error.into(),
            ModelRefError::Output(error) => Self::Output(error),
            ModelRefError::Read { path, source } => Self::Read { path, reason: source.to_string() },
        }
    }
}

impl From<ResourceError> for CliError {
    fn from(error: ResourceError) -> Self {
        match error {
            ResourceError::Cancelled => Self::Edit(EditError::Cancelled),
            ResourceError::Edit(error) => Self::Edit(error),
            ResourceError::Moments(error) => Self::Moments(error),
            ResourceError::MomentsFile(error) => Self::MomentsFile(error),
            ResourceError::Collect(error) => Self::Collect(error),
            ResourceError::Contexts(error) => Self::Contexts(error),
            ResourceError::Text(error) => Self::Text(error),
            ResourceError::ContextsFile { path, source } => {
                Self::Read { path, reason: format!("a JSON array of strings is expected: {source}") }
            }
        }
    }
}

impl From<DialogueError> for CliError {
    fn from(error: DialogueError) -> Self {
        match error {
            DialogueError::Resources(error) => error.into(),
            DialogueError::Edit(error) => Self::Edit(error),
            DialogueError::Score(error) => Self::Score(error),
            DialogueError::Ask(error) => Self::Ask(error),
            error @ (DialogueError::NothingToUndo | DialogueError::OtherModel { .. }) => {
                Self::Dialogue(error)
            }
        }
    }
}

impl From<EditFailure> for CliError {
    fn from(error: EditFailure) -> Self {
        match error {
            EditFailure::Model(error) => error.into(),
            EditFailure::Resources(error) => error.into(),
            EditFailure::Edit(error) => Self::Edit(error),
            EditFailure::Apply(error) => Self::Apply(error),
            EditFailure::Score(error) => Self::Score(error),
            EditFailure::Ask(error) => Self::Ask(error),
            EditFailure::Store(error) => error.into(),
            EditFailure::Contradiction { new, held } => Self::Edit(EditError::Setting {
                key: "fact".to_owned(),
                value: format!("{} {}", new.text(), new.target),
                reason: format!(
                    "the ledger says {:?} to this prompt; choose --on-conflict replace or keep-both",
                    held.target
                ),
            }),
            error => Self::Option { option: "--ledger", reason: error.to_string() },
        }
    }
}

impl From<EvalFailure> for CliError {
    fn from(error: EvalFailure) -> Self {
        match error {
            EvalFailure::Dataset(error) => Self::Dataset(error),
            EvalFailure::Resources(error) => error.into(),
            EvalFailure::Edit(error) => Self::Edit(error),
            EvalFailure::Score(error) => Self::Score(error),
            EvalFailure::Journal(error) => match error {
                JournalError::Output(error) => Self::Output(error),
                JournalError::Read { path, reason } => Self::Read { path, reason },
                JournalError::State(error) => Self::State(error),
                JournalError::Edit(error) => Self::Edit(error),
                JournalError::Json(error) => Self::Json(error),
                error => Self::Option { option: "--resume", reason: error.to_string() },
            },
            EvalFailure::Cancelled => Self::Edit(EditError::Cancelled),
            error => Self::Option { option: "--data", reason: error.to_string() },
        }
    }
}

impl From<LearnFailure> for CliError {
    fn from(error: LearnFailure) -> Self {
        match error {
            LearnFailure::Resources(error) => error.into(),
            LearnFailure::State(error) => Self::State(error),
            LearnFailure::Score(error) => Self::Score(error),
            LearnFailure::Edit(error) => Self::Edit(error),
            error => Self::Option { option: "--state", reason: error.to_string() },
        }
    }
}

impl From<FactsHeldError> for CliError {
    fn from(error: FactsHeldError) -> Self {
        match error {
            FactsHeldError::Store(error) => error.into(),
            FactsHeldError::Record(error) => error.into(),
            FactsHeldError::Edit(error) => Self::Edit(error),
            FactsHeldError::State(error) => Self::State(error),
            FactsHeldError::Output(error) => Self::Output(error),
            FactsHeldError::Patch { path } => {
                let reason =
                    "it is a patch, which does not know its facts; a memory or a ledger does".to_owned();
                Self::Read { path, reason }
            }
            error => Self::Option { option: "--edit", reason: error.to_string() },
        }
    }
}

impl From<MoveFailure> for CliError {
    fn from(error: MoveFailure) -> Self {
        match error {
            MoveFailure::Record(error) => error.into(),
            MoveFailure::Output(error) => Self::Output(error),
            MoveFailure::Resources(error) => error.into(),
            MoveFailure::Edit(error) => Self::Edit(error),
            MoveFailure::Transfer(error) => Self::Transfer(error),
            MoveFailure::NoMoments => Self::Edit(recant_edit::StatisticsError::Missing.into()),
            error => Self::Option { option: "--from", reason: error.to_string() },
        }
    }
}

impl From<StatsFailure> for CliError {
    fn from(error: StatsFailure) -> Self {
        match error {
            StatsFailure::Collect(error) => Self::Collect(error),
            StatsFailure::Resume(error) => Self::Resume(error),
            StatsFailure::File(error) => Self::MomentsFile(error),
            StatsFailure::BrokenOff { path, tokens } => Self::BrokenOff { path, tokens },
            error => Self::Option { option: "--corpus", reason: error.to_string() },
        }
    }
}

impl From<ExportFailure> for CliError {
    fn from(error: ExportFailure) -> Self {
        match error {
            ExportFailure::Read { path, source } => Self::Read { path, reason: source.to_string() },
            ExportFailure::Apply(error) => Self::Apply(error),
            ExportFailure::Json(error) => Self::Json(error),
            ExportFailure::Factors { path, source } => Self::Write { path, reason: source.to_string() },
            ExportFailure::Write { path, source } => Self::Write { path, reason: source.to_string() },
            ExportFailure::Output(error) => Self::Output(error),
            ExportFailure::NoPath => {
                let reason = "an adapter names its base by a path, and a store's revision has none; \
                              `recant store checkout` writes it";
                Self::Option { option: "MODEL", reason: reason.to_owned() }
            }
            error => Self::Option { option: "--patch", reason: error.to_string() },
        }
    }
}

impl From<EditFilesError> for CliError {
    fn from(error: EditFilesError) -> Self {
        match error {
            EditFilesError::Source(error) => error.into(),
            EditFilesError::Output(error) => Self::Output(error),
            EditFilesError::Save(error) => Self::Save(error),
            EditFilesError::Dump { path, source } => Self::Write { path, reason: source.to_string() },
        }
    }
}

impl From<FactsError> for CliError {
    fn from(error: FactsError) -> Self {
        match error {
            FactsError::Text(error) => Self::Text(error),
            FactsError::File(error) => Self::FactFile(error),
            FactsError::Dataset(error) => Self::Dataset(error),
        }
    }
}

impl From<RecordFileError> for CliError {
    fn from(error: RecordFileError) -> Self {
        match error {
            RecordFileError::Read { path, source } => Self::Read { path, reason: source.to_string() },
            RecordFileError::Record { path, source } => Self::Record { path, source },
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Device(error) => Self::Device(error),
            StoreError::Source(error) => Self::Source(error),
            StoreError::Model(error) => Self::Open(error),
            StoreError::Apply(error) => Self::Apply(error),
            StoreError::Edit(error) => Self::Edit(error),
            StoreError::Moments(error) => Self::Moments(error),
            StoreError::Contexts(error) => Self::Contexts(error),
            StoreError::Ask(error) => Self::Ask(error),
            error => Self::Store(error),
        }
    }
}

impl From<RemoteError> for CliError {
    fn from(source: RemoteError) -> Self {
        Self::Remote { source: Box::new(source) }
    }
}

/// What a store says is an error of the store.
macro_rules! of_a_store {
    ($($error:ident),* $(,)?) => {
        $(impl From<recant_store::$error> for CliError {
            fn from(error: recant_store::$error) -> Self {
                Self::Store(error.into())
            }
        })*
    };
}

of_a_store!(
    OpenError,
    NameError,
    RevError,
    ImportError,
    CommitError,
    CheckoutError,
    GuardError,
    NamesError,
    RemotesError,
    UndoError,
    HeadError,
    ReadError,
    HistoryError,
    GcError,
    FsckError,
    VerifyError,
);
