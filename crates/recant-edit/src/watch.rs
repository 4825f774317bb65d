//! Whoever watches an edit being made, and may break it off.

use std::ops::ControlFlow;

use crate::error::EditError;

/// What of the work of an edit takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Work {
    /// One descent, counted in steps.
    Search,
    /// The search for facts' own values, counted in facts.
    Values,
    /// The joint search over all facts of a ledger, counted in passes over a part of their rows.
    Joint,
}

/// Hears each step of the work, and says whether it goes on.
pub trait Watch {
    /// So much of some work is done, of so much. A break ends it with [`EditError::Cancelled`] before the next step.
    fn step(&self, work: Work, done: usize, of: usize) -> ControlFlow<()>;
}

/// Nobody watches.
impl Watch for () {
    fn step(&self, _: Work, _: usize, _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl dyn Watch + '_ {
    /// Tells a step.
    ///
    /// # Errors
    /// [`EditError::Cancelled`] when the work is broken off.
    pub fn tell(&self, work: Work, done: usize, of: usize) -> Result<(), EditError> {
        match self.step(work, done, of) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EditError::Cancelled),
        }
    }
}
