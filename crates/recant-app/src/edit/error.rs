//! An edit that cannot be made.

use recant_edit::{EditError, Fact};
use recant_eval::ScoreError;
use recant_methods::ledger::LedgerError;
use recant_model::{AskError, PatchError};

use crate::model_ref::ModelRefError;
use crate::resources::ResourceError;
use crate::store::StoreError;

/// An edit that cannot be made. The model is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditFailure {
    /// The model cannot be opened.
    #[error(transparent)]
    Model(#[from] ModelRefError),
    /// What the method is made from cannot be had.
    #[error(transparent)]
    Resources(#[from] ResourceError),
    /// It cannot be planned.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// It cannot be applied.
    #[error(transparent)]
    Apply(#[from] PatchError),
    /// It cannot be judged.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The model cannot be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The store cannot give what the edit needs.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A ledger cannot take a fact in, or does not hold what shall be taken out.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is nothing to do.
    #[error(
        "already so: the model says {:?} after {:?}{} {:.1} %; nothing was changed",
        .fact.target, .fact.text(), and_others(*.others), 100.0 * .least
    )]
    AlreadySo {
        /// The first fact.
        fact: Box<Fact>,
        /// How many more there are.
        others: usize,
        /// The least probability of a whole target, 0 to 1.
        least: f64,
    },
    /// A fact contradicts one in the ledger.
    #[error("{} {}: the ledger says {:?} to this prompt", .new.text(), .new.target, .held.target)]
    Contradiction {
        /// The new fact.
        new: Box<Fact>,
        /// What is there.
        held: Box<Fact>,
    },
}

fn and_others(others: usize) -> String {
    if others == 0 {
        ", at".to_owned()
    } else {
        format!(", and all of {others} other facts, at no less than")
    }
}
