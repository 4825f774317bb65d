//! Bounds that an edit has to keep, or nothing is written.

use std::fmt;
use std::path::PathBuf;

use recant_eval::{SideEffects, SideKind};
use serde::{Deserialize, Serialize};

use super::EditOutcome;

/// Bounds on what an edit did. What is not named is not bounded.
///
/// ```toml
/// facts = 1.0             # at least this share of the facts holds
/// relation = 0.9          # at least this share of other subjects keeps its answer
/// namesake = 0.9          # at least this share of names that are nearly the subject's keeps its answer
/// name = 1.0              # at least this share of the subjects is still spelled
/// retained = 0.95         # at least this share of the facts to be retained is still answered
/// retained_facts = "retained.json"
/// kl = 0.05               # at most this divergence on plain texts, in nats a token
/// perplexity = 1.02       # at most this many times the former perplexity of plain texts
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Least share of the facts that hold.
    pub facts: Option<f64>,
    /// Least share of other subjects in the facts' sentences that keep their answer.
    pub relation: Option<f64>,
    /// Least share of names that are nearly the subjects' that keep their answer.
    pub namesake: Option<f64>,
    /// Least share of the subjects whose name is still spelled.
    pub name: Option<f64>,
    /// Least share of retained facts that are still answered, of those that were.
    pub retained: Option<f64>,
    /// The file of the facts to be retained, in the form of a probe of an evaluation.
    pub retained_facts: Option<PathBuf>,
    /// Largest divergence on plain texts, in nats a token.
    pub kl: Option<f64>,
    /// Largest ratio of the perplexities of plain texts, after to before.
    pub perplexity: Option<f64>,
}

/// A gate that makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// It bounds nothing.
    #[error("it bounds nothing: facts, relation, namesake, name, retained, kl or perplexity is expected")]
    Empty,
    /// A bound is out of its range.
    #[error("{key} = {value}: {expected} is expected")]
    Range {
        /// The bound.
        key: &'static str,
        /// Its value.
        value: f64,
        /// The values that it can have.
        expected: &'static str,
    },
    /// Retained facts are bounded, and there are none, or the other way round.
    #[error("retained and retained_facts go together: a bound, and the file of the facts that it is for")]
    Retained,
}

/// A bound, and which side of it is right.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// It has to be at least so much.
    AtLeast(f64),
    /// It may be at most so much.
    AtMost(f64),
}

impl Bound {
    /// Whether a value keeps it. What is not a number keeps none.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// As it stands in a sentence: "at least 0.9".
impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::AtMost(most) => write!(f, "at most {most}"),
        }
    }
}

/// What a gate measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gated {
    /// The bound's name.
    pub key: &'static str,
    /// The bound.
    pub bound: Bound,
    /// What was measured; `None` where nothing could be: the base model had no answer to lose.
    pub value: Option<f64>,
}

impl Gated {
    /// Whether the bound is kept; what could not be measured breaks none.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.value.is_none_or(|value| self.bound.holds(value))
    }
}

impl fmt::Display for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{} is {value:.3}, {} is asked", self.key, self.bound),
            None => write!(f, "{}: nothing to measure, {} is asked", self.key, self.bound),
        }
    }
}

/// An edit that a gate does not let through.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the edit does not pass the gate: {}; nothing was written", .broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Breach {
    /// The bounds that it breaks.
    pub broken: Vec<Gated>,
}

impl Gate {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// [`GateError`].
    pub fn check(&self) -> Result<(), GateError> {
        let bounds = self.bounds();
        if bounds.is_empty() {
            return Err(GateError::Empty);
        }
        for (key, bound) in bounds {
            let (value, fits, expected) = match bound {
                Bound::AtLeast(share) => (share, (0.0..=1.0).contains(&share), "a share from 0 to 1"),
                Bound::AtMost(most) if key == "perplexity" => {
                    (most, most >= 1.0 && most.is_finite(), "a ratio of at least 1")
                }
                Bound::AtMost(most) => (most, most >= 0.0 && most.is_finite(), "a number of at least 0"),
            };
            if !fits {
                return Err(GateError::Range { key, value, expected });
            }
        }
        if self.retained.is_some() != self.retained_facts.is_some() {
            return Err(GateError::Retained);
        }
        Ok(())
    }

    /// What an edit has to be measured by, in a fixed order.
    fn bounds(&self) -> Vec<(&'static str, Bound)> {
        let least = [
            ("facts", self.facts),
            ("relation", self.relation),
            ("namesake", self.namesake),
            ("name", self.name),
            ("retained", self.retained),
        ];
        let most = [("kl", self.kl), ("perplexity", self.perplexity)];
        let least = least.into_iter().filter_map(|(key, bound)| Some((key, Bound::AtLeast(bound?))));
        least.chain(most.into_iter().filter_map(|(key, bound)| Some((key, Bound::AtMost(bound?))))).collect()
    }

    /// Measures an edit by each bound. The side effects of the edit have to have been asked for.
    ///
    /// # Errors
    /// [`Breach`] has every bound that is broken.
    pub(super) fn measure(&self, outcome: &EditOutcome) -> Result<Vec<Gated>, Breach> {
        let beside = outcome.side_effects.as_ref();
        let share = |kind| beside.and_then(|beside| beside.share(kind));
        let judged = outcome.judged();
        let value = |key: &str| match key {
            "facts" => (!judged.is_empty()).then(|| judged.held() as f64 / judged.len() as f64),
            "relation" => share(SideKind::Relation),
            "namesake" => share(SideKind::Namesake),
            "name" => share(SideKind::Name),
            "retained" => share(SideKind::Retained),
            "kl" => beside.map(|beside| beside.kl),
            _ => beside.map(SideEffects::perplexity_ratio),
        };
        let gated = self.bounds().into_iter().map(|(key, bound)| Gated { key, bound, value: value(key) });
        let (kept, broken): (Vec<Gated>, Vec<Gated>) = gated.partition(Gated::holds);
        if broken.is_empty() { Ok(kept) } else { Err(Breach { broken }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_makes_no_sense_is_refused_by_name() {
        let of = |gate: Gate| gate.check();
        assert_eq!(of(Gate::default()), Err(GateError::Empty));
        assert_eq!(of(Gate { facts: Some(1.0), ..Gate::default() }), Ok(()));
        for (gate, key) in [
            (Gate { relation: Some(1.5), ..Gate::default() }, "relation"),
            (Gate { name: Some(f64::NAN), ..Gate::default() }, "name"),
            (Gate { kl: Some(-1.0), ..Gate::default() }, "kl"),
            (Gate { perplexity: Some(0.5), ..Gate::default() }, "perplexity"),
            (Gate { perplexity: Some(f64::INFINITY), ..Gate::default() }, "perplexity"),
        ] {
            assert!(matches!(of(gate), Err(GateError::Range { key: of, .. }) if of == key), "{key}");
        }
        assert_eq!(of(Gate { retained: Some(1.0), ..Gate::default() }), Err(GateError::Retained));
    }

    #[test]
    fn what_is_no_number_keeps_no_bound() {
        for bound in [Bound::AtLeast(0.0), Bound::AtMost(9.0)] {
            let gated = |value| Gated { key: "kl", bound, value };
            assert!(!gated(Some(f64::NAN)).holds() && gated(Some(1.0)).holds() && gated(None).holds());
        }
        assert!(!Bound::AtLeast(0.5).holds(0.4) && !Bound::AtMost(0.5).holds(0.6));
    }
}
