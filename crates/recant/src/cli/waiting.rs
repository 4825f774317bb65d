//! How long a phase has taken so far, for work that says nothing of its own before it is done: on a terminal it is
//! drawn, elsewhere told every ten seconds.

use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::progress::LINE_EVERY;

/// A phase that is over sooner is not shown.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How often a phase is drawn on a terminal.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// A phase that is shown until this is dropped.
pub(super) struct Waiting {
    /// Dropped first, which ends the other thread.
    ended: Option<Sender<()>>,
    shows: Option<JoinHandle<()>>,
}

impl Waiting {
    pub(super) fn begin(phase: &str) -> Self {
        let (ended, ends) = mpsc::channel();
        let phase = phase.to_owned();
        // Where there can be no thread, the phase is not shown.
        let shows =
            thread::Builder::new().name("progress".to_owned()).spawn(move || show(&phase, &ends)).ok();
        Self { ended: Some(ended), shows }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.ended.take();
        let _shown = self.shows.take().map(JoinHandle::join);
    }
}

/// Shows a phase until the other end of `ends` is gone.
fn show(name: &str, ends: &mpsc::Receiver<()>) {
    let waits = |time| ends.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
    let started = Instant::now();
    if !std::io::stderr().is_terminal() {
        while waits(LINE_EVERY) {
            remark!("{name}: {:.0} s so far", started.elapsed().as_secs_f64());
        }
        return;
    }
    if !waits(AT_ONCE) {
        return;
    }
    let style = ProgressStyle::with_template("{spinner} {msg}");
    let bar =
        ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    loop {
        bar.set_message(format!("{name}, {:.0} s", started.elapsed().as_secs_f64()));
        bar.tick();
        if !waits(DRAW_EVERY) {
            return bar.finish_and_clear();
        }
    }
}
