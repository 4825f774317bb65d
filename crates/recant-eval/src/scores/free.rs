//! What the edited model writes by itself, where the teacher-forced scores dictate the answer.

use super::{Better, Column, Need, Scorer, Shown, Unit};

const fn declared(key: &'static str, title: &'static str, doc: &'static str) -> Column {
    Column {
        key,
        title,
        counterfact: None,
        easyedit: None,
        unit: Unit::Share,
        better: Better::Higher,
        doc,
        needs: &[],
        shown: Shown { rank: 0, bar: None, curve: false },
        scorer: Scorer::Case(|_| None),
    }
}

/// The answer to the rewritten prompt, written greedily over the target's length.
pub const FREE_REWRITE: Column = Column {
    scorer: Scorer::Case(|case| case.free?.rewrite),
    ..declared(
        "free_rewrite",
        "free rewrite",
        "1 where the model, which reads the rewritten prompt alone and writes greedily, writes the new target, over its length",
    )
};

/// The same on paraphrases.
pub const FREE_REPHRASE: Column = Column {
    needs: &[Need::Paraphrase],
    scorer: Scorer::Case(|case| case.free?.rephrase),
    ..declared(
        "free_rephrase",
        "free rephrase",
        "share of other ways to ask to which it writes the new target",
    )
};

/// The answer to the rewritten prompt, up to its own end.
pub const END_REWRITE: Column = Column {
    scorer: Scorer::Case(|case| case.free?.rewrite_natural),
    ..declared(
        "end_rewrite",
        "end rewrite",
        "1 where what it writes to the rewritten prompt up to the answer's own end (an end-of-text token, a full stop, a line \
         break) is the new target and no more",
    )
};

/// The same on paraphrases.
pub const END_REPHRASE: Column = Column {
    needs: &[Need::Paraphrase],
    scorer: Scorer::Case(|case| case.free?.rephrase_natural),
    ..declared(
        "end_rephrase",
        "end rephrase",
        "share of other ways to ask to which it writes the new target and no more",
    )
};
