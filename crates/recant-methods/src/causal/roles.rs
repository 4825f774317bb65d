//! Traces of several facts, averaged by the role of the token.

use serde::Serialize;

use super::{ByRestored, CausalTrace, Restored, peak};

/// What a token is in its prompt, as in the paper's figure 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub enum Role {
    /// The first of several tokens of the subject.
    #[serde(rename = "first subject token")]
    FirstSubject,
    /// Between the subject's first and last.
    #[serde(rename = "middle subject tokens")]
    MiddleSubject,
    /// The subject's last, or only, token.
    #[serde(rename = "last subject token")]
    LastSubject,
    /// The first behind the subject, where it is not the prompt's last.
    #[serde(rename = "first subsequent token")]
    FirstSubsequent,
    /// Between that and the prompt's last.
    #[serde(rename = "further tokens")]
    Further,
    /// The prompt's last, where it is not the subject's.
    #[serde(rename = "last token")]
    Last,
}

impl Role {
    /// All of them in the order of a prompt.
    pub const ALL: [Self; 6] = [
        Self::FirstSubject,
        Self::MiddleSubject,
        Self::LastSubject,
        Self::FirstSubsequent,
        Self::Further,
        Self::Last,
    ];

    /// What it is called in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstSubject => "first subject token",
            Self::MiddleSubject => "middle subject tokens",
            Self::LastSubject => "last subject token",
            Self::FirstSubsequent => "first subsequent token",
            Self::Further => "further tokens",
            Self::Last => "last token",
        }
    }
}

impl CausalTrace {
    /// The role of a token; `None` before the subject, where nothing is corrupted, and behind the prompt.
    #[must_use]
    pub fn role(&self, position: usize) -> Option<Role> {
        let (subject, end) = (&self.subject, self.tokens.len());
        Some(match position {
            at if at < subject.start || at >= end => return None,
            at if at + 1 == subject.end => Role::LastSubject,
            at if at == subject.start => Role::FirstSubject,
            at if at < subject.end => Role::MiddleSubject,
            at if at + 1 == end => Role::Last,
            at if at == subject.end => Role::FirstSubsequent,
            _ => Role::Further,
        })
    }

    /// The mean effects of the tokens with a role, by layer; `None` where there are none.
    fn of_role(&self, restored: Restored, role: Role) -> Option<Vec<f64>> {
        let positions = (0..self.tokens.len()).filter(|&at| self.role(at) == Some(role));
        mean(positions.map(|at| &self.effects.of(restored)[at][..]), self.layers)
    }
}

/// The mean of rows of `width` numbers; `None` of none.
fn mean<'a>(rows: impl Iterator<Item = &'a [f64]>, width: usize) -> Option<Vec<f64>> {
    let (mut sums, mut count) = (vec![0.0; width], 0u32);
    for row in rows {
        count += 1;
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    (count > 0).then(|| sums.into_iter().map(|sum| sum / f64::from(count)).collect())
}

/// Traces of one model, averaged. Every fact that has a role counts once towards it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CausalAverage {
    /// Facts.
    pub facts: usize,
    /// Blocks of the model.
    pub layers: usize,
    /// Blocks of a window.
    pub window: usize,
    /// Mean probability of the answer in the clean run.
    pub clean: f64,
    /// The same with the subject corrupted.
    pub corrupted: f64,
    /// The roles that tokens have, in the order of a prompt.
    pub roles: Vec<RoleCount>,
    /// Mean indirect effects `[role][layer]`.
    pub effects: ByRestored<Vec<Vec<f64>>>,
}

/// A role with the number of facts that have a token of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RoleCount {
    /// The role.
    pub role: Role,
    /// How many facts.
    pub facts: usize,
}

