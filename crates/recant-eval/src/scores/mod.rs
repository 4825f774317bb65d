//! The scores, each declared once: what it is called, how it is read, what it needs, and how it is computed.
//!
//! A score is a [`Column`] in a file of this folder and a line in [`COLUMNS`]. The table, `report.json`, the page, the chart,
//! intervals, comparisons and the documentation follow from that.

mod applies;
mod carry_over;
mod counterfact;
mod easyedit;
mod free;
mod judged;
#[cfg(test)]
mod tests;
mod top_kept;
mod values;

pub use applies::{Need, NotApplicable, not_applicable};
pub use carry_over::CARRY_OVER;
pub(crate) use counterfact::harmonic;
pub use counterfact::{EM, ES, NM, NS, PM, PS, S};
pub use easyedit::{LOCALITY_ACC, PORTABILITY_ACC, REPHRASE_ACC, REWRITE_ACC};
pub use free::{END_REPHRASE, END_REWRITE, FREE_REPHRASE, FREE_REWRITE};
pub use judged::Judged;
pub use top_kept::TOP_KEPT;
pub use values::{CaseScores, Metrics};

/// Every score, in the order of tables.
pub const COLUMNS: &[Column] = &[
    S,
    ES,
    EM,
    PS,
    PM,
    NS,
    NM,
    REWRITE_ACC,
    REPHRASE_ACC,
    LOCALITY_ACC,
    PORTABILITY_ACC,
    TOP_KEPT,
    CARRY_OVER,
    FREE_REWRITE,
    FREE_REPHRASE,
    END_REWRITE,
    END_REPHRASE,
];

/// A score as it is declared.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name in `report.json` and in `report.csv`.
    pub key: &'static str,
    /// Its head in tables.
    pub title: &'static str,
    /// What the CounterFact literature calls it.
    pub counterfact: Option<&'static str>,
    /// What EasyEdit calls it.
    pub easyedit: Option<&'static str>,
    /// Its range.
    pub unit: Unit,
    /// Which way it is good.
    pub better: Better,
    /// Its definition, in a clause.
    pub doc: &'static str,
    /// What a case must have for it to apply.
    pub needs: &'static [Need],
    /// Where it is shown, beside the tables that show every score.
    pub shown: Shown,
    /// How it is computed.
    pub(crate) scorer: Scorer,
}

/// The range of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// From 0 to 1.
    Share,
    /// A difference of two probabilities, from -1 to 1.
    Difference,
}

impl Unit {
    /// Least and greatest value.
    #[must_use]
    pub fn range(self) -> [f64; 2] {
        match self {
            Self::Share => [0.0, 1.0],
            Self::Difference => [-1.0, 1.0],
        }
    }
}

/// Which way a score is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

impl Better {
    /// How much better a score is that has grown by `difference`.
    #[must_use]
    pub fn gain(self, difference: f64) -> f64 {
        match self {
            Self::Higher => difference,
            Self::Lower => -difference,
        }
    }
}

/// Where a score is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Which scores go first from a table that is too wide: those with the lowest number. 0: they stand in a table of their
    /// own.
    pub rank: u8,
    /// The colour of its bars in the chart, red, green and blue, where it has some.
    pub bar: Option<[u8; 3]>,
    /// Whether it is followed along a sequence.
    pub curve: bool,
}

/// How a score is computed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scorer {
    /// From a case; over many cases it is the mean. `None` where it does not apply.
    Case(fn(&Judged<'_>) -> Option<f64>),
    /// From the means of others.
    Means(fn(&Metrics) -> Option<f64>),
}

impl Column {
    /// The score of that key.
    #[must_use]
    pub fn find(key: &str) -> Option<&'static Self> {
        COLUMNS.iter().find(|column| column.key == key)
    }

    /// Whether a single case has it.
    #[must_use]
    pub fn is_of_case(&self) -> bool {
        matches!(self.scorer, Scorer::Case(_))
    }

    /// The scores with bars in the chart.
    pub fn charted() -> impl Iterator<Item = &'static Self> {
        COLUMNS.iter().filter(|column| column.shown.bar.is_some())
    }

    /// The scores that are followed along a sequence.
    pub(crate) fn followed() -> impl Iterator<Item = &'static Self> {
        COLUMNS.iter().filter(|column| column.shown.curve)
    }
}
