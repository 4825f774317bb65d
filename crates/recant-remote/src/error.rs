//! What can go wrong with a remote.

use recant_core::{CommitId, ObjectId};
use recant_store::{HistoryError, Name, ReadError, TransactionError, TransferError, WriteError};

/// A remote cannot be used, or what was asked is refused. Neither side has lost anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The address makes no sense.
    #[error("{url:?} is no remote: {reason}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The place does not answer as it should.
    #[error("the remote does not do what was asked: {source}")]
    Place {
        /// What it said.
        source: object_store::Error,
    },
    /// This build does not reach such places.
    #[error("{url} needs a build with the feature {feature}")]
    Feature {
        /// The address.
        url: String,
        /// The feature of this crate, and of the binary.
        feature: &'static str,
    },
    /// There is nothing at the address.
    #[error("there is no recant remote at {url}")]
    Nothing {
        /// The address.
        url: String,
    },
    /// The remote is of another version.
    #[error("{url} is a remote of format {found:?}, and this recant knows \"recant remote 1\"")]
    Version {
        /// The address.
        url: String,
        /// What FORMAT says.
        found: String,
    },
    /// Something in a folder is neither a file nor a folder.
    #[error("the remote's {key} is not a plain file")]
    NotAFile {
        /// The key.
        key: String,
    },
    /// Something small is large.
    #[error("the remote's {key} has {len} bytes, and what belongs there at most {most}")]
    TooLarge {
        /// The key.
        key: String,
        /// Its bytes.
        len: u64,
        /// The most that are read.
        most: u64,
    },
    /// A name of the remote is not acceptable.
    #[error("the remote has a name that is not acceptable: {key}")]
    Key {
        /// The key.
        key: String,
    },
    /// The remote's branch has commits that the local one has not.
    #[error("branch {name} of the remote stands on {theirs}, which {ours} does not build on; pull and merge first", theirs = theirs.short(), ours = ours.short())]
    NotAhead {
        /// The branch or tag.
        name: Name,
        /// Where the remote's stands.
        theirs: CommitId,
        /// Where ours stands.
        ours: CommitId,
    },
    /// Somebody else moved the branch in between.
    #[error("somebody else moved {name} at the same time; pull and push again")]
    Raced {
        /// The branch or tag.
        name: Name,
    },
    /// There is no such branch.
    #[error("the {place} has no branch {name}")]
    NoBranch {
        /// Here or there.
        place: &'static str,
        /// The branch.
        name: Name,
    },
    /// The remote lacks an object that its branches lead to.
    #[error("the remote lacks object {id}, which {} leads to", match by {
        Some(by) => format!("object {by}, if that is what it was,"),
        None => "a branch".to_owned(),
    })]
    Missing {
        /// The object.
        id: ObjectId,
        /// What leads to it; one that is made from others, and damaged itself, may lead nowhere.
        by: Option<ObjectId>,
    },
    /// Objects lead round in a circle.
    #[error("the remote's objects lead in a circle at {id}")]
    Circle {
        /// The object.
        id: ObjectId,
    },
    /// A local store cannot be opened or made.
    #[error(transparent)]
    Open(#[from] recant_store::OpenError),
    /// The local head cannot be read.
    #[error(transparent)]
    Head(#[from] recant_store::HeadError),
    /// A local object cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A local object cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Something that arrived is refused.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// Local history cannot be walked.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The local store cannot be changed.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The runtime cannot be started.
    #[error("cannot start: {source}")]
    Runtime {
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<object_store::Error> for RemoteError {
    fn from(source: object_store::Error) -> Self {
        Self::Place { source }
    }
}
