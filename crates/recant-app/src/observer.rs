//! Whoever shows what goes on, and may break it off.

use std::ops::ControlFlow;

use recant_edit::{Watch, Work};

/// What steps of some work are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Bytes of files.
    Bytes,
    /// Tokens of a text.
    Tokens,
    /// Texts, whatever their length.
    Texts,
    /// Facts.
    Facts,
    /// Passes of a model over its input.
    Passes,
    /// Steps of a descent.
    Steps,
    /// Cases of a data set.
    Cases,
    /// Edits, of one fact or more.
    Edits,
}

impl Unit {
    /// As it stands behind a number.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Tokens => "tokens",
            Self::Texts => "texts",
            Self::Facts => "facts",
            Self::Passes => "passes",
            Self::Steps => "steps",
            Self::Cases => "cases",
            Self::Edits => "edits",
        }
    }
}

/// How far some work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The work, such as `second moments`. Another one means that the former work is over.
    pub work: &'a str,
    /// What of it is being done, such as the name of a file; may be empty.
    pub detail: &'a str,
    /// Steps done.
    pub done: u64,
    /// Steps to do in all.
    pub of: u64,
    /// What a step is.
    pub unit: Unit,
}

/// Hears what goes on. The calls come from one thread, and should return at once.
pub trait Observer {
    /// Something worth knowing that is no result.
    fn note(&self, note: &str);

    /// Some work goes on; told before its first step too.
    fn progress(&self, progress: Progress<'_>);

    /// No work goes on.
    fn idle(&self);

    /// Whether the work shall be broken off: asked at each of its steps.
    fn cancelled(&self) -> bool {
        false
    }

    /// A phase of some work begins, such as `plan`.
    fn begin(&self, _phase: &str) {}

    /// It ends, done or not.
    fn end(&self, _phase: &str, _done: bool) {}
}

/// Runs a phase of some work, which `observer` hears of.
///
/// # Errors
/// Those of the work.
pub fn phase<T, E>(observer: &dyn Observer, name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    observer.begin(name);
    let done = work();
    observer.end(name, done.is_ok());
    done
}

/// Hears and shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn note(&self, _: &str) {}

    fn progress(&self, _: Progress<'_>) {}

    fn idle(&self) {}
}

/// An observer who watches an edit.
pub(crate) struct Watching<'a>(pub(crate) &'a dyn Observer);

impl Watching<'_> {
    /// Whether the work goes on.
    pub(crate) fn goes_on(&self) -> ControlFlow<()> {
        if self.0.cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Watch for Watching<'_> {
    fn step(&self, work: Work, done: usize, of: usize) -> ControlFlow<()> {
        let (work, unit) = match work {
            Work::Joint => ("joint values", Unit::Passes),
            Work::Values => ("values", Unit::Facts),
            _ => ("search", Unit::Steps),
        };
        self.0.progress(Progress { work, detail: "", done: done as u64, of: of as u64, unit });
        self.goes_on()
    }
}

/// An observer who breaks an edit off and hears nothing of its steps, which are part of other work.
pub(crate) struct Heeding<'a>(pub(crate) &'a dyn Observer);

impl Watch for Heeding<'_> {
    fn step(&self, _: Work, _: usize, _: usize) -> ControlFlow<()> {
        Watching(self.0).goes_on()
    }
}
