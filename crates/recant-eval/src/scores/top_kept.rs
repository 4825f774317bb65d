//! Whether a model still begins its answers about other subjects as it did.

use super::{Better, Column, Need, Scorer, Shown, Unit};
use crate::probe::{ProbeScore, mean};

/// Neighbourhood prompts whose most probable next token is the unedited model's.
pub const TOP_KEPT: Column = Column {
    key: "top_kept",
    title: "top kept",
    counterfact: None,
    easyedit: None,
    unit: Unit::Share,
    better: Better::Higher,
    doc: "share of prompts about other subjects whose most probable next token is the unedited model's; it needs no true \
          answer",
    needs: &[Need::Neighbour],
    shown: Shown { rank: 4, bar: None, curve: false },
    scorer: Scorer::Case(|case| {
        let first = |score: &ProbeScore| score.answers.first().map(|answer| answer.id);
        let keeps = |prompt: &str| {
            let before = first(case.unedited(prompt));
            f64::from(before.is_some() && before == first(case.edited(prompt)))
        };
        mean(case.neighbours().map(|about| keeps(&about.prompt)))
    }),
};
