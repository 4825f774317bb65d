//! Errors of the store's verbs, and what to try next.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use recant_core::ModelDigest;

/// An error of a verb.
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
    /// A remote cannot be used.
    #[error("{source}")]
    Remote {
        /// What is wrong.
        source: Box<recant_remote::RemoteError>,
    },
    /// A clone did not come to its end.
    #[error("{source}")]
    Cut {
        /// The new store, with what came.
        dir: PathBuf,
        /// What is wrong.
        source: Box<recant_remote::RemoteError>,
    },
    /// A configuration says nothing of tied matrices.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: recant_model::ConfigError,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The store is damaged.
    #[error("{count} problems were found")]
    Damaged {
        /// How many.
        count: usize,
    },
    /// A commit is not what its history says.
    #[error("{count} things are not as the history says")]
    NotVerified {
        /// How many.
        count: usize,
    },
    /// A commit ties other matrices than the configuration that it carries.
    #[error(
        "the commit says that its model is {committed}, and with the ties of its configuration what was written is {written}"
    )]
    Tied {
        /// What the commit says.
        committed: ModelDigest,
        /// What was written.
        written: ModelDigest,
    },
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
    /// A command cannot be run.
    #[error("cannot run {command:?}: {reason}")]
    Run {
        /// The command.
        command: String,
        /// What the system said.
        reason: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {reason}")]
    Random {
        /// What it said.
        reason: String,
    },
}

impl StoreError {
    /// What to try, where the message itself does not say.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Open(recant_store::OpenError::NotAStore { .. }) => {
                "--store names the folder; without it, $RECANT_STORE or .recant is meant"
            }
            Self::Commit(recant_store::CommitError::Conflicts { .. }) => {
                "pass --on-conflict ours, theirs or both"
            }
            Self::Commit(recant_store::CommitError::Moved { .. }) => {
                "run the same command again: it plans on the new head"
            }
            Self::Recipe { .. } => {
                "leave out --layer, --layers, --set, --contexts, --stats and --corpus: the ledger then goes on \
                 as it was begun"
            }
            Self::Remote { source } if matches!(**source, recant_remote::RemoteError::Place { .. }) => {
                "credentials, region and endpoint come from the environment, for s3:// from AWS_ACCESS_KEY_ID, \
                 AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT and, for an endpoint without TLS, \
                 AWS_ALLOW_HTTP=true"
            }
            Self::Remote { source } if matches!(**source, recant_remote::RemoteError::Feature { .. }) => {
                "a plain build reaches folders only: `cargo install --path crates/recant --features s3`, \
                 gcs or azure brings the rest"
            }
            Self::Remotes(recant_store::RemotesError::Unknown { .. }) => {
                "`recant store remote add NAME REMOTE` gives a remote a name; a new folder is written ./FOLDER"
            }
            Self::Remotes(recant_store::RemotesError::Damaged { .. }) => {
                "`recant store fsck --repair` sets the file aside; the history is not touched by it"
            }
            Self::Remotes(recant_store::RemotesError::Taken { .. }) => {
                "`recant store remote remove NAME` takes the name away first"
            }
            Self::Cut { dir, .. } => {
                return Some(format!(
                    "what came is kept in {}; the same command again goes on from there",
                    dir.display()
                ));
            }
            Self::Object(recant_store::ReadError::Bundle { .. }) => {
                "`recant store fsck --repair` takes what is whole out of it and sets it aside"
            }
            Self::Checkout(recant_store::CheckoutError::Apart { .. }) => {
                "`recant store verify` lists every difference; an edit changes numbers alone, so somebody made this commit by hand"
            }
            Self::Damaged { .. } => {
                "`recant store fsck --repair` mends what can be mended and says what it did"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What to do about what the system said, wherever it said it. Every command leaves what was there as it was then.
pub(crate) fn system_hint(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut at = Some(error);
    while let Some(error) = at {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) => {
                return Some(
                    "make room on that disk (or raise the limit on a file's size) and run the same command again; \
                     what was there is as it was",
                );
            }
            Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                return Some(
                    "the folder must be writable by you; reading verbs, and checkout to another place, work without",
                );
            }
            Some(ErrorKind::ResourceBusy) => {
                return Some("a mount point cannot be replaced; name a folder inside it");
            }
            _ => at = error.source(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Through every layer of errors between a verb and the system.
    #[test]
    fn what_the_system_says_is_found_below() {
        for (kind, word) in
            [(ErrorKind::StorageFull, "make room"), (ErrorKind::ReadOnlyFilesystem, "writable")]
        {
            let source = recant_store::WriteError::Io { path: "objects/ab".into(), source: kind.into() };
            let commit = recant_store::TransactionError::from(source);
            let error = StoreError::from(recant_store::CommitError::from(commit));
            assert!(system_hint(&error).unwrap().contains(word), "{error}");
            assert!(error.to_string().contains("objects/ab"), "{error}");
        }
        let other = recant_store::WriteError::Io { path: "x".into(), source: ErrorKind::NotFound.into() };
        let other = recant_store::CommitError::from(recant_store::TransactionError::from(other));
        assert_eq!(system_hint(&StoreError::from(other)), None);
    }
}
