//! Whether a fact reaches the prompts on which the model showed the former one.

use super::{Better, Column, Need, Scorer, Shown, Unit};
use crate::probe::mean;

/// Paraphrases on which the unedited model shows the former answer and the edited one the new one.
pub const CARRY_OVER: Column = Column {
    key: "carry_over",
    title: "carry-over",
    counterfact: None,
    easyedit: None,
    unit: Unit::Share,
    better: Better::Higher,
    doc: "of the other ways to ask on which the unedited model shows the former answer (each of its tokens is the most \
          probable one), the share on which the edited one shows the new answer; cases with none do not count",
    needs: &[Need::Former, Need::OtherFormer, Need::Paraphrase],
    shown: Shown { rank: 1, bar: None, curve: false },
    scorer: Scorer::Case(|case| {
        let former = case.former()?;
        let shown = case.paraphrases().filter(|prompt| case.before(prompt, former).holds());
        mean(shown.map(|prompt| f64::from(case.edited(prompt).holds())))
    }),
};
