//! Which of several edits of the same cases is best, and how sure that is.
//!
//! A score over a handful of cases is a number with a wide margin. All contestants are scored on the same draws of cases
//! ([`Sample`]), so a case that is hard for all of them does not blur their difference.

use serde::Serialize;

use crate::scores::{
    CaseScores, EM, ES, LOCALITY_ACC, Metrics, NM, NS, PM, PS, REPHRASE_ACC, REWRITE_ACC, harmonic,
};
use crate::uncertainty::{Bootstrap, Difference, Interval, Sample};

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
    let parts = [(ES, REWRITE_ACC), (PS, REPHRASE_ACC), (NS, LOCALITY_ACC)];
    harmonic(parts.into_iter().filter_map(|(score, other)| metrics.get(&score).or(metrics.get(&other))))
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
    let margin = |at: usize| [EM, PM, NM].iter().filter_map(|score| whole[at].get(score)).sum::<f64>();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(margin(b).total_cmp(&margin(a))));
    let best = *order.first()?;
    let bootstrap = Bootstrap::with_seed(seed);
    let samples: Vec<Sample> =
        contestants.iter().map(|scores| Sample::draw(scores.clone(), bootstrap)).collect();
    // A draw of nothing but cases to which no score applies says nothing.
    let draw = |at: usize| {
        samples.iter().map(|sample| score_of(&sample.resampled()[at])).collect::<Option<Vec<f64>>>()
    };
    let draws: Vec<Vec<f64>> = (0..samples.first()?.resampled().len()).filter_map(draw).collect();
    let interval = |of: &dyn Fn(&Vec<f64>) -> f64| bootstrap.interval(draws.iter().map(of).collect(), cases);
    let standing = |at: usize| {
        let Interval { low, high, .. } = interval(&|draw| draw[best] - draw[at])?;
        Some(Standing {
            score: scores[at],
            interval: interval(&|draw| draw[at])?,
            behind: Difference { difference: scores[best] - scores[at], low, high, cases },
        })
    };
    let first = draws.iter().filter(|draw| draw.iter().all(|&score| score <= draw[best])).count();
    Some(Contest {
        best,
        next: order.get(1).copied(),
        first: first as f64 / draws.len().max(1) as f64,
        standings: (0..scores.len()).map(standing).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case with these scores, and a margin.
    fn case(es: f64, ns: f64, em: f64) -> CaseScores {
        [("ES", Some(es)), ("NS", Some(ns)), ("EM", Some(em)), ("rewrite_acc", Some(0.0))]
            .into_iter()
            .collect()
    }

    #[test]
    fn the_score_is_the_harmonic_mean_of_what_applies() {
        let of = |scores: &[(&'static str, f64)]| {
            let case: CaseScores = scores.iter().map(|&(key, value)| (key, Some(value))).collect();
            score_of(&Metrics::of(&[case]))
        };
        let close = |score: Option<f64>, expected: f64| (score.unwrap() - expected).abs() < 1e-12;
        assert!(close(of(&[("ES", 1.0), ("NS", 0.5), ("rewrite_acc", 0.1)]), 2.0 / 3.0));
        assert_eq!(of(&[("ES", 0.0), ("NS", 1.0)]), Some(0.0));
        assert!(close(of(&[("rewrite_acc", 0.5), ("rephrase_acc", 1.0)]), 2.0 / 3.0));
        assert!(close(of(&[("ES", 1.0), ("NS", 0.5), ("PS", 0.25)]), 3.0 / 7.0));
        assert_eq!(of(&[("EM", 1.0)]), None);
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
        assert!(worst.behind.is_beyond_noise() && !next.behind.is_beyond_noise(), "{found:?}");
        assert_eq!((best.behind.low, best.behind.high), (0.0, 0.0));
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
}
