//! Prompts with a continuation to be judged, and what a model makes of them: log-probabilities.

use std::collections::BTreeMap;

use recant_edit::Fact;
use recant_model::{Answer, AskError, Continuation, InputError, Model, TokenBatch};

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

impl From<&Retained> for Probe {
    fn from(fact: &Retained) -> Self {
        Self { prompt: fact.prompt.clone(), target: fact.answer.clone(), literal: false }
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
pub(crate) fn agreement(a: &[u32], b: &[u32]) -> f64 {
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
        let answers = top(&places[0], SHOWN).into_iter().map(|id| answer(model, &places[0], id)).collect();
        let score = ProbeScore { mean_log_prob, log_probs, best, best_log_probs, answers, target };
        scores.insert(probe.clone(), score);
    }
    Ok(scores)
}

/// A prompt in tokens, checked against the model.
fn prompt_ids(model: &Model, prompt: &str) -> Result<Vec<u32>, ScoreError> {
    let ask = |source: AskError| ScoreError::Ask { prompt: prompt.to_owned(), source };
    let ids = model.tokenizer().encode(prompt).map_err(|error| ask(error.into()))?;
    TokenBatch::new(std::slice::from_ref(&ids), model.spec()).map_err(|error| ask(error.into()))?;
    Ok(ids)
}

/// Whether a model can be asked what comes next.
pub(crate) fn check_prompt(model: &Model, prompt: &str) -> Result<(), ScoreError> {
    prompt_ids(model, prompt).map(|_| ())
}

/// The most probable next token behind each prompt, the lowest id among equals; `None` of a model whose numbers are not
/// finite.
///
/// # Errors
/// [`ScoreError`] names the prompt that cannot be asked.
pub(crate) fn next_tokens(model: &Model, prompts: &[String]) -> Result<Vec<Option<Answer>>, ScoreError> {
    let rows = prompts.iter().map(|prompt| prompt_ids(model, prompt)).collect::<Result<Vec<_>, _>>()?;
    let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
    let places: Vec<(usize, usize)> = lengths.iter().map(|length| length - 1).enumerate().collect();
    // Every row was checked by itself: this fails only where there is none.
    let none = |error: InputError| ScoreError::Ask { prompt: String::new(), source: error.into() };
    let batch = TokenBatch::new(&rows, model.spec()).map_err(none)?.with_prompts(&lengths);
    let answer = |log_probs: Vec<f32>| {
        let finite = !log_probs.iter().any(|x| x.is_nan());
        let id = top(&log_probs, 1).first().copied().filter(|_| finite)?;
        Some(answer(model, &log_probs, id))
    };
    Ok(model.log_probs(&batch, &places).into_iter().map(answer).collect())
}

/// A next token with its text.
fn answer(model: &Model, log_probs: &[f32], id: u32) -> Answer {
    let token = model.tokenizer().token_text(id).unwrap_or_default();
    Answer { token, id, logprob: log_probs[id as usize] }
}

/// How many facts a model answers greedily, every token of the answer in its place.
///
/// # Errors
/// [`ScoreError`].
pub(crate) fn answered(model: &Model, facts: &[Retained]) -> Result<usize, ScoreError> {
    let probes: Vec<Probe> = facts.iter().map(Probe::from).collect();
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

/// The probes of a case: every prompt with the new target, and with its true one where that is known; a consequence with its
/// own answer.
pub(crate) fn probes(case: &Case) -> Vec<Probe> {
    let own = std::iter::once(case.fact.text()).chain(case.paraphrases.iter().cloned());
    let own = own.map(|prompt| (prompt, case.target_true.clone()));
    let neighbours = case.neighbours.iter().map(|about| (about.prompt.clone(), about.truth.clone()));
    let both = |(prompt, truth): (String, Option<String>)| {
        let probe = |target: String| Probe { prompt: prompt.clone(), target, literal: false };
        std::iter::once(case.fact.target.clone()).chain(truth).map(probe).collect::<Vec<_>>()
    };
    let consequences = case.consequences.iter().map(|about| Probe {
        prompt: about.prompt.clone(),
        target: about.answer.clone(),
        literal: false,
    });
    own.chain(neighbours).flat_map(both).chain(consequences).collect()
}

/// Mean of some numbers; `None` of none.
pub(crate) fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0u32), |(sum, count), x| (sum + x, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

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
