//! The accuracies of EasyEdit: tokens in their places, teacher-forced.

use super::{Better, Column, Need, Scorer, Shown, Unit};
use crate::probe::{agreement, mean};

/// Token accuracy on the rewrite prompt.
pub const REWRITE_ACC: Column = Column {
    key: "rewrite_acc",
    title: "rewrite",
    counterfact: None,
    easyedit: Some("reliability"),
    unit: Unit::Share,
    better: Better::Higher,
    doc: "share of the new target's tokens that are the most probable ones in their place, on the prompt that was \
          rewritten",
    needs: &[],
    shown: Shown { rank: 7, bar: None, curve: true },
    scorer: Scorer::Case(|case| Some(case.edited(&case.prompt()).accuracy())),
};

/// Token accuracy on paraphrases.
pub const REPHRASE_ACC: Column = Column {
    key: "rephrase_acc",
    title: "rephrase",
    counterfact: None,
    easyedit: Some("generalisation"),
    unit: Unit::Share,
    better: Better::Higher,
    doc: "the same on other ways to ask",
    needs: &[Need::Paraphrase],
    shown: Shown { rank: 6, bar: None, curve: false },
    scorer: Scorer::Case(|case| mean(case.paraphrases().map(|prompt| case.edited(prompt).accuracy()))),
};

/// Token agreement with the unedited model on neighbourhood prompts.
pub const LOCALITY_ACC: Column = Column {
    key: "locality_acc",
    title: "locality",
    counterfact: None,
    easyedit: Some("locality"),
    unit: Unit::Share,
    better: Better::Higher,
    doc: "share of the true target's places on prompts about other subjects at which the most probable token is the \
          unedited model's; agreement, not correctness",
    needs: &[Need::Neighbour, Need::NeighbourTruth],
    shown: Shown { rank: 5, bar: None, curve: false },
    scorer: Scorer::Case(|case| {
        mean(case.neighbours().filter_map(|about| {
            let truth = about.truth.as_deref()?;
            let (before, after) = (case.before(&about.prompt, truth), case.after(&about.prompt, truth));
            Some(agreement(&before.best, &after.best))
        }))
    }),
};

/// Token accuracy on prompts whose answer follows from the fact.
pub const PORTABILITY_ACC: Column = Column {
    key: "portability_acc",
    title: "portability",
    counterfact: None,
    easyedit: Some("portability"),
    unit: Unit::Share,
    better: Better::Higher,
    doc: "the same as rewrite on prompts whose answer follows from the fact, each with its own answer",
    needs: &[Need::Consequence],
    shown: Shown { rank: 2, bar: None, curve: false },
    scorer: Scorer::Case(|case| {
        mean(case.consequences().map(|about| case.after(&about.prompt, &about.answer).accuracy()))
    }),
};
