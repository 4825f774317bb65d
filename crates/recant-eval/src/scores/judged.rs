//! A case with what the unedited and the edited model make of its prompts: what scorers read.

use std::collections::BTreeMap;

use crate::dataset::{Case, Consequence, Neighbour};
use crate::free::FreeScores;
use crate::probe::{Probe, ProbeScore};

/// A case and the answers to its prompts, on the unedited and on the edited model.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    case: &'a Case,
    before: &'a BTreeMap<Probe, ProbeScore>,
    after: &'a BTreeMap<Probe, ProbeScore>,
    /// What the edited model writes by itself, where it was asked to.
    pub(crate) free: Option<FreeScores>,
}

impl<'a> Judged<'a> {
    pub(crate) fn of(
        case: &'a Case,
        before: &'a BTreeMap<Probe, ProbeScore>,
        after: &'a BTreeMap<Probe, ProbeScore>,
        free: Option<FreeScores>,
    ) -> Self {
        Self { case, before, after, free }
    }

    /// The prompt that was rewritten.
    pub(crate) fn prompt(&self) -> String {
        self.case.fact.text()
    }

    /// Other ways to ask.
    pub(crate) fn paraphrases(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.case.paraphrases.iter().map(String::as_str)
    }

    /// Prompts about other subjects.
    pub(crate) fn neighbours(&self) -> impl Iterator<Item = &'a Neighbour> + use<'a> {
        self.case.neighbours.iter()
    }

    /// Prompts whose answer follows from the fact.
    pub(crate) fn consequences(&self) -> impl Iterator<Item = &'a Consequence> + use<'a> {
        self.case.consequences.iter()
    }

    /// What the edited model makes of the new target.
    pub(crate) fn edited(&self, prompt: &str) -> &'a ProbeScore {
        self.after(prompt, &self.case.fact.target)
    }

    /// What the unedited model makes of the new target.
    pub(crate) fn unedited(&self, prompt: &str) -> &'a ProbeScore {
        self.before(prompt, &self.case.fact.target)
    }

    /// What the edited model makes of a target.
    pub(crate) fn after(&self, prompt: &str, target: &str) -> &'a ProbeScore {
        &self.after[&probe(prompt, target)]
    }

    /// What the unedited model makes of a target.
    pub(crate) fn before(&self, prompt: &str, target: &str) -> &'a ProbeScore {
        &self.before[&probe(prompt, target)]
    }

    /// An answer that the new target is compared with. A comparison of the new target with itself says nothing.
    pub(crate) fn rival<'b>(&self, truth: &'b Option<String>) -> Option<&'b str> {
        truth.as_deref().filter(|truth| *truth != self.case.fact.target)
    }

    /// The case's own former answer, where it is another one than the new target.
    pub(crate) fn former(&self) -> Option<&'a str> {
        self.rival(&self.case.target_true)
    }
}

fn probe(prompt: &str, target: &str) -> Probe {
    Probe { prompt: prompt.to_owned(), target: target.to_owned(), literal: false }
}
