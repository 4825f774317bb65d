//! What an edit moved beside its facts.
//!
//! Nobody hands over neighbours of a fact that was made up a minute ago, so they are made: the fact's own sentence about
//! other subjects and about names that are nearly the subject's, that name written again, plain texts. A user's own facts that have to stay come on top. Each is
//! asked of the model before the edit and of the one after it, and counts only where the former had an answer to lose.

mod probes;

use std::ops::ControlFlow;

use recant_model::{Answer, AskError, InputError, Model, TokenBatch};
use serde::Serialize;

use crate::probe::{Probe, ScoreError, next_tokens, score_probes};

pub use probes::SideProbes;
use probes::TEXTS;

/// A group of prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SideKind {
    /// The facts' sentences about other subjects: kept is the most probable next token.
    Relation,
    /// The facts' sentences about names that are nearly the subjects': kept is the most probable next token.
    Namesake,
    /// The subjects' names, written again: kept where each of their tokens is the most probable one.
    Name,
    /// Facts that are to be retained, of those that the model answered: kept where it still does.
    Retained,
}

impl SideKind {
    /// One word, as in a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Relation => "relation",
            Self::Namesake => "namesake",
            Self::Name => "name",
            Self::Retained => "retained",
        }
    }
}

/// A prompt whose answer is another one now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideChange {
    /// The prompt.
    pub prompt: String,
    /// The most probable next token before the edit.
    pub before: String,
    /// Its probability then, 0 to 1.
    pub probability_before: f64,
    /// The most probable next token after it.
    pub after: String,
    /// Its probability now, 0 to 1.
    pub probability_after: f64,
}

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideGroup {
    /// Which.
    pub kind: SideKind,
    /// Prompts that could be kept.
    pub asked: usize,
    /// Those that were.
    pub kept: usize,
    /// The others, those with the surest former answer first.
    pub changed: Vec<SideChange>,
}

impl SideGroup {
    /// Share of the prompts that were kept, 0 to 1; `None` of none.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        (self.asked > 0).then(|| self.kept as f64 / self.asked as f64)
    }
}

/// What an edit moved beside its facts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideEffects {
    /// What became of each group of prompts, those that nothing was asked of left out.
    pub groups: Vec<SideGroup>,
    /// exp of the mean negative log-likelihood of plain texts, a token, before and after.
    pub perplexity: [f64; 2],
    /// Mean Kullback-Leibler divergence of the next token in plain texts, before from after, in nats.
    pub kl: f64,
}

/// How far an edit reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Nothing that was asked moved, or a prompt here and there that was undecided.
    Little,
    /// Some of it moved.
    Some,
    /// More than a tenth of a group moved, a name is misspelled, or plain texts read otherwise.
    Much,
}

/// Below this share of what was kept, by more than one prompt, an edit reached far.
const MUCH_LOST: f64 = 0.9;
/// Above this drift on plain texts, in nats a token, an edit reached far.
const MUCH_DRIFT: f64 = 0.05;
/// Below this probability an answer was undecided.
const UNDECIDED: f64 = 0.3;

impl SideEffects {
    /// Share kept of a group, 0 to 1; `None` where nothing was asked.
    #[must_use]
    pub fn share(&self, kind: SideKind) -> Option<f64> {
        self.groups.iter().find(|group| group.kind == kind)?.share()
    }

    /// Perplexity of plain texts, after to before.
    #[must_use]
    pub fn perplexity_ratio(&self) -> f64 {
        self.perplexity[1] / self.perplexity[0]
    }

    /// How far the edit reached.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let far = |group: &SideGroup| match group.kind {
            SideKind::Name => group.kept < group.asked,
            _ => group.changed.len() > 1 && group.share().is_some_and(|share| share < MUCH_LOST),
        };
        // Not a number is far, too.
        let drifted = !self.kl.le(&MUCH_DRIFT);
        if drifted || self.groups.iter().any(far) {
            return Reach::Much;
        }
        let mut changed = self.groups.iter().flat_map(|group| &group.changed);
        if changed.all(|change| change.probability_before < UNDECIDED) { Reach::Little } else { Reach::Some }
    }
}

/// Prompts in one pass.
const AT_ONCE: usize = 16;
/// Texts in one pass, of which each token has a row of the vocabulary.
const TEXTS_AT_ONCE: usize = 3;

