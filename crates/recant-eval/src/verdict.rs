//! Whether facts hold after an edit, each by the whole of its target.

use std::collections::BTreeMap;

use recant_edit::Fact;
use recant_model::{AskError, Model, Row, Strategy};
use serde::Serialize;

use crate::free::written;
use crate::probe::{Probe, ProbeScore, ScoreError, score_probes};

/// What became of one fact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether the edited model, asked greedily, writes the target: each of its tokens is the most probable one.
    pub holds: bool,
    /// Probability of the whole target before the edit: the product over its tokens, 0 to 1.
    pub probability_before: f64,
    /// The same after the edit.
    pub probability_after: f64,
    /// Where the fact does not hold: what the edited model prefers.
    pub best: Option<Rival>,
    /// What the edited model writes, greedily: a few tokens more than the target has.
    pub continuation: String,
    /// The most probable next token after the edit.
    pub answer: String,
}

/// An answer that the model prefers to a target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rival {
    /// The answer up to the token in which it leaves the target.
    pub text: String,
    /// Probability of that text, 0 to 1: the product over its tokens.
    pub probability: f64,
}

/// Prompts that are scored in one pass.
const AT_ONCE: usize = 32;
/// Tokens of a continuation beyond those of the target.
const FURTHER: usize = 8;

/// How a model answers some facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked(BTreeMap<Probe, ProbeScore>);

impl Asked {
    /// Asks a model.
    ///
    /// # Errors
    /// [`ScoreError`] names the prompt or the target that cannot be scored.
    pub fn of(model: &Model, facts: &[Fact]) -> Result<Self, ScoreError> {
        let mut scores = BTreeMap::new();
        for together in facts.chunks(AT_ONCE) {
            scores.extend(score_probes(model, &together.iter().map(Probe::of).collect::<Vec<_>>())?);
        }
        Ok(Self(scores))
    }

    /// The least probability of a fact's whole target, 0 to 1, where the model writes every one of them; `None` where there
    /// is one that it does not write, or none at all.
    #[must_use]
    pub fn all_hold(&self) -> Option<f64> {
        let all = self
            .0
            .values()
            .all(ProbeScore::holds)
            .then(|| self.0.values().map(ProbeScore::whole_probability));
        all?.reduce(f64::min)
    }
}

/// Judges facts by the answers of the model before an edit and the model after it, in the order of the facts.
///
/// # Errors
/// [`ScoreError`] names the prompt or the target that cannot be scored.
pub fn verdicts(before: &Asked, after: &Model, facts: &[Fact]) -> Result<Vec<Verdict>, ScoreError> {
    let mut verdicts = Vec::with_capacity(facts.len());
    for together in facts.chunks(AT_ONCE) {
        let probes: Vec<Probe> = together.iter().map(Probe::of).collect();
        let is = score_probes(after, &probes)?;
        let row = |(fact, probe): (&Fact, &Probe)| {
            let prompt = fact.text();
            let max_new = is[probe].target.len() + FURTHER;
            match after.tokenizer().encode(&prompt) {
                Ok(prompt) => Ok(Row { prompt, max_new, strategy: Strategy::Greedy }),
                Err(error) => Err(ScoreError::Ask { prompt, source: error.into() }),
            }
        };
        let rows = together.iter().zip(&probes).map(row).collect::<Result<Vec<_>, _>>()?;
        let written = written(after, &rows, |at| together[at].text())?;
        for ((fact, probe), written) in together.iter().zip(&probes).zip(written) {
            verdicts.push(judge(after, fact, &before.0[probe], &is[probe], written.text)?);
        }
    }
    Ok(verdicts)
}

fn judge(
    after: &Model,
    fact: &Fact,
    was: &ProbeScore,
    is: &ProbeScore,
    continuation: String,
) -> Result<Verdict, ScoreError> {
    let ask = |source: AskError| ScoreError::Ask { prompt: fact.text(), source };
    let leaves = is.best.iter().zip(&is.target).position(|(best, target)| best != target);
    let best = leaves.map(|at| {
        let ids = [&is.target[..at], &is.best[at..=at]].concat();
        let log_prob: f64 = is.log_probs[..at].iter().sum::<f64>() + is.best_log_probs[at];
        let text = after.tokenizer().decode(&ids).map_err(|error| ask(error.into()))?;
        Ok::<_, ScoreError>(Rival { text, probability: log_prob.exp() })
    });
    Ok(Verdict {
        holds: is.holds(),
        probability_before: was.whole_probability(),
        probability_after: is.whole_probability(),
        best: best.transpose()?,
        continuation,
        answer: is.answers.first().map(|answer| answer.token.clone()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use recant_backend::{Device, DeviceSpec};

    fn model() -> Model {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures/gpt2-tiny");
        Model::open(&dir, &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
    }

    /// The probability of a whole target by one plain pass after the other.
    fn by_hand(model: &Model, prompt: &str, target: &[u32]) -> f64 {
        let mut ids = model.tokenizer().encode(prompt).unwrap();
        let mut log_prob = 0.0;
        for &id in target {
            let batch = recant_model::TokenBatch::new(std::slice::from_ref(&ids), model.spec()).unwrap();
            let row = model.log_probs(&batch, &[(0, ids.len() - 1)]).remove(0);
            log_prob += f64::from(row[id as usize]);
            ids.push(id);
        }
        log_prob.exp()
    }

    /// A target of several tokens is judged by all of them, not by its first.
    #[test]
    fn a_fact_holds_by_its_whole_target() {
        let model = model();
        let first = model.generate("The sea is", 1, Strategy::Greedy).unwrap();
        let own = first.text.trim().to_owned();
        // Where the model's own first token is no word of its own, nothing can be shown with this fixture.
        let words = [own.clone(), format!("{own} cold and old")];
        let facts = words.map(|target| Fact::new("The sea", "{} is", target).unwrap());
        let judged = verdicts(&Asked::of(&model, &facts).unwrap(), &model, &facts).unwrap();
        for (fact, verdict) in facts.iter().zip(&judged) {
            let probe = Probe::of(fact);
            let target = score_probes(&model, std::slice::from_ref(&probe)).unwrap()[&probe].target.clone();
            let expected = by_hand(&model, "The sea is", &target);
            assert!((verdict.probability_after / expected - 1.0).abs() < 1e-4, "{verdict:?} {expected}");
            assert_eq!(verdict.probability_before.to_bits(), verdict.probability_after.to_bits());
            let written = model.generate("The sea is", target.len(), Strategy::Greedy).unwrap();
            let holds = written.ids[written.prompt_tokens..] == target[..];
            assert_eq!((verdict.holds, verdict.best.is_none()), (holds, holds), "{verdict:?}");
            assert!(verdict.continuation.starts_with(&written.text), "{verdict:?}");
        }
        let long = &judged[1];
        assert!(!long.holds, "a random model does not go on like this");
        let rival = long.best.as_ref().unwrap();
        assert!(rival.probability > long.probability_after && !rival.text.is_empty(), "{long:?}");
    }
}
