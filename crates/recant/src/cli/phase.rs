//! Phases of a command: told with -v, and shown while they last where they show nothing themselves.

use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::progress::LINE_EVERY;

/// A phase that is over sooner is not shown.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How often a phase is drawn on a terminal.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Runs a phase of a command. With -v its duration is told, with -vv its beginning too.
pub(crate) fn phase<T, E>(name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    tracing::debug!("{name} begins");
    let started = Instant::now();
    let done = work();
    let outcome = if done.is_ok() { "done" } else { "failed" };
    tracing::info!("{name} {outcome}, {:.3} s", started.elapsed().as_secs_f64());
    done
}

/// As [`phase`], for work that says nothing of its own before it is done: how long it has taken so far is shown on a
/// terminal, and told every ten seconds elsewhere.
pub(crate) fn long_phase<T, E>(name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    phase(name, || {
        let (ended, ends) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || show(name, &ends));
            let done = work();
            // Also dropped by a panic, so that the scope ends.
            drop(ended);
            done
        })
    })
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_long_phase_gives_what_its_work_gives_and_ends_with_it() {
        assert_eq!(long_phase("a", || Ok::<_, ()>(7)), Ok(7));
        assert_eq!(long_phase("a", || Err::<(), _>("no")), Err("no"));
        let thrown = catch_unwind(AssertUnwindSafe(|| {
            long_phase("a", || -> Result<(), ()> { std::panic::resume_unwind(Box::new("thrown")) })
        }));
        assert_eq!(thrown.unwrap_err().downcast_ref::<&str>(), Some(&"thrown"));
    }
}
