//! What a store cannot do.

use std::path::PathBuf;

/// Something that was asked of a store cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A store cannot be opened.
    #[error(transparent)]
    Open(#[from] recant_store::OpenError),
    /// A name is none.
    #[error(transparent)]
    Name(#[from] recant_store::NameError),
    /// A text names no commit.
    #[error(transparent)]
    Rev(#[from] recant_store::RevError),
    /// A checkpoint cannot be imported.
    #[error(transparent)]
    Import(#[from] recant_store::ImportError),
    /// A commit cannot be made.
    #[error(transparent)]
    Commit(#[from] recant_store::CommitError),
    /// A commit cannot be checked out.
    #[error(transparent)]
    Checkout(#[from] recant_store::CheckoutError),
    /// What an output must not overwrite cannot be found out.
    #[error(transparent)]
    Guard(#[from] recant_store::GuardError),
    /// A name cannot be changed.
    #[error(transparent)]
    Names(#[from] recant_store::NamesError),
    /// A remote's name is none, or cannot be changed.
    #[error(transparent)]
    Remotes(#[from] recant_store::RemotesError),
    /// There is nothing to undo.
    #[error(transparent)]
    Undo(#[from] recant_store::UndoError),
    /// The newest operation cannot be read.
    #[error(transparent)]
    Head(#[from] recant_store::HeadError),
    /// An object cannot be read.
    #[error(transparent)]
    Object(#[from] recant_store::ReadError),
    /// History cannot be walked.
    #[error(transparent)]
    History(#[from] recant_store::HistoryError),
    /// Garbage cannot be collected.
    #[error(transparent)]
    Gc(#[from] recant_store::GcError),
    /// The store cannot be checked.
    #[error(transparent)]
    Fsck(#[from] recant_store::FsckError),
    /// A commit cannot be verified.
    #[error(transparent)]
    Verify(#[from] recant_store::VerifyError),
    /// A stored ledger cannot be read.
    #[error("the store's ledger cannot be used: {reason}")]
    Ledger {
        /// What is wrong.
        reason: String,
    },
    /// What a commit keeps beside its weights cannot be read.
    #[error("the store's {name} cannot be used: {source}")]
    State {
        /// The state's name, such as `carry-alphaedit`.
        name: String,
        /// What is wrong.
        source: recant_records::RecordError,
    },
    /// A stored ledger's editor cannot be made again.
    #[error("the store's ledger-recipe cannot be used: {0}")]
    Editor(#[from] recant_records::ledger::EditorRecordError),
    /// Facts of a ledger were measured otherwise than the editor at hand measures.
    #[error("the facts do not fit the ledger of the store: {reason}")]
    Recipe {
        /// What differs.
        reason: String,
    },
    /// A ledger edit changes nothing.
    #[error("the ledger of the store holds exactly these facts already; there is nothing to commit")]
    Unchanged,
    /// A configuration says nothing of tied matrices.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: recant_model::ConfigError,
    },
    /// The device to write a ledger anew on cannot be opened.
    #[error(transparent)]
    Device(#[from] recant_backend::DeviceError),
    /// A model that is imported, or was written, cannot be read.
    #[error(transparent)]
    Source(#[from] recant_checkpoint::SourceError),
    /// A model of the store cannot be opened.
    #[error(transparent)]
    Model(#[from] recant_model::OpenError),
    /// Tensors of one commit do not fit the model of another.
    #[error(transparent)]
    Apply(#[from] recant_model::PatchError),
    /// A ledger's editor cannot be made, or cannot write the ledger.
    #[error(transparent)]
    Edit(#[from] recant_edit::EditError),
    /// The statistics of a ledger cannot be used.
    #[error(transparent)]
    Moments(#[from] recant_edit::StatisticsError),
    /// The contexts of a ledger cannot be used.
    #[error(transparent)]
    Contexts(#[from] recant_edit::ContextError),
    /// A model of the store cannot be asked.
    #[error(transparent)]
    Ask(#[from] recant_model::AskError),
    /// A bisection has no way to go.
    #[error("{good} is not in the history of {bad}, so no commit between them can be to blame")]
    NotBetween {
        /// Where it is well.
        good: String,
        /// Where it is not.
        bad: String,
    },
    /// A bisection ended without an answer.
    #[error("every commit that is left was skipped")]
    Skipped,
}
