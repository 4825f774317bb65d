//! Scores of one case, from log-probabilities.

use std::collections::BTreeMap;

use recant_edit::Fact;
use recant_model::{Answer, AskError, Continuation, InputError, Model, TokenBatch};
use serde::{Deserialize, Serialize};

use crate::dataset::{Case, Neighbour, Retained};

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
    /// Of a model whose numbers are not finite: it gives the target no probability, and no answer of its own.
    fn broken(target: Vec<u32>) -> Self {
        Self {
            mean_log_prob: f64::NEG_INFINITY,
            log_probs: vec![f64::NEG_INFINITY; target.len()],
            best: Vec::new(),
            best_log_probs: Vec::new(),
            answers: Vec::new(),
            target,
        }
    }

    /// Whether the model's numbers were finite.
    pub(crate) fn is_finite(&self) -> bool {
        self.mean_log_prob.is_finite()
    }

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

    /// Whether the model, asked greedily, writes the target: each of its tokens is the most probable one. A model whose
    /// numbers are not finite has no best tokens, and writes none.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.best == self.target
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

impl ScoreError {
    /// Whether the target is at fault, and not the prompt.
    pub(crate) fn is_target(&self) -> bool {
        matches!(self, Self::NoTarget { .. })
    }
}

/// Answers that are kept for a person to read.
const SHOWN: usize = 3;

/// A probe in tokens: the prompt and all of the target but its last token.
struct Row {
    ids: Vec<u32>,
    prompt: usize,
    target: Vec<u32>,
}

impl Row {
    /// Tokenises a probe and checks it against the model.
    fn new(model: &Model, probe: &Probe) -> Result<Self, ScoreError> {
        let ask = |source: AskError| ScoreError::Ask { prompt: probe.prompt.clone(), source };
        let tokens = model.tokenizer().continuation(&probe.prompt, &probe.target, probe.literal);
        let Continuation { prompt: mut ids, target } = tokens.map_err(|error| ask(error.into()))?;
        let prompt = ids.len();
        if prompt == 0 {
            return Err(ask(InputError::Empty.into()));
        }
        let Some((&last, others)) = target.split_last() else {
            return Err(ScoreError::NoTarget { target: probe.target.clone() });
        };
        ids.extend(others);
        TokenBatch::new(std::slice::from_ref(&ids), model.spec()).map_err(|error| ask(error.into()))?;
        let vocab = model.spec().vocab;
        if last as usize >= vocab {
            return Err(ask(InputError::Vocabulary { id: last, vocab }.into()));
        }
        Ok(Self { ids, prompt, target })
    }
}

/// Whether a model can be asked about a probe.
pub(crate) fn check_probe(model: &Model, probe: &Probe) -> Result<(), ScoreError> {
    Row::new(model, probe).map(|_| ())
}

