//! How sure scores are: bootstrap percentile intervals, by drawing cases anew (Efron 1979).
//!
//! The same seed draws the same cases whatever is scored on them, so that two runs on the same cases are resampled together,
//! and a difference of theirs is one of pairs.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::scores::{COLUMNS, CaseScores, Column, Metrics};

/// How often cases are drawn anew.
const RESAMPLES: usize = 2000;
/// The share of resamples that an interval holds.
const LEVEL: f64 = 0.95;

/// How intervals are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// How often as many cases as there are were drawn anew, with repetition.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// The share of resamples that an interval holds.
    pub level: f64,
}

impl Bootstrap {
    /// The usual one.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self { resamples: RESAMPLES, seed, level: LEVEL }
    }

    /// The interval of resampled values; `None` of none, and where one is no number.
    pub(crate) fn interval(&self, mut values: Vec<f64>, cases: usize) -> Option<Interval> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Some(Interval { low: quantile(&values, tail), high: quantile(&values, 1.0 - tail), cases })
    }
}

/// A quantile of sorted values, linear between two of them.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, part) = (place.floor(), place.fract());
    let (low, high) = (sorted[below as usize], sorted[place.ceil() as usize]);
    // Where both are one, no rounding shall part them.
    if low == high { low } else { low + part * (high - low) }
}

/// Where a score lies, by the cases that were scored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Cases to which the score applies.
    pub cases: usize,
}

impl Interval {
    /// Length.
    #[must_use]
    pub fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// The difference of a score between two runs on the same cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The difference of the scores.
    pub difference: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Cases to which the score applies in both.
    pub cases: usize,
}

impl Difference {
    /// Whether there is none, in any resample.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        (self.difference, self.low, self.high) == (0.0, 0.0, 0.0)
    }

    /// Whether the interval does not hold zero.
    #[must_use]
    pub fn is_beyond_noise(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Something for every score, by its key; null where it does not apply.
pub type ByScore<T> = BTreeMap<String, Option<T>>;

/// Cases with what they score when drawn anew.
#[derive(Debug, Clone)]
pub struct Sample {
    cases: Vec<CaseScores>,
    resampled: Vec<Metrics>,
    bootstrap: Bootstrap,
}

impl Sample {
    /// Draws.
    #[must_use]
    pub fn draw(cases: Vec<CaseScores>, bootstrap: Bootstrap) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
        let resampled = match u32::try_from(cases.len()) {
            Ok(count) if count > 0 => {
                let one = |_| {
                    let drawn = (0..count).map(|_| rng.random_range(0..count) as usize);
                    means(drawn.map(|at| &cases[at]))
                };
                (0..bootstrap.resamples).map(one).collect()
            }
            _ => Vec::new(),
        };
        Self { cases, resampled, bootstrap }
    }

    /// What each draw scores. Samples of as many cases by the same bootstrap have the same draws.
    pub(crate) fn resampled(&self) -> &[Metrics] {
        &self.resampled
    }

    /// An interval for every score.
    #[must_use]
    pub fn intervals(&self) -> ByScore<Interval> {
        let of = |column: &Column| {
            let values = self.resampled.iter().filter_map(|metrics| metrics.get(column)).collect();
            self.bootstrap.interval(values, self.applicable(column))
        };
        COLUMNS.iter().map(|column| (column.key.to_owned(), of(column))).collect()
    }

    /// Cases to which a score applies; of a score that follows from means, all.
    fn applicable(&self, column: &Column) -> usize {
        let applies = |case: &&CaseScores| !column.is_of_case() || case.get(column).is_some();
        self.cases.iter().filter(applies).count()
    }

    /// What the scores of this sample are more than those of another one of the same cases in the same order, each over the
    /// cases to which it applies in both.
    #[must_use]
    pub fn minus(&self, other: &Self) -> ByScore<Difference> {
        let pairs = || self.cases.iter().zip(&other.cases);
        if !pairs().all(|(a, b)| a.applies_like(b)) {
            let (ours, theirs) = pairs().map(|(a, b)| (a.where_applies(b), b.where_applies(a))).unzip();
            return Self::draw(ours, self.bootstrap).minus(&Self::draw(theirs, self.bootstrap));
        }
        let (ours, theirs) = (Metrics::of(&self.cases), Metrics::of(&other.cases));
        let of = |column: &Column| {
            let minus = |(a, b): (&Metrics, &Metrics)| Some(a.get(column)? - b.get(column)?);
            let values = self.resampled.iter().zip(&other.resampled).filter_map(minus).collect();
            let interval = self.bootstrap.interval(values, self.applicable(column))?;
            let difference = minus((&ours, &theirs))?;
            let Interval { low, high, cases } = interval;
            Some(Difference { difference, low, high, cases })
        };
        COLUMNS.iter().map(|column| (column.key.to_owned(), of(column))).collect()
    }
}

