//! Second moments, measured so that a measurement that is broken off goes on.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use recant_files::OutputFile;
use recant_methods::moments::{CollectError, Collector, Moments, MomentsFileError, ResumeError};
use recant_model::Model;

use crate::observer::{Observer, Progress, Unit};

/// Second moments cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatsFailure {
    /// The corpus or the model does not give them.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// What was broken off cannot be gone on with.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// What there is so far cannot be kept.
    #[error(transparent)]
    File(#[from] MomentsFileError),
    /// The observer broke it off, and it was kept.
    #[error("broken off after {tokens} tokens, which {path} keeps")]
    BrokenOff {
        /// The file.
        path: PathBuf,
        /// Tokens read.
        tokens: u64,
    },
}

/// A measurement that is kept in a file until it is whole.
pub struct Measurement<'m> {
    collector: Collector<'m>,
    partial: OutputFile,
    resumed: Option<u64>,
    notes: Vec<String>,
}

impl<'m> Measurement<'m> {
    /// Begins a measurement of some layers over `budget` tokens (without it: ten times the length of a key), or goes on
    /// with the one that `partial` keeps.
    ///
    /// # Errors
    /// [`StatsFailure::Collect`], [`StatsFailure::Resume`].
    pub fn begin(
        model: &'m Model,
        layers: &[usize],
        budget: Option<u64>,
        partial: OutputFile,
    ) -> Result<Self, StatsFailure> {
        let collector = Collector::new(model, layers, budget)?;
        if !partial.path().exists() {
            return Ok(Self { collector, partial, resumed: None, notes: Vec::new() });
        }
        let opened = collector.resume(partial.path())?;
        let notes = opened.note(partial.path()).into_iter().collect();
        let collector = opened.value;
        Ok(Self { resumed: Some(collector.progress().tokens), collector, partial, notes })
    }

    /// Tokens that were read before, where it goes on.
    #[must_use]
    pub fn resumed(&self) -> Option<u64> {
        self.resumed
    }

    /// What to know about the file that it goes on with.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Measures, keeping what there is at intervals and when `observer` breaks it off.
    ///
    /// # Errors
    /// [`StatsFailure`].
    pub fn run(self, corpus: &[PathBuf], observer: &dyn Observer) -> Result<Moments, StatsFailure> {
        let Self { mut collector, partial, .. } = self;
        let tell = |collector: &Collector<'_>| {
            let progress = collector.progress();
            let (done, of) = (progress.tokens.min(progress.budget), progress.budget);
            observer.progress(Progress { work: "second moments", detail: "", done, of, unit: Unit::Tokens });
        };
        tell(&collector);
        let mut keeper = Keeper { last: Instant::now(), took: Duration::ZERO };
        let mut kept = Ok(());
        let ended = collector.read(corpus, |collector| {
            tell(collector);
            let stopped = observer.cancelled();
            if stopped || keeper.due() {
                kept = keeper.keep(collector, &partial);
            }
            if stopped || kept.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        observer.idle();
        let ended = ended?;
        kept?;
        if ended.is_break() {
            let tokens = collector.progress().tokens;
            return Err(StatsFailure::BrokenOff { path: partial.path().to_owned(), tokens });
        }
        Ok(collector.finish()?)
    }
}

/// Keeps a measurement every half minute, or as seldom as makes keeping a twentieth of the work.
struct Keeper {
    last: Instant,
    took: Duration,
}

impl Keeper {
    fn due(&self) -> bool {
        self.last.elapsed() >= Duration::from_secs(30).max(20 * self.took)
    }

    fn keep(&mut self, collector: &Collector<'_>, partial: &OutputFile) -> Result<(), MomentsFileError> {
        let started = Instant::now();
        collector.keep_in(partial)?;
        self.last = Instant::now();
        self.took = self.last - started;
        Ok(())
    }
}
