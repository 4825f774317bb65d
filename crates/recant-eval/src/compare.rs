//! Which of several edits of the same cases is best, and how sure that is.
//!
//! A score over a handful of cases is a number with a wide margin. How wide is found by the bootstrap: cases are drawn
//! anew from the cases, with replacement, and everything is scored again. All contestants are scored on the same draws,
//! so a case that is hard for all of them does not blur their difference.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::report::Metrics;
use crate::score::CaseScores;

/// How often cases are drawn anew.
const DRAWS: usize = 2000;

/// The middle 95 % of what the draws gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The score of one contestant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Standing {
    /// The score; see [`score_of`].
    pub score: f64,
    /// How it varies with the cases that are drawn.
    pub interval: Interval,
    /// How far the best one's score lies above.
    pub behind: Difference,
}

/// A difference of two scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// On the cases as they are.
    pub score: f64,
    /// How it varies with the cases that are drawn.
    pub interval: Interval,
}

impl Difference {
    /// Whether the cases tell the two apart: all of the interval lies above 0.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.interval.low > 0.0
    }
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contest {
    /// The best one's place.
    pub best: usize,
    /// That with the next highest score, if there is another one.
    pub next: Option<usize>,
    /// Share of the draws in which none scores higher than the best one.
    pub first: f64,
    /// All of them, in the order in which they were given.
    pub standings: Vec<Standing>,
}

/// One number for a set of cases: the harmonic mean of ES, PS and NS, which is S where all three apply. Where a data set
/// gives no former answer to compare with, the token accuracy stands in; what does not apply at all is left out.
#[must_use]
pub fn score_of(metrics: &Metrics) -> Option<f64> {
    let efficacy = metrics.ES.or(metrics.rewrite_acc);
    let parts = [efficacy, metrics.PS.or(metrics.rephrase_acc), metrics.NS.or(metrics.locality_acc)];
    let parts: Vec<f64> = parts.into_iter().flatten().collect();
    if parts.contains(&0.0) {
        return Some(0.0);
    }
    (!parts.is_empty()).then(|| parts.len() as f64 / parts.iter().map(|x| 1.0 / x).sum::<f64>())
}

/// Compares contestants by their scores of the same cases, each in the same order. Among equal scores the larger
/// margins (EM, PM, NM together) are better, and then the one that was given first. The same seed gives the same
/// intervals.
///
/// `None` without contestants or without a case, and where no score applies.
#[must_use]
pub fn contest(contestants: &[Vec<CaseScores>], seed: u64) -> Option<Contest> {
    let cases = contestants.first()?.len();
    let whole: Vec<Metrics> = contestants.iter().map(|scores| Metrics::of(scores)).collect();
    let scores: Vec<f64> = whole.iter().map(score_of).collect::<Option<_>>()?;
    let margin = |at: usize| {
        let Metrics { EM, PM, NM, .. } = whole[at];
        [EM, PM, NM].into_iter().flatten().sum::<f64>()
    };
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(margin(b).total_cmp(&margin(a))));
    let best = *order.first()?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // A draw of nothing but cases to which no score applies says nothing.
    let draw = |_| {
        let drawn: Vec<usize> = (0..cases).map(|_| rng.random_range(0..cases)).collect();
        let again = |scores: &Vec<CaseScores>| {
            score_of(&Metrics::of(&drawn.iter().map(|&case| scores[case]).collect::<Vec<_>>()))
        };
        contestants.iter().map(again).collect::<Option<Vec<f64>>>()
    };
    let draws: Vec<Vec<f64>> = (0..DRAWS).filter_map(draw).collect();
    let standing = |at: usize| Standing {
        score: scores[at],
        interval: middle(draws.iter().map(|draw| draw[at]).collect()),
        behind: Difference {
            score: scores[best] - scores[at],
            interval: middle(draws.iter().map(|draw| draw[best] - draw[at]).collect()),
        },
    };
    let first = draws.iter().filter(|draw| draw.iter().all(|&score| score <= draw[best])).count();
    Some(Contest {
        best,
        next: order.get(1).copied(),
        first: first as f64 / draws.len().max(1) as f64,
        standings: (0..scores.len()).map(standing).collect(),
    })
}