/// Means over cases that may come more than once.
fn means<'a>(drawn: impl Iterator<Item = &'a CaseScores>) -> Metrics {
    let mut sums = [(0.0, 0u32); COLUMNS.len()];
    for case in drawn {
        for ((sum, count), value) in sums.iter_mut().zip(case.values()) {
            if let Some(value) = value {
                *sum += value;
                *count += 1;
            }
        }
    }
    Metrics::from_means(|at| {
        let (sum, count) = sums[at];
        (count > 0).then(|| sum / f64::from(count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::{EM, ES, NS, PS, S};

    const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 2000, seed: 7, level: 0.95 };

    fn case(es: f64, em: f64) -> CaseScores {
        [("ES", Some(es)), ("EM", Some(em))].into_iter().collect()
    }

    fn interval(cases: Vec<CaseScores>, column: &Column) -> Option<Interval> {
        Sample::draw(cases, BOOTSTRAP).intervals()[column.key]
    }

    #[test]
    fn one_case_or_equal_cases_leave_no_doubt() {
        let point = |value, cases| Some(Interval { low: value, high: value, cases });
        assert_eq!(interval(vec![case(1.0, 0.3)], &EM), point(0.3, 1));
        assert_eq!(interval(vec![case(0.0, 0.25); 40], &EM), point(0.25, 40));
        assert_eq!(interval(vec![], &EM), None);
        assert_eq!(interval(vec![case(1.0, 0.3)], &NS), None, "a score that applies to no case");
        assert_eq!(interval(vec![case(1.0, f64::NAN)], &EM), None);
    }

    /// Two cases, 0 and 1: a resample's mean is 0, 1/2 or 1 with the probabilities 1/4, 1/2, 1/4, so 95 % reach from 0 to 1.
    /// Of four of which one is 1, the mean is 0 with 0.316 and above 3/4 with 0.004: from 0 to 3/4.
    #[test]
    fn small_samples_have_the_intervals_of_their_binomials() {
        let of = |values: &[f64]| interval(values.iter().map(|&es| case(es, 0.0)).collect(), &ES).unwrap();
        let two = of(&[0.0, 1.0]);
        assert_eq!((two.low, two.high, two.cases), (0.0, 1.0, 2));
        let four = of(&[0.0, 0.0, 1.0, 0.0]);
        assert_eq!((four.low, four.high), (0.0, 0.75));
        assert_eq!(of(&[0.0, 0.0, 1.0, 0.0]), four, "the seed decides");
    }

    #[test]
    fn quantiles_are_linear_between_values() {
        let sorted = [0.0, 1.0, 2.0, 10.0];
        assert_eq!([0.0, 0.5, 1.0, 0.25].map(|share| quantile(&sorted, share)), [0.0, 1.5, 10.0, 0.75]);
    }

    /// Of 200 samples of 60 throws of a coin that falls right with 0.7, about 95 in a hundred intervals hold 0.7.
    #[test]
    fn about_as_many_intervals_hold_the_truth_as_they_say() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let few = Bootstrap { resamples: 400, ..BOOTSTRAP };
        let holds = (0..200).filter(|_| {
            let cases = (0..60).map(|_| case(f64::from(rng.random::<f64>() < 0.7), 0.0)).collect();
            let found = Sample::draw(cases, few).intervals()["ES"].unwrap();
            found.low <= 0.7 && 0.7 <= found.high
        });
        let count = holds.count();
        assert!((176..=198).contains(&count), "{count} of 200");
    }

    /// Scores that rise by the same on every case differ without any doubt, however much the cases themselves differ.
    #[test]
    fn differences_are_paired() {
        let level = |by: f64| (0..40).map(|at| case(0.0, f64::from(at) / 64.0 + by)).collect::<Vec<_>>();
        let (before, after) = (Sample::draw(level(0.0), BOOTSTRAP), Sample::draw(level(0.125), BOOTSTRAP));
        let found = after.minus(&before)["EM"].unwrap();
        assert!((found.difference - 0.125).abs() < 1e-12 && (found.low - 0.125).abs() < 1e-12, "{found:?}");
        assert!(found.is_beyond_noise() && found.cases == 40);
        let same = after.minus(&before)["ES"].unwrap();
        assert_eq!((same.difference, same.low, same.high, same.is_beyond_noise()), (0.0, 0.0, 0.0, false));
        assert_eq!(after.minus(&before)["S"], None);
    }

    /// A case to which a score applies in one of two runs alone says nothing of their difference.
    #[test]
    fn a_difference_is_over_what_applies_to_both() {
        let with = |ns: Option<f64>| [("ES", Some(1.0)), ("NS", ns)].into_iter().collect::<CaseScores>();
        let ours = Sample::draw(vec![with(Some(1.0)), with(Some(0.0)), with(Some(0.5))], BOOTSTRAP);
        let theirs = Sample::draw(vec![with(Some(0.5)), with(None), with(Some(0.0))], BOOTSTRAP);
        let found = ours.minus(&theirs)["NS"].unwrap();
        assert_eq!((found.difference, found.low, found.high, found.cases), (0.5, 0.5, 0.5, 2));
    }

    /// S is no mean, but it is resampled with the means that it follows from.
    #[test]
    fn what_follows_from_means_is_resampled_with_them() {
        let all =
            |value| ["ES", "PS", "NS"].map(|key| (key, Some(value))).into_iter().collect::<CaseScores>();
        let cases: Vec<CaseScores> = (0..30).map(|at| all(f64::from(at % 2))).collect();
        let intervals = Sample::draw(cases, BOOTSTRAP).intervals();
        let (s, es, ps) = (intervals[S.key].unwrap(), intervals[ES.key].unwrap(), intervals[PS.key].unwrap());
        assert!((s.low - es.low).abs() < 1e-12 && (s.high - es.high).abs() < 1e-12 && es == ps);
        assert!(0.2 < s.low && s.low < 0.45 && 0.55 < s.high && s.high < 0.8, "{s:?}");
    }
}
