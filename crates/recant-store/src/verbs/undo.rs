//! Undo and redo over the operation log. Both add an operation; neither removes one.
//!
//! ```text
//! operations   A  B  C  undo(B)  undo(A)  redo(B)  D
//! view         a  b  c  b        a        b        d
//! ```
//!
//! An undo restores the view before what the log stands on; undone again, the one before that. A redo goes
//! the other way, up to the last operation that did something new.

use recant_core::OperationId;

use crate::object::{Operation, Step};
use crate::odb::Odb;
use crate::store::{HeadError, Stamp, Store, TransactionError};

/// There is nothing to undo or redo, or it cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UndoError {
    /// The log begins here.
    #[error("there is nothing to undo: this is the first state of the store that the log knows")]
    Beginning,
    /// Nothing was undone.
    #[error("there is nothing to redo: the last operation was no undo")]
    End,
    /// The store cannot be changed.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl From<HeadError> for UndoError {
    fn from(error: HeadError) -> Self {
        Self::Transaction(error.into())
    }
}

impl From<crate::ReadError> for UndoError {
    fn from(error: crate::ReadError) -> Self {
        Self::Transaction(error.into())
    }
}

/// The operation that made the view: behind undos and redos, and behind operations that changed nothing, which
/// earlier versions logged.
fn made_by(odb: &Odb, id: OperationId) -> Result<(OperationId, Operation), crate::ReadError> {
    let (mut id, mut operation) = (id, odb.operation(id)?);
    loop {
        let before = match (operation.step, operation.parent) {
            (Step::Undo(restored) | Step::Redo(restored), _) => restored,
            (Step::Forward, Some(before)) if odb.operation(before)?.view == operation.view => before,
            (Step::Forward, _) => return Ok((id, operation)),
        };
        (id, operation) = (before, odb.operation(before)?);
    }
}

impl Store {
    /// Takes the last operation back: adds one that restores the view before it. Returns what was undone.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn undo(&self, stamp: &Stamp) -> Result<String, UndoError> {
        let mut tx = self.begin(stamp)?;
        let odb = self.odb();
        let (_, undone) = made_by(odb, tx.parent())?;
        let Some(before) = undone.parent else { return Err(UndoError::Beginning) };
        let (target, restored) = made_by(odb, before)?;
        tx.view = restored.view;
        tx.publish_step(format!("undo: {}", undone.what), Step::Undo(target))?;
        Ok(undone.what)
    }

    /// Does again what the last undo took back. Returns what was done again.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn redo(&self, stamp: &Stamp) -> Result<String, UndoError> {
        let mut tx = self.begin(stamp)?;
        let odb = self.odb();
        let (now, _) = made_by(odb, tx.parent())?;
        // The newest operation that did something new, and the line of such operations back from it.
        let mut at = tx.parent();
        let mut newest = odb.operation(at)?;
        while newest.step != Step::Forward {
            at = newest.parent.ok_or(UndoError::End)?;
            newest = odb.operation(at)?;
        }
        let mut next = made_by(odb, at)?;
        if next.0 == now {
            return Err(UndoError::End);
        }
        loop {
            let before = next.1.parent.ok_or(UndoError::End)?;
            let before = made_by(odb, before)?;
            if before.0 == now {
                break;
            }
            next = before;
        }
        let (target, redone) = next;
        tx.view = redone.view;
        tx.publish_step(format!("redo: {}", redone.what), Step::Redo(target))?;
        Ok(redone.what)
    }
}
