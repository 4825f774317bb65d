//! An evaluation that cannot be made.

use recant_edit::EditError;
use recant_eval::report::Part;
use recant_eval::{DatasetError, ScoreError};

use super::JournalError;
use crate::resources::ResourceError;

/// An evaluation that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalFailure {
    /// The observer broke it off, between two methods.
    #[error("the evaluation was broken off")]
    Cancelled,
    /// A data set cannot be read or used.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The data set has no case, or none of the first ones.
    #[error("no cases are left")]
    NoCases,
    /// A step without a fact was asked for.
    #[error("a step has at least one fact")]
    EmptyStep,
    /// A batch is larger than the data set.
    #[error("there are {cases} cases, not {size}")]
    FewCases {
        /// How many cases there are.
        cases: usize,
        /// How many were asked for.
        size: usize,
    },
    /// A batch or a sequence cannot be shared out.
    #[error(
        "only facts that are edited each alone can be shared out: a batch or a sequence is one edited model"
    )]
    SharedSteps,
    /// The judgement of a model that something else edited cannot be shared out.
    #[error(
        "a model that something else edited is judged as a whole, and what it writes by itself is no sum of parts"
    )]
    SharedModel,
    /// A part has no case.
    #[error("there are {cases} cases, and {part} of them is none")]
    EmptyPart {
        /// The part.
        part: Part,
        /// Cases in all.
        cases: usize,
    },
    /// What methods are made from cannot be had.
    #[error(transparent)]
    Resources(#[from] ResourceError),
    /// A method cannot be made or cannot learn.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The unedited model cannot be scored.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// A model is no edit of the other one.
    #[error("it has {after} tokens where the model before has {before}: their scores cannot be compared")]
    OtherTokens {
        /// Tokens of the model before.
        before: usize,
        /// Tokens of the model that is judged.
        after: usize,
    },
    /// How far a sequence has come cannot be read or kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
