//! The scores of CounterFact (Meng et al. 2022): which of two answers a model prefers, and by how much.

use super::{Better, Column, Judged, Need, Scorer, Shown, Unit};
use crate::dataset::Neighbour;
use crate::probe::mean;

const REWRITE: &[Need] = &[Need::Former, Need::OtherFormer];
const PARAPHRASE: &[Need] = &[Need::Former, Need::OtherFormer, Need::Paraphrase];
const NEIGHBOUR: &[Need] = &[Need::Neighbour, Need::NeighbourTruth, Need::OtherNeighbourTruth];

/// The means above the others: they are what is read first.
const FIRST: u8 = 10;
/// Magnitudes say the same in another unit.
const MAGNITUDE: u8 = 1;

// Okabe and Ito's colours, which stay apart for colour-blind readers, and a grey for the mean of the three.
const fn bar(colour: [u8; 3], curve: bool) -> Shown {
    Shown { rank: FIRST, bar: Some(colour), curve }
}

const NO_BAR: Shown = Shown { rank: MAGNITUDE, bar: None, curve: false };

/// Harmonic mean of ES, PS and NS.
pub const S: Column = Column {
    key: "S",
    title: "S",
    counterfact: Some("score"),
    easyedit: None,
    unit: Unit::Share,
    better: Better::Higher,
    doc: "harmonic mean of ES, PS and NS; 0 where one of them is 0",
    needs: &[],
    shown: bar([0x6B, 0x72, 0x80], false),
    scorer: Scorer::Means(|means| harmonic([means.get(&ES)?, means.get(&PS)?, means.get(&NS)?])),
};

/// Efficacy.
pub const ES: Column = Column {
    key: "ES",
    title: "ES",
    counterfact: Some("efficacy"),
    easyedit: Some("reliability"),
    unit: Unit::Share,
    better: Better::Higher,
    doc: "share of cases with P(new) > P(true) on the prompt that was rewritten",
    needs: REWRITE,
    shown: bar([0x00, 0x72, 0xB2], true),
    scorer: Scorer::Case(|case| wins(case, &case.prompt())),
};

/// Efficacy's magnitude.
pub const EM: Column = Column {
    key: "EM",
    title: "EM",
    counterfact: Some("efficacy magnitude"),
    easyedit: None,
    unit: Unit::Difference,
    better: Better::Higher,
    doc: "mean P(new) - P(true) on the prompt that was rewritten",
    needs: REWRITE,
    shown: NO_BAR,
    scorer: Scorer::Case(|case| gain(case, &case.prompt())),
};

/// Paraphrases.
pub const PS: Column = Column {
    key: "PS",
    title: "PS",
    counterfact: Some("paraphrase"),
    easyedit: Some("generalisation"),
    unit: Unit::Share,
    better: Better::Higher,
    doc: "share of other ways to ask with P(new) > P(true)",
    needs: PARAPHRASE,
    shown: bar([0xE6, 0x9F, 0x00], true),
    scorer: Scorer::Case(|case| mean(case.paraphrases().filter_map(|prompt| wins(case, prompt)))),
};

/// The paraphrases' magnitude.
pub const PM: Column = Column {
    key: "PM",
    title: "PM",
    counterfact: Some("paraphrase magnitude"),
    easyedit: None,
    unit: Unit::Difference,
    better: Better::Higher,
    doc: "mean P(new) - P(true) over other ways to ask",
    needs: PARAPHRASE,
    shown: NO_BAR,
    scorer: Scorer::Case(|case| mean(case.paraphrases().filter_map(|prompt| gain(case, prompt)))),
};

/// Neighbourhood.
pub const NS: Column = Column {
    key: "NS",
    title: "NS",
    counterfact: Some("neighbourhood"),
    easyedit: Some("locality"),
    unit: Unit::Share,
    better: Better::Higher,
    doc: "share of prompts about other subjects, whose answer should stay, with P(true) > P(new)",
    needs: NEIGHBOUR,
    shown: bar([0x00, 0x9E, 0x73], true),
    scorer: Scorer::Case(|case| mean(case.neighbours().filter_map(|about| stays(case, about)))),
};

/// The neighbourhood's magnitude.
pub const NM: Column = Column {
    key: "NM",
    title: "NM",
    counterfact: Some("neighbourhood magnitude"),
    easyedit: None,
    unit: Unit::Difference,
    better: Better::Higher,
    doc: "mean P(true) - P(new) over prompts about other subjects",
    needs: NEIGHBOUR,
    shown: NO_BAR,
    scorer: Scorer::Case(|case| mean(case.neighbours().filter_map(|about| lead(case, about)))),
};

fn wins(case: &Judged<'_>, prompt: &str) -> Option<f64> {
    let truth = case.after(prompt, case.former()?).mean_log_prob;
    Some(f64::from(case.edited(prompt).mean_log_prob > truth))
}

fn gain(case: &Judged<'_>, prompt: &str) -> Option<f64> {
    Some(case.edited(prompt).probability() - case.after(prompt, case.former()?).probability())
}

fn stays(case: &Judged<'_>, about: &Neighbour) -> Option<f64> {
    let truth = case.after(&about.prompt, case.rival(&about.truth)?).mean_log_prob;
    Some(f64::from(truth > case.edited(&about.prompt).mean_log_prob))
}

fn lead(case: &Judged<'_>, about: &Neighbour) -> Option<f64> {
    let truth = case.after(&about.prompt, case.rival(&about.truth)?).probability();
    Some(truth - case.edited(&about.prompt).probability())
}

/// Harmonic mean; 0 where one is 0, `None` of none.
pub(crate) fn harmonic(parts: impl IntoIterator<Item = f64>) -> Option<f64> {
    let parts: Vec<f64> = parts.into_iter().collect();
    if parts.contains(&0.0) {
        return Some(0.0);
    }
    (!parts.is_empty()).then(|| parts.len() as f64 / parts.iter().map(|x| 1.0 / x).sum::<f64>())
}
