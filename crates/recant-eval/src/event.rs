//! What happens during an evaluation, for whoever shows progress and keeps what is done.

use std::cell::RefCell;
use std::ops::ControlFlow;

use recant_edit::{Watch, Work};

use crate::runner::Single;
use crate::scenario::Progress;

/// What happens during an evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A case was scored.
    Case {
        /// The method, `unedited` for the base model.
        method: &'a str,
        /// Cases done by this method.
        done: usize,
        /// Cases in all.
        of: usize,
    },
    /// A case was put in alone, scored and taken back.
    Single {
        /// The method.
        method: &'a str,
        /// What came of it, for whoever keeps it.
        single: &'a Single,
    },
    /// A step of a sequence was learned and scored.
    Step {
        /// The method.
        method: &'a str,
        /// How far it has come, for whoever keeps it.
        progress: &'a Progress,
        /// Where the step's search ended, if it told.
        loss: Option<f32>,
    },
    /// What a case or a step waits for has come some way. Of cases that are put in side by side nothing is told.
    Underway {
        /// The method.
        method: &'a str,
        /// What is being done.
        stage: Stage,
        /// So much of it is done.
        done: usize,
        /// Of so much.
        of: usize,
    },
}

/// What is done with a case or a step before it counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Facts are put in.
    Edit(Work),
    /// Cases are scored.
    Score,
    /// The model writes what it says to each case by itself.
    Write,
}

/// Whoever hears of an evaluation, as one who watches its edits.
pub(crate) struct Listening<'a> {
    method: &'a str,
    on_event: RefCell<&'a mut dyn FnMut(Event<'_>)>,
}

impl<'a> Listening<'a> {
    pub(crate) fn to(method: &'a str, on_event: &'a mut dyn FnMut(Event<'_>)) -> Self {
        Self { method, on_event: RefCell::new(on_event) }
    }

    /// So much of something is done.
    pub(crate) fn tell(&self, stage: Stage, done: usize, of: usize) {
        // Whoever hears of an event makes none.
        if let Ok(mut on_event) = self.on_event.try_borrow_mut() {
            on_event(Event::Underway { method: self.method, stage, done, of });
        }
    }
}

impl Watch for Listening<'_> {
    fn step(&self, work: Work, done: usize, of: usize) -> ControlFlow<()> {
        self.tell(Stage::Edit(work), done, of);
        ControlFlow::Continue(())
    }
}
