//! What a report says of how sure its scores are.

use serde::{Deserialize, Serialize};

use super::{Report, Run};
use crate::scores::{CaseScores, Column};
use crate::uncertainty::{Bootstrap, ByScore, Difference, Sample};

/// Cases below which an interval is rough itself.
const FEW: usize = 30;
/// Intervals wider than this settle no difference that matters.
const WIDE: f64 = 0.1;

/// What one run scores more than another one on the same cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunDifference {
    /// The run, by its label.
    pub run: String,
    /// The run whose scores are taken from it.
    pub minus: String,
    /// The differences.
    pub scores: ByScore<Difference>,
}

impl RunDifference {
    /// The difference of a score, where it is known.
    #[must_use]
    pub fn of(&self, column: &Column) -> Option<Difference> {
        self.scores.get(column.key).copied().flatten()
    }
}

impl Report {
    /// The report with an interval for every score of every run, the paired differences between its methods, and a word
    /// where there are too few cases to tell. What it said of them before is replaced.
    #[must_use]
    pub fn with_confidence(mut self) -> Self {
        let bootstrap = Bootstrap::with_seed(self.seed);
        let scores = |run: &Run| -> Vec<CaseScores> { run.results.iter().map(|case| case.scores).collect() };
        let samples: Vec<Sample> = self.runs.iter().map(|run| Sample::draw(scores(run), bootstrap)).collect();
        for (run, sample) in self.runs.iter_mut().zip(&samples) {
            run.intervals = sample.intervals();
        }
        let edited: Vec<(&Run, &Sample)> =
            self.runs.iter().zip(&samples).filter(|(run, _)| !run.is_unedited()).collect();
        let mut differences = Vec::new();
        for (at, (first, ours)) in edited.iter().enumerate() {
            let same = edited[at + 1..].iter().filter(|(second, _)| same_cases(first, second));
            differences.extend(same.map(|(second, theirs)| RunDifference {
                run: first.label(),
                minus: second.label(),
                scores: ours.minus(theirs),
            }));
        }
        self.cautions = cautions(&self.runs);
        self.differences = differences;
        self.bootstrap = Some(bootstrap);
        self
    }
}

/// Whether two runs are of the same cases, in the same order.
fn same_cases(a: &Run, b: &Run) -> bool {
    let names = |run: &Run| run.results.iter().map(|case| case.case_id).collect::<Vec<_>>();
    names(a) == names(b)
}

/// What the cases are too few for.
fn cautions(runs: &[Run]) -> Vec<String> {
    let edited = || runs.iter().filter(|run| !run.is_unedited());
    let least = edited().map(|run| run.results.len()).min().filter(|&cases| cases > 0 && cases < FEW);
    let few = least.map(|cases| {
        let are = if cases == 1 { "case is" } else { "cases are" };
        format!("{cases} {are} fewer than {FEW}: intervals of so few are rough themselves")
    });
    let wide = |run: &Run| {
        let is_wide = |column: &&Column| run.interval(column).is_some_and(|interval| interval.width() > WIDE);
        let names: Vec<&str> = Column::charted().filter(is_wide).map(|column| column.title).collect();
        (!names.is_empty()).then(|| format!("{} {}", run.label(), names.join(", ")))
    };
    let wide: Vec<String> = edited().filter_map(wide).collect();
    let wide = (!wide.is_empty())
        .then(|| format!("intervals wider than {WIDE}, which more cases would narrow: {}", wide.join("; ")));
    few.into_iter().chain(wide).collect()
}
