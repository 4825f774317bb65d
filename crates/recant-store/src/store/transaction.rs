//! Changing the store: write everything, then publish one pointer.

use std::collections::BTreeMap;

use recant_core::{CommitId, OperationId};

use super::{HeadError, Store};
use crate::disk::Held;
use crate::name::{Name, NameError};
use crate::object::{Commit, Head, Operation, Step, View};
use crate::odb::{ReadError, WriteError, Writer};

/// Who does something, and when. The store reads no clock and no environment of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Seconds since 1970-01-01 UTC.
    pub time: i64,
    /// Who.
    pub author: String,
}

/// The store cannot be changed. Its head is the old one, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// Somebody else is writing.
    #[error("another process has been writing to this store for {seconds} s; try again when it is done")]
    Busy {
        /// How long this one waited.
        seconds: u64,
    },
    /// The newest operation cannot be read.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// An object cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An object cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A new branch or tag would be taken for something else.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The pointer was moved, but the system would not say that the move will last.
    #[error("it was done, but may be lost if the machine stops now: {source}")]
    Unsure {
        /// What the system said.
        source: WriteError,
    },
}

/// The right to write, and what is being written. Dropping it leaves the store as it was; objects that it
/// wrote stay until gc.
#[must_use = "nothing is changed before `publish`"]
pub struct Transaction {
    store: Store,
    _lock: Box<dyn Held>,
    parent: OperationId,
    /// The names as they are published.
    before: View,
    /// The names; changes are published together.
    pub view: View,
    /// Writes objects.
    pub writer: Writer,
    /// Who, and when.
    pub stamp: Stamp,
}

impl Transaction {
    pub(super) fn new(
        store: Store,
        lock: Box<dyn Held>,
        parent: OperationId,
        view: View,
        stamp: Stamp,
    ) -> Self {
        let writer = Writer::new(store.odb().clone());
        Self { store, _lock: lock, parent, before: view.clone(), view, writer, stamp }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The operation that this one follows.
    #[must_use]
    pub fn parent(&self) -> OperationId {
        self.parent
    }

    /// Moves the head, with its branch if it stands on one, to a commit.
    pub fn advance(&mut self, commit: CommitId) {
        match &self.view.head {
            Head::Branch(name) | Head::Unborn(name) => {
                let name: Name = name.clone();
                self.view.branches.insert(name.clone(), commit);
                self.view.head = Head::Branch(name);
            }
            Head::Detached(_) => self.view.head = Head::Detached(commit),
        }
    }

    /// Stores a commit.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn put_commit(&mut self, commit: &Commit) -> Result<CommitId, WriteError> {
        self.writer.put(&commit.encode())?;
        Ok(commit.id())
    }

    /// Publishes the view as a new operation: when this returns, it is durable. A view that is as it was is
    /// no operation: an undo would take nothing back. Returns the newest operation then.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub fn publish(self, what: impl Into<String>) -> Result<OperationId, TransactionError> {
        if self.view == self.before {
            return Ok(self.parent);
        }
        self.check_names()?;
        self.publish_step(what, Step::Forward)
    }

    /// Names that came are fit to be names. Those that were there stay: they can be deleted, and an undo brings
    /// them back.
    fn check_names(&self) -> Result<(), NameError> {
        let new = |now: &BTreeMap<Name, CommitId>, before: &BTreeMap<Name, CommitId>| {
            let mut new = now.keys().filter(|name| !before.contains_key(name));
            new.try_for_each(Name::check_ref)
        };
        new(&self.view.branches, &self.before.branches)?;
        new(&self.view.tags, &self.before.tags)
    }

    pub(crate) fn publish_step(
        self,
        what: impl Into<String>,
        step: Step,
    ) -> Result<OperationId, TransactionError> {
        let parent = Some(self.parent);
        self.publish_behind(parent, what, step)
    }

    pub(crate) fn publish_behind(
        mut self,
        parent: Option<OperationId>,
        what: impl Into<String>,
        step: Step,
    ) -> Result<OperationId, TransactionError> {
        let operation = Operation {
            parent,
            time: self.stamp.time,
            author: self.stamp.author.clone(),
            what: what.into(),
            step,
            view: self.view.clone(),
        };
        self.writer.put(&operation.encode())?;
        self.writer.sync()?;
        let id = operation.id();
        self.store.point(id).map_err(|source| match self.store.head_operation() {
            Ok(now) if now == id => TransactionError::Unsure { source },
            _ => TransactionError::Write(source),
        })?;
        // It is done. Gathering loses nothing when it fails, and is tried again by the next one.
        let _ = self.store.gather_many();
        Ok(id)
    }
}
