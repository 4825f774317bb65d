//! Branches, tags, and where the head stands.

use recant_core::{CommitId, OperationId};

use crate::name::Name;
use crate::object::Head;
use crate::store::{Stamp, Store, TransactionError};

/// A name cannot be changed. The store is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamesError {
    /// The name is taken.
    #[error("{kind} {name} exists already, on {at}; choose another name")]
    Taken {
        /// Branch or tag.
        kind: &'static str,
        /// The name.
        name: Name,
        /// Where it stands.
        at: CommitId,
    },
    /// There is no such name.
    #[error("there is no {kind} {name}")]
    Unknown {
        /// Branch or tag.
        kind: &'static str,
        /// The name.
        name: Name,
    },
    /// The head stands on the branch.
    #[error("the head stands on branch {name}; switch to another one first")]
    Current {
        /// The branch.
        name: Name,
    },
    /// The store cannot be changed.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl Store {
    /// Makes a branch, or moves it if `force`.
    ///
    /// # Errors
    /// [`NamesError`].
    pub fn branch(
        &self,
        name: &Name,
        at: CommitId,
        force: bool,
        stamp: &Stamp,
    ) -> Result<OperationId, NamesError> {
        let mut tx = self.begin(stamp)?;
        if let Some(&at) = tx.view.branches.get(name).filter(|_| !force) {
            return Err(NamesError::Taken { kind: "branch", name: name.clone(), at });
        }
        tx.view.branches.insert(name.clone(), at);
        if tx.view.head == Head::Unborn(name.clone()) {
            tx.view.head = Head::Branch(name.clone());
        }
        Ok(tx.publish(format!("branch {name} at {}", at.short()))?)
    }

    /// Removes a branch's name; its commits stay as long as the operation log knows them.
    ///
    /// # Errors
    /// [`NamesError`].
    pub fn delete_branch(&self, name: &Name, stamp: &Stamp) -> Result<OperationId, NamesError> {
        let mut tx = self.begin(stamp)?;
        if tx.view.head_branch() == Some(name) {
            return Err(NamesError::Current { name: name.clone() });
        }
        if tx.view.branches.remove(name).is_none() {
            return Err(NamesError::Unknown { kind: "branch", name: name.clone() });
        }
        Ok(tx.publish(format!("delete branch {name}"))?)
    }

    /// Makes a tag, or moves it if `force`.
    ///
    /// # Errors
    /// [`NamesError`].
    pub fn tag(
        &self,
        name: &Name,
        at: CommitId,
        force: bool,
        stamp: &Stamp,
    ) -> Result<OperationId, NamesError> {
        let mut tx = self.begin(stamp)?;
        if let Some(&at) = tx.view.tags.get(name).filter(|_| !force) {
            return Err(NamesError::Taken { kind: "tag", name: name.clone(), at });
        }
        tx.view.tags.insert(name.clone(), at);
        Ok(tx.publish(format!("tag {name} at {}", at.short()))?)
    }

    /// Removes a tag.
    ///
    /// # Errors
    /// [`NamesError`].
    pub fn delete_tag(&self, name: &Name, stamp: &Stamp) -> Result<OperationId, NamesError> {
        let mut tx = self.begin(stamp)?;
        if tx.view.tags.remove(name).is_none() {
            return Err(NamesError::Unknown { kind: "tag", name: name.clone() });
        }
        Ok(tx.publish(format!("delete tag {name}"))?)
    }

    /// Puts the head onto a branch.
    ///
    /// # Errors
    /// [`NamesError`].
    pub fn switch(&self, name: &Name, stamp: &Stamp) -> Result<OperationId, NamesError> {
        let mut tx = self.begin(stamp)?;
        if !tx.view.branches.contains_key(name) {
            return Err(NamesError::Unknown { kind: "branch", name: name.clone() });
        }
        tx.view.head = Head::Branch(name.clone());
        Ok(tx.publish(format!("switch to {name}"))?)
    }

    /// Puts the head onto a commit, on no branch.
    ///
    /// # Errors
    /// [`NamesError`].
    pub fn detach(&self, at: CommitId, stamp: &Stamp) -> Result<OperationId, NamesError> {
        let mut tx = self.begin(stamp)?;
        tx.view.head = Head::Detached(at);
        Ok(tx.publish(format!("switch to {}", at.short()))?)
    }
}
