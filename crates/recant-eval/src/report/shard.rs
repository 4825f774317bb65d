//! A report in parts, made on several machines, and put together again.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Failure, Report, Run};
use crate::runner::note_once;
use crate::scores::{Need, NotApplicable};

/// Every N-th case: the cases at the places `index - 1`, `index - 1 + of`, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which part, counted from 1.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

/// A text that names no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said:?} is no part: I/N is expected, such as 1/4 for the first of four")]
pub struct PartError {
    /// What was said.
    pub said: String,
}

impl FromStr for Part {
    type Err = PartError;

    fn from_str(said: &str) -> Result<Self, PartError> {
        let numbers =
            said.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Self { index, of }),
            _ => Err(PartError { said: said.to_owned() }),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}/{}", self.index, self.of)
    }
}

impl Part {
    /// Keeps what belongs to this part.
    pub fn keep<T>(self, all: &mut Vec<T>) {
        let mut at = 0;
        all.retain(|_| {
            at += 1;
            (at - 1) % self.of == self.index - 1
        });
    }

    /// How many of so many belong to this part.
    fn len(self, all: usize) -> usize {
        all.saturating_sub(self.index - 1).div_ceil(self.of)
    }
}

/// Which part of an evaluation a report is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The part.
    #[serde(flatten)]
    pub part: Part,
    /// Cases of all parts together.
    pub cases: usize,
    /// Everything that decides the runs, by name: what it has to agree in with the other parts.
    pub about: BTreeMap<String, String>,
}

/// Reports that are not the parts of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// There is no report.
    #[error("there is no report to merge")]
    None,
    /// A report is a whole one.
    #[error("{report} is a whole report and no shard")]
    Whole {
        /// The report.
        report: String,
    },
    /// A report says of itself that it is a part that there is not.
    #[error("{report} says that it is shard {part}, which there is not: it is damaged")]
    NoPart {
        /// The report.
        report: String,
        /// The part.
        part: Part,
    },
    /// Two reports are of the same part.
    #[error("{first} and {second} are both shard {part}: they overlap")]
    Twice {
        /// The part.
        part: Part,
        /// One report.
        first: String,
        /// The other one.
        second: String,
    },
    /// Parts are missing.
    #[error("shards are missing: {}", .parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Missing {
        /// The parts.
        parts: Vec<Part>,
    },
    /// A report was made otherwise than the first one.
    #[error("{report} was made with another {what} than {first}")]
    Other {
        /// What differs.
        what: String,
        /// The report.
        report: String,
        /// The first one.
        first: String,
    },
    /// A report does not hold what its part says.
    #[error("{report}: its run {run} has {found} cases, and a shard {part} of {all} cases has {expected}")]
    Cases {
        /// The report.
        report: String,
        /// The run's label.
        run: String,
        /// The part.
        part: Part,
        /// Cases of all parts.
        all: usize,
        /// Cases that it has.
        found: usize,
        /// Cases that it should have.
        expected: usize,
    },
}

/// Puts the parts of an evaluation together, each with the name by which an error tells it. What comes out is the report of
/// the whole, but for seconds and memory.
///
/// # Errors
/// [`MergeError`].
pub fn merge(named: Vec<(String, Report)>) -> Result<Report, MergeError> {
    let mut parts: BTreeMap<usize, (String, Shard, Report)> = BTreeMap::new();
    let mut first: Option<(String, Shard)> = None;
    for (name, mut report) in named {
        let Some(shard) = report.shard.take() else { return Err(MergeError::Whole { report: name }) };
        if !(1..=shard.part.of).contains(&shard.part.index) {
            return Err(MergeError::NoPart { report: name, part: shard.part });
        }
        let (like, what) = match &first {
            None => (name.clone(), None),
            Some((like, other)) => (like.clone(), differs(&shard, other)),
        };
        if let Some(what) = what {
            return Err(MergeError::Other { what, report: name, first: like });
        }
        first.get_or_insert_with(|| (name.clone(), shard.clone()));
        if let Some((other, ..)) = parts.get(&shard.part.index) {
            return Err(MergeError::Twice { part: shard.part, first: other.clone(), second: name });
        }
        parts.insert(shard.part.index, (name, shard, report));
    }
    let Some((like, Shard { part: Part { of, .. }, cases, .. })) = first else {
        return Err(MergeError::None);
    };
    if parts.len() < of {
        // A hostile report may say that there are billions.
        let missing = (1..=of).filter(|index| !parts.contains_key(index)).take(8);
        return Err(MergeError::Missing { parts: missing.map(|index| Part { index, of }).collect() });
    }
    check(&parts, &like)?;
    let reports: Vec<Report> = parts.into_values().map(|(_, _, report)| report).collect();
    Ok(joined(reports, cases).with_confidence())
}

/// What two parts of one evaluation cannot differ in.
fn differs(shard: &Shard, other: &Shard) -> Option<String> {
    if shard.part.of != other.part.of {
        return Some("number of shards".to_owned());
    }
    if shard.cases != other.cases {
        return Some("number of cases".to_owned());
    }
    let names: BTreeSet<&String> = shard.about.keys().chain(other.about.keys()).collect();
    names.into_iter().find(|name| shard.about.get(*name) != other.about.get(*name)).cloned()
}

