//! What a case must have for a score to apply.

use serde::{Deserialize, Serialize};

use super::COLUMNS;
use crate::dataset::Case;

/// Something that a case must have for a score to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// A former answer.
    Former,
    /// A former answer that is not the new one.
    OtherFormer,
    /// A paraphrase.
    Paraphrase,
    /// A neighbourhood prompt.
    Neighbour,
    /// A true answer to every neighbourhood prompt.
    NeighbourTruth,
    /// True answers to neighbourhood prompts that are not the new one.
    OtherNeighbourTruth,
    /// A prompt whose answer follows from the fact.
    Consequence,
}

impl Need {
    /// Every need, in the order in which reports name them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Former,
        Self::OtherFormer,
        Self::Paraphrase,
        Self::Neighbour,
        Self::NeighbourTruth,
        Self::OtherNeighbourTruth,
        Self::Consequence,
    ];

    /// What is the case where it is missing.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Former => "the data set gives no former answer",
            Self::OtherFormer => "the new answer is the former one",
            Self::Paraphrase => "there is no paraphrase",
            Self::Neighbour => "there is no neighbourhood prompt",
            Self::NeighbourTruth => "a neighbourhood prompt has no true answer",
            Self::OtherNeighbourTruth => "a neighbourhood prompt's true answer is the new one",
            Self::Consequence => "there is no prompt whose answer follows from the fact",
        }
    }

    fn is_missing(self, case: &Case) -> bool {
        let new = Some(&case.fact.target);
        match self {
            Self::Former => case.target_true.is_none(),
            Self::OtherFormer => case.target_true.as_ref() == new,
            Self::Paraphrase => case.paraphrases.is_empty(),
            Self::Neighbour => case.neighbours.is_empty(),
            Self::NeighbourTruth => case.neighbours.iter().any(|about| about.truth.is_none()),
            Self::OtherNeighbourTruth => case.neighbours.iter().any(|about| about.truth.as_ref() == new),
            Self::Consequence => case.consequences.is_empty(),
        }
    }
}

/// Scores that do not apply to some cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotApplicable {
    /// Titles of the scores.
    pub scores: Vec<String>,
    /// Why.
    pub reason: String,
    /// The data set's numbers of the cases. Where the reason is about single prompts, a case's score is that of its
    /// other prompts.
    pub cases: Vec<u64>,
}

/// Which scores do not apply to which of some cases, and why.
#[must_use]
pub fn not_applicable(cases: &[Case]) -> Vec<NotApplicable> {
    let found = Need::ALL.into_iter().map(|need| {
        let scores = COLUMNS.iter().filter(|column| column.needs.contains(&need));
        NotApplicable {
            scores: scores.map(|column| column.title.to_owned()).collect(),
            reason: need.reason().to_owned(),
            cases: cases.iter().filter(|case| need.is_missing(case)).map(|case| case.id).collect(),
        }
    });
    found.filter(|found| !found.cases.is_empty()).collect()
}
