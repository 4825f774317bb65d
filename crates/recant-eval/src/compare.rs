//! Two reports beside each other: what changed, over the cases that both have.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::{CaseResult, Report, Run};
use crate::scores::{COLUMNS, CaseScores, Column, Metrics};
use crate::uncertainty::{Bootstrap, ByScore, Difference, Sample};

/// What changed from one report to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What the two reports say differently of themselves: the model, the data, the device and so on.
    pub differing: Vec<Differing>,
    /// How intervals were made.
    pub bootstrap: Bootstrap,
    /// Every method and scenario that both have.
    pub runs: Vec<RunChange>,
    /// Runs that only the first report has, by their labels.
    pub only_first: Vec<String>,
    /// Runs that only the second has.
    pub only_second: Vec<String>,
}

/// Something that two reports say differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differing {
    /// What.
    pub what: String,
    /// In the first report.
    pub first: String,
    /// In the second.
    pub second: String,
}

/// What changed in one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunChange {
    /// The run's label in the first report.
    pub run: String,
    /// Cases that both have.
    pub cases: usize,
    /// Settings that differ.
    pub settings: Vec<Differing>,
    /// Every score over those cases; null where it applies in neither or in one alone.
    pub scores: ByScore<Change>,
}

/// What changed in one score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Change {
    /// In the first report, over the cases that both have.
    pub first: f64,
    /// In the second.
    pub second: f64,
    /// The second minus the first.
    #[serde(flatten)]
    pub difference: Difference,
    /// Whether that is more than the choice of the cases explains.
    pub tendency: Tendency,
}

/// What a difference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tendency {
    /// Better, beyond noise.
    Better,
    /// Worse, beyond noise.
    Worse,
    /// The interval of the difference holds zero.
    Noise,
}

impl Change {
    fn of(column: &Column, first: f64, second: f64, difference: Difference) -> Self {
        let tendency = match difference.is_beyond_noise() {
            false => Tendency::Noise,
            true if column.better.gain(difference.difference) > 0.0 => Tendency::Better,
            true => Tendency::Worse,
        };
        Self { first, second, difference, tendency }
    }
}

/// Two reports that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// They are of different data.
    #[error("the reports share no case: the first is of {first}, the second of {second}")]
    NoCase {
        /// The data set of the first.
        first: String,
        /// The data set of the second.
        second: String,
    },
    /// No method in the same scenario is in both.
    #[error("no run is in both reports: the first has {}, the second {}", .first.join(", "), .second.join(", "))]
    NoRun {
        /// Runs of the first.
        first: Vec<String>,
        /// Runs of the second.
        second: Vec<String>,
    },
}

/// What a case is known by: a report does not say more of it.
type CaseName<'a> = (u64, &'a str, &'a str);

fn name(case: &CaseResult) -> CaseName<'_> {
    (case.case_id, &case.subject, &case.target_new)
}

/// Compares the runs that two reports share, over the cases that both have.
///
/// # Errors
/// [`CompareError`].
pub fn compare(first: &Report, second: &Report) -> Result<Comparison, CompareError> {
    let bootstrap = Bootstrap::with_seed(first.seed);
    let same = |a: &Run, b: &Run| (&a.method, &a.scenario, a.step) == (&b.method, &b.scenario, b.step);
    let mut runs = Vec::new();
    let mut paired = 0;
    for before in &first.runs {
        let Some(after) = second.runs.iter().find(|after| same(before, after)) else { continue };
        paired += 1;
        let change = change(before, after, bootstrap);
        runs.extend((change.cases > 0).then_some(change));
    }
    if paired == 0 {
        let labels = |report: &Report| report.runs.iter().map(Run::label).collect();
        return Err(CompareError::NoRun { first: labels(first), second: labels(second) });
    }
    if runs.is_empty() {
        let [first, second] = [first, second].map(|report| report.data.path.clone());
        return Err(CompareError::NoCase { first, second });
    }
    let only = |these: &Report, those: &Report| {
        let alone = these.runs.iter().filter(|run| !those.runs.iter().any(|other| same(run, other)));
        alone.map(Run::label).collect()
    };
    Ok(Comparison {
        differing: differing(&about(first), &about(second)),
        bootstrap,
        runs,
        only_first: only(first, second),
        only_second: only(second, first),
    })
}

