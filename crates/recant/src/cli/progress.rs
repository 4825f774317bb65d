//! Progress on standard error: a bar on a terminal, a plain line every ten seconds elsewhere.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use recant_app::{Observer, Unit};

use super::text;
use super::waiting::Waiting;

/// How often a log, a pipe or a CI job hears that the work continues.
pub(super) const LINE_EVERY: Duration = Duration::from_secs(10);

/// How far some work has come. Shows itself at once, before the first step is done.
pub(crate) struct Progress {
    bar: ProgressBar,
    unit: &'static str,
    /// When the last line was printed; `None` on a terminal, which has the bar.
    last_line: Option<Mutex<Instant>>,
}

/// Shows what goes on: a bar for the work that is being done, a line for each note. A phase is told with -v, and shown
/// while it lasts where it shows nothing itself.
#[derive(Default)]
pub(crate) struct Terminal {
    bar: RefCell<Option<(String, Progress)>>,
    phase: Cell<Option<Instant>>,
    waiting: RefCell<Option<Waiting>>,
    /// Set when the work shall be broken off.
    asked: Arc<AtomicBool>,
}

impl Terminal {
    /// Breaks work off when the flag is set.
    pub(crate) fn stopped_by(asked: Arc<AtomicBool>) -> Self {
        Self { asked, ..Self::default() }
    }
}

impl Observer for Terminal {
    fn note(&self, note: &str) {
        remark!("note: {note}");
    }

    fn progress(&self, progress: recant_app::Progress<'_>) {
        self.waiting.take();
        let recant_app::Progress { work, detail, done, of, unit } = progress;
        let mut shown = self.bar.borrow_mut();
        if shown.as_ref().is_none_or(|(former, _)| former != work) {
            let made = match unit {
                Unit::Bytes => bytes(of, work),
                unit => bar(of, work, unit.name()),
            };
            if let Some((_, former)) = shown.replace((work.to_owned(), made)) {
                former.finish_and_clear();
            }
        }
        let Some((_, bar)) = &*shown else { return };
        bar.set_length(of);
        if !detail.is_empty() && bar.message() != detail {
            bar.set_message(detail.to_owned());
        }
        bar.set_position(done);
    }

    fn idle(&self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn cancelled(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn begin(&self, phase: &str) {
        tracing::debug!("{phase} begins");
        self.phase.set(Some(Instant::now()));
        if self.bar.borrow().is_none() {
            self.waiting.replace(Some(Waiting::begin(phase)));
        }
    }

    fn end(&self, phase: &str, done: bool) {
        self.waiting.take();
        let seconds = self.phase.take().map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        tracing::info!("{phase} {}, {seconds:.3} s", if done { "done" } else { "failed" });
    }
}

/// Progress over a known number of steps; `unit` names them.
pub(crate) fn bar(len: u64, label: &str, unit: &'static str) -> Progress {
    let template = format!("{{msg:16}} {{bar:32}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(len).with_style(style).with_message(label.to_owned());
    if std::io::stderr().is_terminal() {
        // Drawn again by itself, so that a slow step is not mistaken for a program that hangs.
        bar.enable_steady_tick(Duration::from_millis(500));
        return Progress { bar, unit, last_line: None };
    }
    Progress { bar, unit, last_line: Some(Mutex::new(Instant::now())) }
}

/// Progress over bytes.
pub(crate) fn bytes(len: u64, label: &str) -> Progress {
    let bar = bar(len, label, "bytes");
    let template = "{msg:16} {bar:32} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
    bar.bar
        .set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

impl Progress {
    /// `steps` are done.
    pub(crate) fn set_position(&self, steps: u64) {
        self.bar.set_position(steps);
        self.line();
    }

    /// There are `steps` to do.
    pub(crate) fn set_length(&self, steps: u64) {
        self.bar.set_length(steps);
    }

    /// What is being done.
    pub(crate) fn message(&self) -> String {
        self.bar.message()
    }

    /// Says what is being done.
    pub(crate) fn set_message(&self, message: String) {
        self.bar.set_message(text::line(&message).into_owned());
        self.line();
    }

    /// The work is done; a bar disappears.
    pub(crate) fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints a line if none was printed for [`LINE_EVERY`].
    fn line(&self) {
        let Some(last) = &self.last_line else { return };
        let Ok(mut last) = last.lock() else { return };
        if last.elapsed() < LINE_EVERY {
            return;
        }
        *last = Instant::now();
        let (done, of) = (self.bar.position(), self.bar.length().unwrap_or(0));
        // Progress is no result: where standard error is closed, the work goes on.
        let seconds = self.bar.elapsed().as_secs_f64();
        remark!("{}: {done} of {of} {} after {seconds:.0} s", self.bar.message(), self.unit);
    }
}