/// Asks the model before an edit and the one after it. `goes_on` hears of the passes done and to do, and breaks off;
/// then there is no result.
///
/// # Errors
/// [`ScoreError`] names the prompt that cannot be asked.
pub fn side_effects(
    probes: &SideProbes,
    [before, after]: [&Model; 2],
    goes_on: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Option<SideEffects>, ScoreError> {
    let SideProbes { relation, namesakes, names, retained } = probes;
    let open = [(SideKind::Relation, relation), (SideKind::Namesake, namesakes)];
    let known = [(SideKind::Name, names), (SideKind::Retained, retained)];
    let passes = open.iter().map(|(_, asked)| asked.chunks(AT_ONCE).len()).sum::<usize>()
        + known.iter().map(|(_, asked)| asked.chunks(AT_ONCE).len()).sum::<usize>()
        + TEXTS.chunks(TEXTS_AT_ONCE).len();
    let mut done = 0;
    let mut stops = || {
        done += 1;
        goes_on(done - 1, passes).is_break()
    };
    let models = [before, after];
    let mut groups = Vec::new();
    for (kind, prompts) in open {
        let ask = |group: &mut SideGroup, some: &[String]| group.ask_open(some, models);
        let Some(group) = SideGroup::of(kind, prompts, &mut stops, ask)? else { return Ok(None) };
        groups.push(group);
    }
    for (kind, probes) in known {
        let ask = |group: &mut SideGroup, some: &[Probe]| group.ask_known(some, models);
        let Some(group) = SideGroup::of(kind, probes, &mut stops, ask)? else { return Ok(None) };
        groups.push(group);
    }
    let mut drift = Drift::default();
    for together in TEXTS.chunks(TEXTS_AT_ONCE) {
        if stops() {
            return Ok(None);
        }
        drift.read(together, models)?;
    }
    groups.retain(|group| group.asked > 0);
    for group in &mut groups {
        group.changed.sort_by(|a, b| b.probability_before.total_cmp(&a.probability_before));
    }
    let (perplexity, kl) = drift.means();
    Ok(Some(SideEffects { groups, perplexity, kl }))
}

impl SideGroup {
    /// A group, whose prompts are asked some at a time; `None` when that was broken off.
    fn of<T>(
        kind: SideKind,
        prompts: &[T],
        stops: &mut dyn FnMut() -> bool,
        ask: impl Fn(&mut Self, &[T]) -> Result<(), ScoreError>,
    ) -> Result<Option<Self>, ScoreError> {
        let mut group = Self { kind, asked: 0, kept: 0, changed: Vec::new() };
        for together in prompts.chunks(AT_ONCE) {
            if stops() {
                return Ok(None);
            }
            ask(&mut group, together)?;
        }
        Ok(Some(group))
    }

    /// Prompts whose right answer nobody knows: it is whatever the model said.
    fn ask_open(&mut self, prompts: &[String], models: [&Model; 2]) -> Result<(), ScoreError> {
        let [was, is] = models.map(|model| next_tokens(model, prompts));
        for ((prompt, was), is) in prompts.iter().zip(was?).zip(is?) {
            let id = |answer: &Option<Answer>| answer.as_ref().map(|answer| answer.id);
            self.count(prompt, id(&was) == id(&is), [was.as_ref(), is.as_ref()]);
        }
        Ok(())
    }

    /// Prompts with an answer, of those that the model gave.
    fn ask_known(&mut self, probes: &[Probe], models: [&Model; 2]) -> Result<(), ScoreError> {
        let [was, is] = models.map(|model| score_probes(model, probes));
        let (was, is) = (was?, is?);
        for probe in probes.iter().filter(|probe| was[*probe].holds()) {
            let (was, is) = (&was[probe], &is[probe]);
            self.count(&probe.prompt, is.holds(), [was, is].map(|score| score.answers.first()));
        }
        Ok(())
    }

    fn count(&mut self, prompt: &str, kept: bool, answers: [Option<&Answer>; 2]) {
        self.asked += 1;
        if kept {
            self.kept += 1;
            return;
        }
        let said = |answer: &Answer| (answer.token.clone(), f64::from(answer.logprob).exp());
        let [(before, probability_before), (after, probability_after)] =
            answers.map(|answer| answer.map(said).unwrap_or_default());
        let prompt = prompt.to_owned();
        self.changed.push(SideChange { prompt, before, probability_before, after, probability_after });
    }
}

/// Sums over the tokens of plain texts.
#[derive(Debug, Default)]
struct Drift {
    tokens: usize,
    nll: [f64; 2],
    kl: f64,
}

impl Drift {
    /// Reads some texts with both models.
    fn read(&mut self, texts: &[&str], models: [&Model; 2]) -> Result<(), ScoreError> {
        let [model, _] = models;
        let mut rows = Vec::with_capacity(texts.len());
        for text in texts {
            let ask = |source: AskError| ScoreError::Ask { prompt: (*text).to_owned(), source };
            let mut ids = model.tokenizer().plain().encode(text).map_err(|error| ask(error.into()))?;
            ids.truncate(model.spec().context);
            rows.push(ids);
        }
        // A text of one token says nothing.
        rows.retain(|ids| ids.len() > 1);
        let none = |error: InputError| ScoreError::Ask { prompt: texts.join(" "), source: error.into() };
        let batch = TokenBatch::new(&rows, model.spec()).map_err(none)?;
        let places: Vec<(usize, usize)> = rows
            .iter()
            .enumerate()
            .flat_map(|(row, ids)| (0..ids.len() - 1).map(move |token| (row, token)))
            .collect();
        let read = models.map(|model| model.log_probs(&batch, &places));
        for (at, &(row, token)) in places.iter().enumerate() {
            let next = rows[row][token + 1] as usize;
            let [was, is] = [&read[0][at], &read[1][at]];
            self.nll[0] -= f64::from(was[next]);
            self.nll[1] -= f64::from(is[next]);
            self.kl += divergence(was, is);
        }
        self.tokens += places.len();
        Ok(())
    }

    /// Perplexities and the mean divergence.
    fn means(&self) -> ([f64; 2], f64) {
        let tokens = self.tokens.max(1) as f64;
        (self.nll.map(|nll| (nll / tokens).exp()), self.kl / tokens)
    }
}

/// Σ p (log p − log q) in nats, of log-probabilities.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let part = |(&p, &q): (&f32, &f32)| {
        let (p, q) = (f64::from(p), f64::from(q));
        if p == f64::NEG_INFINITY { 0.0 } else { p.exp() * (p - q) }
    };
    p.iter().zip(q).map(part).sum()
}

#[cfg(test)]
mod tests;