/// The numbers between which the middle 95 % of some lie.
fn middle(mut numbers: Vec<f64>) -> Interval {
    numbers.sort_by(f64::total_cmp);
    let last = numbers.len().saturating_sub(1);
    let at = |share: f64| numbers.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN);
    Interval { low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case with these scores, and a margin.
    #[allow(non_snake_case, reason = "the literature's names")]
    fn case(ES: f64, NS: f64, EM: f64) -> CaseScores {
        CaseScores {
            ES: Some(ES),
            EM: Some(EM),
            PS: None,
            PM: None,
            NS: Some(NS),
            NM: None,
            rewrite_acc: 0.0,
            rephrase_acc: None,
            locality_acc: None,
        }
    }

    #[test]
    fn the_score_is_the_harmonic_mean_of_what_applies() {
        let of = |scores: CaseScores| score_of(&Metrics::of(&[scores])).unwrap();
        assert!((of(case(1.0, 0.5, 0.0)) - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(of(case(0.0, 1.0, 0.0)), 0.0);
        let accuracies = CaseScores {
            ES: None,
            NS: None,
            rewrite_acc: 0.5,
            rephrase_acc: Some(1.0),
            ..case(0.0, 0.0, 0.0)
        };
        assert!((of(accuracies) - 2.0 / 3.0).abs() < 1e-12);
        let all = CaseScores { PS: Some(0.25), ..case(1.0, 0.5, 0.0) };
        assert_eq!(Some(of(all)), Metrics::of(&[all]).S);
    }

    /// Each case of one is better than the same of the other: every draw says so, however much the cases vary.
    #[test]
    fn a_difference_in_every_case_is_told_and_one_in_a_single_case_is_not() {
        let hard = |at: usize| if at.is_multiple_of(2) { 1.0 } else { 0.5 };
        let good: Vec<_> = (0..10).map(|at| case(1.0, hard(at), 0.0)).collect();
        let bad: Vec<_> = (0..10).map(|at| case(1.0, hard(at) - 0.25, 0.0)).collect();
        let almost: Vec<_> =
            (0..10).map(|at| case(1.0, hard(at) - if at == 3 { 0.25 } else { 0.0 }, 0.0)).collect();
        let found = contest(&[bad, good, almost], 0).unwrap();
        assert_eq!((found.best, found.next, found.first), (1, Some(2), 1.0));
        let [worst, best, next] = &found.standings[..] else { panic!() };
        assert!(worst.behind.is_told() && !next.behind.is_told(), "{found:?}");
        assert_eq!(best.behind.interval, Interval { low: 0.0, high: 0.0 });
        // NS 0.75, 0.5 and 0.725 with ES 1.
        for (standing, ns) in [(best, 0.75), (worst, 0.5), (next, 0.725)] {
            assert!((standing.score - 2.0 / (1.0 + 1.0 / ns)).abs() < 1e-12);
            assert!(standing.interval.low < standing.score && standing.score < standing.interval.high);
        }
    }

    #[test]
    fn equal_scores_are_told_apart_by_their_margins_and_then_by_order() {
        let of = |margin: f64| vec![case(1.0, 1.0, margin); 3];
        let found = contest(&[of(0.1), of(0.4), of(0.4)], 0).unwrap();
        assert_eq!((found.best, found.next), (1, Some(2)));
        assert_eq!(contest(&[of(0.1), of(0.4)], 0), contest(&[of(0.1), of(0.4)], 0));
        assert_eq!(contest(&[], 0), None);
        assert_eq!(contest(&[vec![]], 0), None);
    }

    /// By hand: of 0, 1, ..., 200 the middle 95 % lie between 5 and 195.
    #[test]
    fn the_middle_is_cut_at_both_ends() {
        let numbers = (0..=200).rev().map(f64::from).collect();
        assert_eq!(middle(numbers), Interval { low: 5.0, high: 195.0 });
    }
}