/// Whether every report has the runs of the first one, each with the cases of its part.
fn check(parts: &BTreeMap<usize, (String, Shard, Report)>, like: &str) -> Result<(), MergeError> {
    let Some((_, _, first)) = parts.values().next() else { return Ok(()) };
    for (name, shard, report) in parts.values() {
        let other = |what: &str| MergeError::Other {
            what: what.to_owned(),
            report: name.clone(),
            first: like.to_owned(),
        };
        let labels = |report: &Report| report.runs.iter().map(Run::label).collect::<Vec<_>>();
        if labels(report) != labels(first) {
            return Err(other("list of runs"));
        }
        for (run, expected) in report.runs.iter().zip(&first.runs) {
            if run.settings != expected.settings {
                return Err(other("setting"));
            }
            let (found, expected) = (run.results.len(), shard.part.len(shard.cases));
            if found != expected {
                let (part, all) = (shard.part, shard.cases);
                let (report, run) = (name.clone(), run.label());
                return Err(MergeError::Cases { report, run, part, all, found, expected });
            }
        }
    }
    Ok(())
}

/// The report of the whole.
fn joined(reports: Vec<Report>, cases: usize) -> Report {
    let mut whole = reports[0].clone();
    for at in 0..whole.runs.len() {
        whole.runs[at] = joined_run(reports.iter().map(|report| &report.runs[at]).collect(), cases);
    }
    let ids = whole.runs.first().map(|run| run.results.iter().map(|case| case.case_id).collect::<Vec<_>>());
    let place = places(&ids.unwrap_or_default());
    whole.data.cases = cases;
    whole.data.not_applicable = not_applicable(&reports, &place);
    whole
}

/// Where the case of a number comes first.
fn places(ids: &[u64]) -> impl Fn(&u64) -> usize + use<> {
    let mut places = BTreeMap::new();
    for (at, &id) in ids.iter().enumerate() {
        places.entry(id).or_insert(at);
    }
    move |id| places.get(id).copied().unwrap_or(usize::MAX)
}

fn joined_run(parts: Vec<&Run>, cases: usize) -> Run {
    let first = parts[0];
    let results: Vec<_> =
        (0..cases).map(|at| parts[at % parts.len()].results[at / parts.len()].clone()).collect();
    let place = places(&results.iter().map(|case| case.case_id).collect::<Vec<_>>());
    let mut failures: Vec<Failure> = parts.iter().flat_map(|run| run.failures.iter().cloned()).collect();
    failures.sort_by_key(|failure| place(&failure.case_id));
    let mut notes = Vec::new();
    parts.iter().for_each(|run| note_once(&mut notes, run.notes.iter().cloned()));
    let seconds: f64 = results.iter().filter_map(|case| case.seconds).sum();
    Run {
        cases,
        notes,
        metrics: crate::runner::metrics(&results),
        seconds_per_edit: first.seconds_per_edit.map(|_| seconds / cases.max(1) as f64),
        peak_rss_bytes: parts.iter().filter_map(|run| run.peak_rss_bytes).max(),
        rollback_exact: first
            .rollback_exact
            .map(|_| parts.iter().all(|run| run.rollback_exact == Some(true))),
        failures,
        state_bytes: parts.iter().filter_map(|run| run.state_bytes).max(),
        results,
        ..first.clone()
    }
}

fn not_applicable(reports: &[Report], place: &dyn Fn(&u64) -> usize) -> Vec<NotApplicable> {
    let mut found: Vec<NotApplicable> = Vec::new();
    for told in reports.iter().flat_map(|report| &report.data.not_applicable) {
        match found.iter_mut().find(|known| known.reason == told.reason) {
            Some(known) => known.cases.extend(&told.cases),
            None => found.push(told.clone()),
        }
    }
    found.iter_mut().for_each(|told| told.cases.sort_by_key(place));
    found.sort_by_key(|told| Need::ALL.iter().position(|need| need.reason() == told.reason));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_all_cases_out() {
        for (all, of) in [(0, 1), (1, 1), (5, 3), (6, 3), (7, 3), (2, 5), (100, 7)] {
            let mut seen = Vec::new();
            for index in 1..=of {
                let part: Part = format!("{index}/{of}").parse().unwrap();
                let mut cases: Vec<usize> = (0..all).collect();
                part.keep(&mut cases);
                assert_eq!(cases.len(), part.len(all), "{part} of {all}");
                assert!(cases.iter().all(|at| at % of == index - 1));
                seen.extend(cases);
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..all).collect::<Vec<_>>());
        }
        for wrong in ["", "1", "0/0", "0/2", "3/2", "1/", "-1/2", "1/2/3", "1 /2"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }

    /// What a report says of its part is not believed.
    #[test]
    fn parts_that_cannot_be_are_refused() {
        let report = |index: usize, of: usize| {
            let json = serde_json::json!({
                "schema": 2, "version": "", "device": "", "seed": 0, "statistics": null, "runs": [],
                "model": { "path": "", "architecture": "", "layers": 0, "d_model": 0, "d_mlp": 0, "digest": "", "bytes": 0 },
                "data": { "path": "", "cases": 0, "available": 0 },
                "shard": { "index": index, "of": of, "cases": usize::MAX, "about": {} },
            });
            (format!("{index}/{of}"), serde_json::from_value::<Report>(json).unwrap())
        };
        for part in [(0, 0), (0, 1), (2, 1)] {
            let told = merge(vec![report(part.0, part.1)]);
            assert!(matches!(told, Err(MergeError::NoPart { .. })), "{part:?}");
        }
        let told = merge(vec![report(2, usize::MAX)]).unwrap_err();
        assert!(matches!(&told, MergeError::Missing { parts } if parts.len() == 8 && parts[1].index == 3));
        assert_eq!(merge(vec![]), Err(MergeError::None));
        assert_eq!(merge(vec![report(1, 1)]).unwrap().data.cases, usize::MAX);
    }
}
