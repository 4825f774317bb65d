//! What became of facts.

use recant_edit::Fact;
use recant_eval::Verdict;
use serde_json::{Value, json};

/// Facts with their verdicts.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    facts: &'a [Fact],
    verdicts: &'a [Verdict],
}

impl<'a> Judged<'a> {
    /// Facts, and a verdict for each in the same order.
    #[must_use]
    pub fn new(facts: &'a [Fact], verdicts: &'a [Verdict]) -> Self {
        Self { facts, verdicts }
    }

    /// Each fact with its verdict.
    pub fn iter(self) -> impl Iterator<Item = (&'a Fact, &'a Verdict)> {
        self.facts.iter().zip(self.verdicts)
    }

    /// How many facts there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.facts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.facts.is_empty()
    }

    /// How many hold.
    #[must_use]
    pub fn held(self) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.holds).count()
    }

    /// An object for each fact. `answered` and `answer` are the names of `holds` and of the first token in earlier
    /// versions.
    #[must_use]
    pub fn json(self) -> Vec<Value> {
        let one = |(fact, verdict): (&Fact, &Verdict)| {
            json!({
                "fact": fact, "holds": verdict.holds, "probability_before": verdict.probability_before,
                "probability_after": verdict.probability_after, "best": verdict.best,
                "continuation": verdict.continuation, "answered": verdict.holds, "answer": verdict.answer,
            })
        };
        self.iter().map(one).collect()
    }

    /// All of them as JSON lines, which is what a file of verdicts holds.
    #[must_use]
    pub fn lines(self) -> String {
        self.json().iter().map(|line| format!("{line}\n")).collect()
    }
}
