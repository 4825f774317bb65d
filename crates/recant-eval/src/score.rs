//! Scores of one case, from log-probabilities.

use std::collections::BTreeMap;

use recant_edit::Fact;
use recant_model::{Answer, AskError, Continuation, Model, TokenBatch};
use serde::{Deserialize, Serialize};

use crate::dataset::{Case, Retained};

/// A prompt with a continuation to be judged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probe {
    /// The prompt.
    pub prompt: String,
    /// The continuation, without a leading space.
    pub target: String,
    /// Whether it follows the prompt to the letter, without the space that running text has between them.
    pub literal: bool,
}

impl Probe {
    /// A fact as it was asked for.
    #[must_use]
    pub fn of(fact: &Fact) -> Self {
        Self { prompt: fact.text(), target: fact.target.clone(), literal: fact.literal }
    }
}

/// What a model makes of a probe.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeScore {
    /// Mean log-probability of the target's tokens, teacher-forced.
    pub mean_log_prob: f64,
    /// Log-probability of each target token, teacher-forced.
    pub log_probs: Vec<f64>,
    /// Most probable token in the place of each target token, teacher-forced.
    pub best: Vec<u32>,
    /// Log-probability of each of those.
    pub best_log_probs: Vec<f64>,
    /// The target's tokens.
    pub target: Vec<u32>,
    /// The most probable next tokens behind the prompt.
    pub answers: Vec<Answer>,
}

impl ProbeScore {
    /// exp of the mean log-probability: the probability of a one-token target, and its per-token geometric
    /// mean for a longer one, as in the reference code.
    #[must_use]
    pub fn probability(&self) -> f64 {
        self.mean_log_prob.exp()
    }

    /// Probability of the whole target: the product over its tokens.
    #[must_use]
    pub fn whole_probability(&self) -> f64 {
        self.log_probs.iter().sum::<f64>().exp()
    }

    /// Share of target tokens that are the most probable ones in their place.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        agreement(&self.best, &self.target)
    }
}

/// Share of places in which two token sequences agree.
fn agreement(a: &[u32], b: &[u32]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / a.len().max(1) as f64
}

/// A case cannot be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// A prompt cannot be asked.
    #[error("{prompt:?}: {source}")]
    Ask {
        /// The prompt.
        prompt: String,
        /// What is wrong.
        source: AskError,
    },
    /// A target has no tokens.
    #[error("the target {target:?} is no token of this model")]
    NoTarget {
        /// The target.
        target: String,
    },
}

/// Answers that are kept for a person to read.
const SHOWN: usize = 3;

/// Scores many probes in one forward pass. Rows that are equal in tokens and in where the prompt ends are
/// computed once.
///
/// # Errors
/// [`ScoreError`].
pub fn score_probes(model: &Model, probes: &[Probe]) -> Result<BTreeMap<Probe, ProbeScore>, ScoreError> {
    let mut rows: Vec<Vec<u32>> = Vec::new();
    let mut prompts: Vec<usize> = Vec::new();
    let mut row_of: BTreeMap<(Vec<u32>, usize), usize> = BTreeMap::new();
    let mut places = Vec::new();
    let mut plan = Vec::new();
    for probe in probes {
        let ask = |source: AskError| ScoreError::Ask { prompt: probe.prompt.clone(), source };
        let tokens = model.tokenizer().continuation(&probe.prompt, &probe.target, probe.literal);
        let Continuation { prompt: mut ids, target } = tokens.map_err(|error| ask(error.into()))?;
        let (Some(last), false) = (ids.len().checked_sub(1), target.is_empty()) else {
            return Err(ScoreError::NoTarget { target: probe.target.clone() });
        };
        let prompt = ids.len();
        ids.extend(&target[..target.len() - 1]);
        let row = *row_of.entry((ids.clone(), prompt)).or_insert_with(|| {
            rows.push(ids);
            prompts.push(prompt);
            rows.len() - 1
        });
        let first_place = places.len();
        places.extend((0..target.len()).map(|i| (row, last + i)));
        plan.push((probe, first_place, target));
    }
    let input = |error: recant_model::InputError| ScoreError::Ask {
        prompt: probes.first().map(|probe| probe.prompt.clone()).unwrap_or_default(),
        source: error.into(),
    };
    let batch = TokenBatch::new(&rows, model.spec()).map_err(input)?.with_prompts(&prompts);
    let log_probs = model.log_probs(&batch, &places);
    let mut scores = BTreeMap::new();
    for (probe, first, target) in plan {
        let places = &log_probs[first..first + target.len()];
        let of = |ids: &[u32]| -> Vec<f64> {
            places.iter().zip(ids).map(|(row, &id)| f64::from(row[id as usize])).collect()
        };
        let log_probs = of(&target);
        let mean_log_prob = log_probs.iter().sum::<f64>() / target.len() as f64;
        let best: Vec<u32> = places.iter().map(|row| top(row, 1)[0]).collect();
        let best_log_probs = of(&best);
        let answers = top(&places[0], SHOWN).into_iter().map(|id| Answer {
            token: model.tokenizer().token_text(id).unwrap_or_default(),
            id,
            logprob: places[0][id as usize],
        });
        let answers = answers.collect();
        let score = ProbeScore { mean_log_prob, log_probs, best, best_log_probs, answers, target };
        scores.insert(probe.clone(), score);
    }
    Ok(scores)
}

