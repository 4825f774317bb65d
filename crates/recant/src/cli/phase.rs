//! Phases of a command, told with -v.

use std::time::Instant;

/// Runs a phase of a command. With -v its duration is told, with -vv its beginning too.
pub(crate) fn phase<T, E>(name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    tracing::debug!("{name} begins");
    let started = Instant::now();
    let done = work();
    let outcome = if done.is_ok() { "done" } else { "failed" };
    tracing::info!("{name} {outcome}, {:.3} s", started.elapsed().as_secs_f64());
    done
}