impl CausalAverage {
    /// The average of traces that were made with the same settings; `None` of none.
    #[must_use]
    pub fn of(traces: &[CausalTrace]) -> Option<Self> {
        let first = traces.first()?;
        let of = |restored, role: Role| -> Vec<Vec<f64>> {
            traces.iter().filter_map(|trace| trace.of_role(restored, role)).collect()
        };
        let counts = Role::ALL.map(|role| RoleCount { role, facts: of(Restored::State, role).len() });
        let roles: Vec<RoleCount> = counts.into_iter().filter(|count| count.facts > 0).collect();
        let average = |restored| -> Vec<Vec<f64>> {
            let rows = |count: &RoleCount| {
                let rows = of(restored, count.role);
                mean(rows.iter().map(|row| &row[..]), first.layers)
            };
            roles.iter().filter_map(rows).collect()
        };
        let over = |of: fn(&CausalTrace) -> f64| traces.iter().map(of).sum::<f64>() / traces.len() as f64;
        Some(Self {
            facts: traces.len(),
            layers: first.layers,
            window: first.window,
            clean: over(|trace| trace.clean),
            corrupted: over(|trace| trace.corrupted),
            effects: ByRestored {
                states: average(Restored::State),
                mlp: average(Restored::Mlp),
                attention: average(Restored::Attention),
            },
            roles,
        })
    }

    /// The layer with the largest mean effect of a role, the lowest among equals, and that effect; `None` where no token
    /// has the role.
    #[must_use]
    pub fn peak(&self, restored: Restored, role: Role) -> Option<(usize, f64)> {
        let at = self.roles.iter().position(|count| count.role == role)?;
        peak(self.effects.of(restored).get(at)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trace of one layer whose effects at a position are `10^position`, restored states; half of that for the MLP.
    fn of(tokens: usize, subject: std::ops::Range<usize>) -> CausalTrace {
        let effects = |factor: f64| (0..tokens).map(|at| vec![factor * 10f64.powi(at as i32)]).collect();
        CausalTrace {
            tokens: vec!["t".to_owned(); tokens],
            subject,
            target: "x".to_owned(),
            layers: 1,
            window: 1,
            clean: 0.5,
            corrupted: 0.25,
            effects: ByRestored { states: effects(1.0), mlp: effects(0.5), attention: effects(0.0) },
        }
    }

    fn roles(trace: &CausalTrace) -> Vec<Option<Role>> {
        (0..=trace.tokens.len()).map(|at| trace.role(at)).collect()
    }

    #[test]
    fn each_token_has_the_role_of_its_place() {
        use Role::*;
        let long = [
            None,
            Some(FirstSubject),
            Some(MiddleSubject),
            Some(MiddleSubject),
            Some(LastSubject),
            Some(FirstSubsequent),
            Some(Further),
            Some(Last),
            None,
        ];
        assert_eq!(roles(&of(8, 1..5)), long);
        assert_eq!(roles(&of(3, 0..1)), [Some(LastSubject), Some(FirstSubsequent), Some(Last), None]);
        assert_eq!(roles(&of(2, 0..1)), [Some(LastSubject), Some(Last), None]);
        assert_eq!(roles(&of(2, 0..2)), [Some(FirstSubject), Some(LastSubject), None]);
    }

    /// By hand: the facts' own means of a role first, then the mean over the facts that have the role.
    #[test]
    fn every_fact_counts_once_towards_a_role() {
        let average = CausalAverage::of(&[of(8, 1..5), of(3, 0..1)]).unwrap();
        let counts: Vec<(Role, usize)> =
            average.roles.iter().map(|count| (count.role, count.facts)).collect();
        assert_eq!(
            counts,
            [
                (Role::FirstSubject, 1),
                (Role::MiddleSubject, 1),
                (Role::LastSubject, 2),
                (Role::FirstSubsequent, 2),
                (Role::Further, 1),
                (Role::Last, 2)
            ]
        );
        let states: Vec<f64> = average.effects.states.iter().map(|row| row[0]).collect();
        assert_eq!(
            states,
            [1e1, (1e2 + 1e3) / 2.0, (1e4 + 1.0) / 2.0, (1e5 + 1e1) / 2.0, 1e6, (1e7 + 1e2) / 2.0]
        );
        assert_eq!(average.peak(Restored::Mlp, Role::LastSubject), Some((0, (1e4 + 1.0) / 4.0)));
        assert_eq!((average.facts, average.clean, average.corrupted), (2, 0.5, 0.25));
        assert_eq!(CausalAverage::of(&[]), None);
    }
}
