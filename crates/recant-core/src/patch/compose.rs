//! The algebra: `then` and `invert`.

use super::{Addend, Change, Delta, WeightPatch};
use crate::{Matrix, ParamPath, TensorId};

/// Two patches do not compose.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// One of the patches adds to a parameter that the other swaps, or one adds factors and the other a
    /// full matrix.
    #[error("both patches change `{path}`, in different ways; apply one and compose the swaps instead")]
    MixedKinds {
        /// The parameter.
        path: ParamPath,
    },
    /// The second patch was not made for what the first one leaves.
    #[error(
        "the second patch expects `{path}` = {expected:?}, but the first one was made for or leaves {found:?}"
    )]
    Base {
        /// The parameter.
        path: ParamPath,
        /// What the second patch was made for.
        expected: TensorId,
        /// What is there.
        found: TensorId,
    },
    /// The addends have different shapes.
    #[error("the patches change `{path}` as {first:?} and {second:?}")]
    Shape {
        /// The parameter.
        path: ParamPath,
        /// Shape in the first patch.
        first: [usize; 2],
        /// Shape in the second patch.
        second: [usize; 2],
    },
    /// The sum of two dense addends is beyond f32.
    #[error("the sum of both changes of `{path}` is beyond f32")]
    Overflow {
        /// The parameter.
        path: ParamPath,
    },
}

/// A patch has no exact inverse.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "the change of `{path}` is an addition, which has no inverse to the byte; \
     apply it and take the swap patch that comes back"
)]
pub struct InvertError {
    /// The first parameter that is added to.
    pub path: ParamPath,
}

impl WeightPatch {
    /// One patch that does what `self` and then `other` do.
    ///
    /// On one parameter, additions compose when both were made for the same base tensor (low-rank factors
    /// are put side by side, which associates exactly; dense ones are summed in f64 and rounded to f32),
    /// and swaps compose when the second starts from the tensor that the first one leaves.
    ///
    /// # Errors
    /// [`ComposeError`] names the parameter on which they do not fit. Mixed kinds are never guessed at.
    pub fn then(&self, other: &Self) -> Result<Self, ComposeError> {
        let mut changes = self.changes.clone();
        for (path, second) in &other.changes {
            let composed = match self.changes.get(path) {
                Some(first) => then_one(path, first, second)?,
                None => second.clone(),
            };
            changes.insert(path.clone(), composed);
        }
        Ok(Self { changes })
    }

    /// The patch that goes back, for patches made of swaps: an involution.
    ///
    /// # Errors
    /// [`InvertError`] when a change is an addition.
    pub fn invert(&self) -> Result<Self, InvertError> {
        let invert_one = |(path, change): (&ParamPath, &Change)| match change.delta {
            Delta::Swap { after } => {
                Ok((path.clone(), Change { base: after, delta: Delta::Swap { after: change.base } }))
            }
            Delta::Add(_) => Err(InvertError { path: path.clone() }),
        };
        let changes = self.changes.iter().map(invert_one).collect::<Result<_, _>>()?;
        Ok(Self { changes })
    }
}

fn then_one(path: &ParamPath, first: &Change, second: &Change) -> Result<Change, ComposeError> {
    let base_must_be = |found: TensorId| {
        let expected = second.base;
        if expected == found {
            Ok(())
        } else {
            Err(ComposeError::Base { path: path.clone(), expected, found })
        }
    };
    let delta = match (&first.delta, &second.delta) {
        (Delta::Swap { after }, Delta::Swap { after: last }) => {
            base_must_be(*after)?;
            Delta::Swap { after: *last }
        }
        (Delta::Add(one), Delta::Add(two)) => {
            base_must_be(first.base)?;
            Delta::Add(sum(path, one, two)?)
        }
        _ => return Err(ComposeError::MixedKinds { path: path.clone() }),
    };
    Ok(Change { base: first.base, delta })
}

fn sum(path: &ParamPath, one: &Addend, two: &Addend) -> Result<Addend, ComposeError> {
    if one.shape() != two.shape() {
        return Err(ComposeError::Shape { path: path.clone(), first: one.shape(), second: two.shape() });
    }
    let mixed = || ComposeError::MixedKinds { path: path.clone() };
    match (one, two) {
        (Addend::LowRank { u: u1, v: v1 }, Addend::LowRank { u: u2, v: v2 }) => {
            let (u, v) = u1.beside(u2).zip(v1.beside(v2)).ok_or_else(mixed)?;
            Ok(Addend::LowRank { u, v })
        }
        (Addend::Dense(one), Addend::Dense(two)) => {
            let terms = one.data().iter().zip(two.data());
            #[expect(clippy::cast_possible_truncation, reason = "documented: rounded to f32")]
            let data = terms.map(|(&a, &b)| (f64::from(a) + f64::from(b)) as f32).collect();
            let sum = Matrix::new(one.rows(), one.cols(), data);
            sum.map(Addend::Dense).map_err(|_| ComposeError::Overflow { path: path.clone() })
        }
        _ => Err(mixed()),
    }
}