/// How many facts a model answers greedily, every token of the answer in its place.
///
/// # Errors
/// [`ScoreError`].
pub(crate) fn answered(model: &Model, facts: &[Retained]) -> Result<usize, ScoreError> {
    let probe =
        |fact: &Retained| Probe { prompt: fact.prompt.clone(), target: fact.answer.clone(), literal: false };
    let probes: Vec<Probe> = facts.iter().map(probe).collect();
    let mut right = 0;
    for together in probes.chunks(32) {
        let scores = score_probes(model, together)?;
        right += together.iter().filter(|probe| scores[*probe].best == scores[*probe].target).count();
    }
    Ok(right)
}

/// Ids of the `count` largest numbers, largest first, lowest id first among equals.
fn top(log_probs: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<u32> = Vec::with_capacity(count + 1);
    for id in 0..log_probs.len() as u32 {
        let above = |&&held: &&u32| log_probs[held as usize] >= log_probs[id as usize];
        let at = best.iter().take_while(above).count();
        if at < count {
            best.insert(at, id);
            best.truncate(count);
        }
    }
    best
}

/// The probes of a case: every prompt with the new and with the true target.
pub(crate) fn probes(case: &Case) -> Vec<Probe> {
    let own = std::iter::once(case.fact.text()).chain(case.paraphrases.iter().cloned());
    let own = own.map(|prompt| (prompt, case.target_true.clone()));
    let all = own.chain(case.neighbours.iter().cloned());
    let both = |(prompt, truth): (String, String)| {
        let new = Probe { prompt: prompt.clone(), target: case.fact.target.clone(), literal: false };
        [new, Probe { prompt, target: truth, literal: false }]
    };
    all.flat_map(both).collect()
}

/// Scores of one case. Shares are in 0..=1, magnitudes in -1..=1; a part without prompts is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(non_snake_case, reason = "the literature's names")]
pub struct CaseScores {
    /// 1 when P(new) > P(true) on the rewrite prompt.
    pub ES: f64,
    /// P(new) - P(true) on the rewrite prompt.
    pub EM: f64,
    /// Share of paraphrases with P(new) > P(true).
    pub PS: Option<f64>,
    /// Mean P(new) - P(true) over paraphrases.
    pub PM: Option<f64>,
    /// Share of neighbourhood prompts with P(true) > P(new).
    pub NS: Option<f64>,
    /// Mean P(true) - P(new) over neighbourhood prompts.
    pub NM: Option<f64>,
    /// Share of the new target's tokens that are most probable on the rewrite prompt, teacher-forced.
    pub rewrite_acc: f64,
    /// The same, mean over paraphrases.
    pub rephrase_acc: Option<f64>,
    /// Share of the true target's places on neighbourhood prompts in which the most probable token is the
    /// one of the unedited model.
    pub locality_acc: Option<f64>,
}

type Scores = BTreeMap<Probe, ProbeScore>;