fn change(before: &Run, after: &Run, bootstrap: Bootstrap) -> RunChange {
    let known: BTreeMap<CaseName<'_>, &CaseResult> =
        after.results.iter().map(|case| (name(case), case)).collect();
    let both = before.results.iter().filter_map(|case| Some((case.scores, known.get(&name(case))?.scores)));
    let (ours, theirs): (Vec<CaseScores>, Vec<CaseScores>) =
        both.map(|(a, b)| (a.where_applies(&b), b.where_applies(&a))).unzip();
    let (first, second) = (Metrics::of(&ours), Metrics::of(&theirs));
    let cases = ours.len();
    let differences = Sample::draw(theirs, bootstrap).minus(&Sample::draw(ours, bootstrap));
    let of = |column: &Column| {
        let difference = differences.get(column.key).copied().flatten()?;
        Some(Change::of(column, first.get(column)?, second.get(column)?, difference))
    };
    RunChange {
        run: before.label(),
        cases,
        settings: differing(&before.settings, &after.settings),
        scores: COLUMNS.iter().map(|column| (column.key.to_owned(), of(column))).collect(),
    }
}

/// What a report says of itself, by name.
fn about(report: &Report) -> BTreeMap<String, String> {
    let corpus = report.statistics.as_ref().map_or("none", |from| &from.corpus);
    let pairs = [
        ("version", report.version.clone()),
        ("model", report.model.digest.clone()),
        ("data", report.data.path.clone()),
        ("cases", report.data.cases.to_string()),
        ("device", report.device.clone()),
        ("seed", report.seed.to_string()),
        ("corpus of the statistics", corpus.to_owned()),
    ];
    pairs.into_iter().map(|(what, value)| (what.to_owned(), value)).collect()
}

/// What two maps say differently.
fn differing(first: &BTreeMap<String, String>, second: &BTreeMap<String, String>) -> Vec<Differing> {
    let mut names: Vec<&String> = first.keys().chain(second.keys()).collect();
    names.sort();
    names.dedup();
    let said =
        |map: &BTreeMap<String, String>, name| map.get(name).cloned().unwrap_or_else(|| "-".to_owned());
    let both = names.into_iter().map(|name| Differing {
        what: name.clone(),
        first: said(first, name),
        second: said(second, name),
    });
    both.filter(|both| both.first != both.second).collect()
}

/// The least that a score may gain from one report to another; below zero it is a loss that is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Threshold {
    /// The score.
    pub score: &'static Column,
    /// The least gain, in the direction in which the score is good.
    pub least: f64,
}

/// What a threshold forbids.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Shortfall {
    /// A score gained less.
    #[error("{run}: {score} gained {gain:+.4}, at least {least:+.4} was asked")]
    Below {
        /// The run.
        run: String,
        /// The score.
        score: &'static str,
        /// What it gained.
        gain: f64,
        /// What was asked.
        least: f64,
    },
    /// A score applies to no case that both reports have.
    #[error("{run}: {score} cannot be compared")]
    Unknown {
        /// The run.
        run: String,
        /// The score.
        score: &'static str,
    },
    /// A run of the first report is not in the second.
    #[error("{run}: the second report has no such run")]
    Gone {
        /// The run.
        run: String,
    },
}

impl Comparison {
    /// Every run that falls short of a threshold. A difference counts as it is, within noise or not: on the same cases
    /// with the same seed there is none. A run that is gone falls short of every threshold.
    #[must_use]
    pub fn shortfalls(&self, thresholds: &[Threshold]) -> Vec<Shortfall> {
        let of_run = |change: &RunChange, threshold: &Threshold| {
            let (run, score, least) = (change.run.clone(), threshold.score.key, threshold.least);
            let Some(found) = change.scores.get(score).copied().flatten() else {
                return Some(Shortfall::Unknown { run, score });
            };
            let gain = threshold.score.better.gain(found.difference.difference);
            (gain < least).then_some(Shortfall::Below { run, score, gain, least })
        };
        let gone = self.only_first.iter().filter(|_| !thresholds.is_empty());
        let gone = gone.map(|run| Shortfall::Gone { run: run.clone() });
        let below =
            self.runs.iter().flat_map(|run| thresholds.iter().filter_map(move |least| of_run(run, least)));
        gone.chain(below).collect()
    }
}