/// Scores many probes in one forward pass. Rows that are equal in tokens and in where the prompt ends are
/// computed once.
///
/// # Errors
/// [`ScoreError`] names the prompt or the target that cannot be scored.
pub fn score_probes(model: &Model, probes: &[Probe]) -> Result<BTreeMap<Probe, ProbeScore>, ScoreError> {
    let mut rows: Vec<Vec<u32>> = Vec::new();
    let mut prompts: Vec<usize> = Vec::new();
    let mut row_of: BTreeMap<(Vec<u32>, usize), usize> = BTreeMap::new();
    let mut places = Vec::new();
    let mut plan = Vec::new();
    for probe in probes {
        let Row { ids, prompt, target } = Row::new(model, probe)?;
        let row = *row_of.entry((ids.clone(), prompt)).or_insert_with(|| {
            rows.push(ids);
            prompts.push(prompt);
            rows.len() - 1
        });
        let first_place = places.len();
        places.extend((0..target.len()).map(|i| (row, prompt - 1 + i)));
        plan.push((probe, first_place, target));
    }
    // Every row was checked by itself: this fails only where there is none.
    let none = |error: InputError| ScoreError::Ask { prompt: String::new(), source: error.into() };
    let batch = TokenBatch::new(&rows, model.spec()).map_err(none)?.with_prompts(&prompts);
    let log_probs = model.log_probs(&batch, &places);
    let mut scores = BTreeMap::new();
    for (probe, first, target) in plan {
        let places = &log_probs[first..first + target.len()];
        if places.iter().flatten().any(|x| x.is_nan()) {
            scores.insert(probe.clone(), ProbeScore::broken(target));
            continue;
        }
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
        right += together.iter().filter(|probe| scores[*probe].holds()).count();
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

/// The probes of a case: every prompt with the new target, and with its true one where that is known.
pub(crate) fn probes(case: &Case) -> Vec<Probe> {
    let own = std::iter::once(case.fact.text()).chain(case.paraphrases.iter().cloned());
    let own = own.map(|prompt| (prompt, case.target_true.clone()));
    let neighbours = case.neighbours.iter().map(|about| (about.prompt.clone(), about.truth.clone()));
    let both = |(prompt, truth): (String, Option<String>)| {
        let probe = |target: String| Probe { prompt: prompt.clone(), target, literal: false };
        std::iter::once(case.fact.target.clone()).chain(truth).map(probe).collect::<Vec<_>>()
    };
    own.chain(neighbours).flat_map(both).collect()
}

/// Scores of one case. Shares are in 0..=1, magnitudes in -1..=1; what does not apply is `None`, and
/// [`not_applicable`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(non_snake_case, reason = "the literature's names")]
pub struct CaseScores {
    /// Efficacy, EasyEdit's reliability: 1 when P(new) > P(true) on the rewrite prompt.
    pub ES: Option<f64>,
    /// P(new) - P(true) on the rewrite prompt.
    pub EM: Option<f64>,
    /// Paraphrase, EasyEdit's generalisation: share of paraphrases with P(new) > P(true).
    pub PS: Option<f64>,
    /// Mean P(new) - P(true) over paraphrases.
    pub PM: Option<f64>,
    /// Neighbourhood, EasyEdit's locality: share of neighbourhood prompts with P(true) > P(new).
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
    // A comparison of the new target with itself says nothing.
    let rival = |truth: &Option<String>| truth.clone().filter(|truth| *truth != case.fact.target);
    let truth = rival(&case.target_true);
    let wins = |prompt: &str| {
        let truth = old(prompt, truth.as_ref()?).mean_log_prob;
        Some(f64::from(new(prompt).mean_log_prob > truth))
    };
    let gain = |prompt: &str| Some(new(prompt).probability() - old(prompt, truth.as_ref()?).probability());
    let prompt = case.fact.text();
    let paraphrases = || case.paraphrases.iter().map(String::as_str);
    let stays = |about: &Neighbour| {
        let truth = old(&about.prompt, &rival(&about.truth)?).mean_log_prob;
        Some(f64::from(truth > new(&about.prompt).mean_log_prob))
    };
    let lead = |about: &Neighbour| {
        let truth = old(&about.prompt, &rival(&about.truth)?).probability();
        Some(truth - new(&about.prompt).probability())
    };
    let agrees = |about: &Neighbour| {
        let truth = about.truth.as_ref()?;
        Some(agreement(&before[&probe(&about.prompt, truth)].best, &old(&about.prompt, truth).best))
    };
    CaseScores {
        ES: wins(&prompt),
        EM: gain(&prompt),
        PS: mean(paraphrases().filter_map(wins)),
        PM: mean(paraphrases().filter_map(gain)),
        NS: mean(case.neighbours.iter().filter_map(stays)),
        NM: mean(case.neighbours.iter().filter_map(lead)),
        rewrite_acc: new(&prompt).accuracy(),
        rephrase_acc: mean(paraphrases().map(|p| new(p).accuracy())),
        locality_acc: mean(case.neighbours.iter().filter_map(agrees)),
    }
}

/// Scores that do not apply to some cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotApplicable {
    /// Names of the scores.
    pub scores: Vec<String>,
    /// Why.
    pub reason: String,
    /// The data set's numbers of the cases. Where the reason is about single prompts, a case's score is that of its
    /// other prompts.
    pub cases: Vec<u64>,
}

/// Which scores do not apply to which of some cases, and why.
#[must_use]
pub fn not_applicable(cases: &[Case]) -> Vec<NotApplicable> {
    type Holds = fn(&Case) -> bool;
    let rules: [(&[&str], &str, Holds); 6] = [
        (&["ES", "EM", "PS", "PM"], "the data set gives no former answer", |case| case.target_true.is_none()),
        (&["ES", "EM", "PS", "PM"], "the new answer is the former one", |case| {
            case.target_true.as_ref() == Some(&case.fact.target)
        }),
        (&["PS", "PM", "rephrase"], "there is no paraphrase", |case| case.paraphrases.is_empty()),
        (&["NS", "NM", "locality"], "there is no neighbourhood prompt", |case| case.neighbours.is_empty()),
        (&["NS", "NM", "locality"], "a neighbourhood prompt has no true answer", |case| {
            case.neighbours.iter().any(|about| about.truth.is_none())
        }),
        (&["NS", "NM"], "a neighbourhood prompt's true answer is the new one", |case| {
            case.neighbours.iter().any(|about| about.truth.as_ref() == Some(&case.fact.target))
        }),
    ];
    let found = rules.into_iter().map(|(scores, reason, holds)| NotApplicable {
        scores: scores.iter().map(|&score| score.to_owned()).collect(),
        reason: reason.to_owned(),
        cases: cases.iter().filter(|case| holds(case)).map(|case| case.id).collect(),
    });
    found.filter(|found| !found.cases.is_empty()).collect()
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
            target_true: Some("old".into()),
            paraphrases: vec!["P1".into(), "P2".into()],
            neighbours: ["N1", "N2"]
                .map(|prompt| Neighbour { prompt: prompt.into(), truth: Some("old".into()) })
                .into(),
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
        assert!(close(scores.ES.unwrap(), 1.0) && close(scores.EM.unwrap(), 0.5));
        assert!(close(scores.PS.unwrap(), 0.5) && close(scores.PM.unwrap(), 0.0));
        assert!(close(scores.NS.unwrap(), 0.5) && close(scores.NM.unwrap(), 0.3));
        assert!(close(scores.rewrite_acc, 1.0) && close(scores.rephrase_acc.unwrap(), 0.5));
        assert!(close(scores.locality_acc.unwrap(), 0.5));
        assert_eq!(not_applicable(std::slice::from_ref(&case)), []);
        unknown_answers(&case, &before, &after);
    }

    /// The same case with answers that are not known, or are the new target: nothing is compared with itself or with
    /// nothing.
    fn unknown_answers(case: &Case, before: &Scores, after: &Scores) {
        let reasons = |case: &Case| -> Vec<String> {
            not_applicable(std::slice::from_ref(case)).into_iter().map(|found| found.reason).collect()
        };
        let with = |truth: Option<&str>| Case { target_true: truth.map(str::to_owned), ..case.clone() };
        for (truth, reason) in [(None, "no former answer"), (Some("new"), "is the former one")] {
            let case = with(truth);
            let scores = case_scores(&case, before, after);
            assert_eq!((scores.ES, scores.EM, scores.PS, scores.PM), (None, None, None, None));
            assert_eq!((scores.rewrite_acc, scores.rephrase_acc, scores.NS), (1.0, Some(0.5), Some(0.5)));
            assert!(reasons(&case).iter().any(|told| told.contains(reason)));
        }
        let about = |second: Option<&str>| {
            let mut neighbours = case.neighbours.clone();
            neighbours[1].truth = second.map(str::to_owned);
            Case { neighbours, ..case.clone() }
        };
        let scores = case_scores(&about(None), before, after);
        assert_eq!((scores.NS, scores.locality_acc), (Some(1.0), Some(1.0)), "the other prompt alone counts");
        assert_eq!(reasons(&about(None)), ["a neighbourhood prompt has no true answer"]);
        let scores = case_scores(&about(Some("new")), before, after);
        assert_eq!((scores.NS, scores.locality_acc), (Some(1.0), Some(0.5)));
        assert_eq!(reasons(&about(Some("new"))), ["a neighbourhood prompt's true answer is the new one"]);
        let bare = Case { paraphrases: vec![], neighbours: vec![], ..case.clone() };
        assert_eq!(reasons(&bare), ["there is no paraphrase", "there is no neighbourhood prompt"]);
    }

    /// An edit that ruins a model loses every comparison, and its scores can be written down.
    #[test]
    fn numbers_that_are_not_finite_score_nothing() {
        let broken = ProbeScore::broken(vec![1, 2]);
        assert!(!broken.is_finite());
        assert_eq!((broken.probability(), broken.accuracy()), (0.0, 0.0));
        assert_eq!(agreement(&[1, 2], &broken.best), 0.0);
    }

    #[test]
    fn the_top_is_sorted_and_breaks_ties_by_id() {
        assert_eq!(top(&[0.1, 0.5, 0.5, 0.9, 0.0], 3), [3, 1, 2]);
        assert_eq!(top(&[0.0], 3), [0]);
    }
}
