//! From the errors of the libraries to those of the binary, each under one name whichever layer says it.

use recant_app::{
    DialogueError, EditFailure, EditFilesError, EvalFailure, ExportFailure, FactsError, FactsHeldError,
    JournalError, LayersFailure, LearnFailure, ModelRefError, MoveFailure, RecordFileError, ResourceError,
    StatsFailure, StoreError, TraceFailure,
};
use recant_edit::{EditError, RequestError, StatisticsError};
use recant_methods::causal::CausalError;
use recant_remote::RemoteError;

use super::error::CliError;

/// An error of the app: the variants that hold an error of a library are that error; the others are said one by one.
macro_rules! flattened {
    ($from:ident: $($held:ident)*; $($pattern:pat => $told:expr),* $(,)?) => {
        impl From<$from> for CliError {
            fn from(error: $from) -> Self {
                match error {
                    $($from::$held(error) => error.into(),)*
                    $($pattern => $told,)*
                }
            }
        }
    };
}

/// What goes against an option.
fn option(option: &'static str, error: &dyn std::error::Error) -> CliError {
    CliError::Option { option, reason: error.to_string() }
}

flattened!(ModelRefError: Hub Source Open Rev Checkout Guard Output;
    ModelRefError::NoModel { name } => Self::NoModel { name },
    ModelRefError::Read { path, source } => Self::Read { path, reason: source.to_string() },
);

flattened!(ResourceError: Edit Moments MomentsFile Collect Contexts Text;
    ResourceError::Cancelled => EditError::Cancelled.into(),
    ResourceError::ContextsFile { path, source } => {
        Self::Read { path, reason: format!("a JSON array of strings is expected: {source}") }
    },
);

flattened!(DialogueError: Resources Edit Score Ask;
    error @ (DialogueError::NothingToUndo | DialogueError::OtherModel { .. }) => Self::Dialogue(error),
);

flattened!(EditFailure: Model Resources Edit Apply Score Ask Store;
    error @ EditFailure::AlreadySo { .. } => Self::AlreadySo(error),
    EditFailure::Contradiction { new, held } => Self::Edit(EditError::Setting {
        key: "fact".to_owned(),
        value: format!("{} {}", new.text(), new.target),
        reason: format!(
            "the ledger says {:?} to this prompt; choose --on-conflict replace or keep-both",
            held.target
        ),
    }),
    error => option("--ledger", &error),
);

flattened!(EvalFailure: Dataset Resources Edit Score Journal;
    EvalFailure::Cancelled => EditError::Cancelled.into(),
    error => option("--data", &error),
);

flattened!(LayersFailure: Eval;
    error @ LayersFailure::Method { .. } => option("--method", &error),
    error => option("--layers", &error),
);

flattened!(TraceFailure: Dataset Score Causal;
    error => option("--data", &error),
);

flattened!(CausalError: Fact Tokenizer;
    CausalError::Cancelled => EditError::Cancelled.into(),
    error @ CausalError::Request(RequestError::Lookup { .. }) => option("--subject", &error),
    error @ CausalError::Request(RequestError::NoTarget { .. }) => option("--target", &error),
    error => option("PROMPT", &error),
);

flattened!(JournalError: Output State Edit Json;
    JournalError::Read { path, reason } => Self::Read { path, reason },
    error => option("--resume", &error),
);

flattened!(LearnFailure: Resources Edit State Score;
    error => option("--state", &error),
);

flattened!(FactsHeldError: Store Record Edit State Output;
    FactsHeldError::Patch { path } => {
        let reason = "it is a patch, which does not know its facts; a memory or a ledger does".to_owned();
        Self::Read { path, reason }
    },
    error => option("--edit", &error),
);

flattened!(MoveFailure: Record Output Resources Edit Transfer;
    MoveFailure::NoMoments => Self::Edit(StatisticsError::Missing.into()),
    error => option("--from", &error),
);

flattened!(StatsFailure: Collect Resume File;
    StatsFailure::BrokenOff { path, tokens } => Self::BrokenOff { path, tokens },
    error => option("--corpus", &error),
);

flattened!(ExportFailure: Apply Json Output;
    ExportFailure::Read { path, source } => Self::Read { path, reason: source.to_string() },
    ExportFailure::Factors { path, source } => Self::Write { path, reason: source.to_string() },
    ExportFailure::Write { path, source } => Self::Write { path, reason: source.to_string() },
    ExportFailure::NoPath => {
        let reason = "an adapter names its base by a path, and a store's revision has none; \
                      `recant store checkout` writes it";
        Self::Option { option: "MODEL", reason: reason.to_owned() }
    },
    error => option("--patch", &error),
);

flattened!(EditFilesError: Source Output Save;
    EditFilesError::Dump { path, source } => Self::Write { path, reason: source.to_string() },
);

flattened!(FactsError: Text File Dataset;);

flattened!(RecordFileError: ;
    RecordFileError::Read { path, source } => Self::Read { path, reason: source.to_string() },
    RecordFileError::Record { path, source } => Self::Record { path, source },
);

flattened!(StoreError: Device Source Model Apply Edit Moments Contexts Ask;
    error => Self::Store(error),
);

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
