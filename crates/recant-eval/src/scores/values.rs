//! The values of scores: of one case, and over many.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{COLUMNS, Column, Judged, Scorer};
use crate::probe::mean;

/// A value for every score, in the order of [`COLUMNS`]; `None` where it does not apply.
type Values = [Option<f64>; COLUMNS.len()];

/// Scores of one case; those of other scores' means have no value. What does not apply is `None`, and
/// [`not_applicable`](super::not_applicable) says why.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CaseScores(Values);

/// Scores over the cases of a run: means of [`CaseScores`], and what follows from means.
///
/// Probabilities of multi-token targets are per-token geometric means, as in the reference code of CounterFact.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Metrics(Values);

impl CaseScores {
    /// Scores a case.
    pub(crate) fn of(case: &Judged<'_>) -> Self {
        Self(std::array::from_fn(|at| match COLUMNS[at].scorer {
            Scorer::Case(score) => score(case),
            Scorer::Means(_) => None,
        }))
    }

    /// Every value, in the order of [`COLUMNS`].
    pub(crate) fn values(&self) -> &[Option<f64>] {
        &self.0
    }

    /// Whether the same scores apply to another case.
    pub(crate) fn applies_like(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a.is_some() == b.is_some())
    }

    /// The scores that apply to another case too.
    pub(crate) fn where_applies(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| other.0[at].and(self.0[at])))
    }

    /// A score; `None` where it does not apply.
    #[must_use]
    pub fn get(&self, column: &Column) -> Option<f64> {
        get(&self.0, column)
    }
}

impl Metrics {
    /// Means over cases, and what follows from them. Cases to which a score does not apply do not count towards it.
    #[must_use]
    pub fn of(scores: &[CaseScores]) -> Self {
        Self::from_means(|at| mean(scores.iter().filter_map(|case| case.0[at])))
    }

    /// The scores of which the means are these, by their place in [`COLUMNS`].
    pub(crate) fn from_means(mean: impl Fn(usize) -> Option<f64>) -> Self {
        let mut metrics = Self::default();
        for (at, column) in COLUMNS.iter().enumerate() {
            metrics.0[at] = if column.is_of_case() { mean(at) } else { None };
        }
        let means = metrics;
        for (at, column) in COLUMNS.iter().enumerate() {
            if let Scorer::Means(score) = column.scorer {
                metrics.0[at] = score(&means);
            }
        }
        metrics
    }

    /// A score; `None` where it applies to no case.
    #[must_use]
    pub fn get(&self, column: &Column) -> Option<f64> {
        get(&self.0, column)
    }
}

fn get(values: &Values, column: &Column) -> Option<f64> {
    let at = COLUMNS.iter().position(|other| other.key == column.key)?;
    values[at]
}

/// Values by the keys of their scores. What is not named has none, and a key that is no score's is passed over: a report of
/// another version has other scores.
fn named<K: AsRef<str>>(pairs: impl IntoIterator<Item = (K, Option<f64>)>) -> Values {
    let mut values = Values::default();
    for (key, value) in pairs {
        if let Some(at) = COLUMNS.iter().position(|column| column.key == key.as_ref()) {
            values[at] = value;
        }
    }
    values
}

impl<K: AsRef<str>> FromIterator<(K, Option<f64>)> for CaseScores {
    fn from_iter<I: IntoIterator<Item = (K, Option<f64>)>>(pairs: I) -> Self {
        Self(named(pairs))
    }
}

impl<K: AsRef<str>> FromIterator<(K, Option<f64>)> for Metrics {
    fn from_iter<I: IntoIterator<Item = (K, Option<f64>)>>(pairs: I) -> Self {
        Self(named(pairs))
    }
}

impl Serialize for CaseScores {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let pairs = COLUMNS.iter().zip(self.0).filter(|(column, _)| column.is_of_case());
        to.collect_map(pairs.map(|(column, value)| (column.key, value)))
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(COLUMNS.iter().zip(self.0).map(|(column, value)| (column.key, value)))
    }
}

impl<'de> Deserialize<'de> for CaseScores {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<String, Option<f64>>::deserialize(from)?.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<String, Option<f64>>::deserialize(from)?.into_iter().collect())
    }
}