/// Scores a case from its probes on the unedited and on the edited model.
pub(crate) fn case_scores(case: &Case, before: &Scores, after: &Scores) -> CaseScores {
    let probe = |prompt: &str, target: &str| Probe {
        prompt: prompt.to_owned(),
        target: target.to_owned(),
        literal: false,
    };
    let new = |prompt: &str| &after[&probe(prompt, &case.fact.target)];
    let old = |prompt: &str, truth: &str| &after[&probe(prompt, truth)];
    let gain = |prompt: &str| new(prompt).probability() - old(prompt, &case.target_true).probability();
    let wins =
        |prompt: &str| f64::from(new(prompt).mean_log_prob > old(prompt, &case.target_true).mean_log_prob);
    let prompt = case.fact.text();
    let paraphrases = || case.paraphrases.iter().map(String::as_str);
    let neighbours = || case.neighbours.iter().map(|(prompt, truth)| (prompt.as_str(), truth.as_str()));
    CaseScores {
        ES: wins(&prompt),
        EM: gain(&prompt),
        PS: mean(paraphrases().map(wins)),
        PM: mean(paraphrases().map(gain)),
        NS: mean(neighbours().map(|(p, t)| f64::from(old(p, t).mean_log_prob > new(p).mean_log_prob))),
        NM: mean(neighbours().map(|(p, t)| old(p, t).probability() - new(p).probability())),
        rewrite_acc: new(&prompt).accuracy(),
        rephrase_acc: mean(paraphrases().map(|p| new(p).accuracy())),
        locality_acc: mean(neighbours().map(|(p, t)| agreement(&before[&probe(p, t)].best, &old(p, t).best))),
    }
}

/// Mean of some numbers; `None` of none.
pub(crate) fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0u32), |(sum, count), x| (sum + x, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(p: f64, best: &[u32], target: &[u32]) -> ProbeScore {
        ProbeScore {
            mean_log_prob: p.ln(),
            log_probs: vec![p.ln()],
            best: best.to_vec(),
            best_log_probs: vec![0.0],
            target: target.to_vec(),
            answers: vec![],
        }
    }

    /// A case small enough to score by hand.
    #[test]
    fn scores_follow_their_definitions() {
        let case = Case {
            id: 1,
            fact: Fact::new("Ada", "{} speaks", "new").unwrap(),
            target_true: "old".into(),
            paraphrases: vec!["P1".into(), "P2".into()],
            neighbours: vec![("N1".into(), "old".into()), ("N2".into(), "old".into())],
        };
        let put = |rows: [(&str, f64, f64, u32); 5]| -> Scores {
            let both = |(prompt, new, old, best): (&str, f64, f64, u32)| {
                let probe =
                    |target: &str| Probe { prompt: prompt.into(), target: target.into(), literal: false };
                [(probe("new"), score(new, &[best], &[1])), (probe("old"), score(old, &[best], &[2]))]
            };
            rows.into_iter().flat_map(both).collect()
        };
        let before = put([
            ("Ada speaks", 0.1, 0.8, 2),
            ("P1", 0.1, 0.8, 2),
            ("P2", 0.1, 0.8, 2),
            ("N1", 0.1, 0.8, 2),
            ("N2", 0.1, 0.8, 2),
        ]);
        let after = put([
            ("Ada speaks", 0.7, 0.2, 1),
            ("P1", 0.6, 0.3, 1),
            ("P2", 0.2, 0.5, 2),
            ("N1", 0.1, 0.8, 2),
            ("N2", 0.5, 0.4, 1),
        ]);
        let scores = case_scores(&case, &before, &after);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(scores.ES, 1.0) && close(scores.EM, 0.5));
        assert!(close(scores.PS.unwrap(), 0.5) && close(scores.PM.unwrap(), 0.0));
        assert!(close(scores.NS.unwrap(), 0.5) && close(scores.NM.unwrap(), 0.3));
        assert!(close(scores.rewrite_acc, 1.0) && close(scores.rephrase_acc.unwrap(), 0.5));
        assert!(close(scores.locality_acc.unwrap(), 0.5));
    }

    #[test]
    fn the_top_is_sorted_and_breaks_ties_by_id() {
        assert_eq!(top(&[0.1, 0.5, 0.5, 0.9, 0.0], 3), [3, 1, 2]);
        assert_eq!(top(&[0.0], 3), [0]);
    }
}
