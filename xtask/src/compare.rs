//! `cargo xtask compare`: two commands, timed in turn on the same machine within the same minutes.
//!
//! Figures of different days, or of commands that ran side by side, say nothing about each other. So both run one after the
//! other, as often as asked, and what is told is the ratio of their medians.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::error::Error;

#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Our command, for a shell.
    #[arg(long, value_name = "COMMAND")]
    ours: String,
    /// The command to compare with, such as the reference code's: `python edit.py`.
    #[arg(long, value_name = "COMMAND")]
    reference: String,
    /// How often each runs.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Threads that both may use, told to Rayon, OpenMP, MKL and OpenBLAS.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Compare the number behind this text in what both commands print, such as "plan done, ", instead of the time that a
    /// command takes from start to end.
    #[arg(long, value_name = "TEXT")]
    read: Option<String>,
}

pub(crate) fn run(args: &CompareArgs) -> Result<(), Error> {
    let mut seconds = [Vec::new(), Vec::new()];
    for turn in 0..args.runs {
        for (which, command) in [&args.reference, &args.ours].into_iter().enumerate() {
            let took = timed(command, args)?;
            crate::note(&format!(
                "{} of {}: {took:.3} s, {}",
                turn + 1,
                args.runs,
                ["reference", "ours"][which]
            ));
            seconds[which].push(took);
        }
    }
    let [reference, ours] = seconds.map(Figures::of);
    let threads = if args.threads == 1 { "thread" } else { "threads" };
    crate::say(&format!("{} {threads}, {} runs of each, in turn", args.threads, args.runs));
    crate::say("| | median, s | least | most |");
    crate::say("|---|---|---|---|");
    for (name, Figures { least, median, most }) in [("reference", reference), ("ours", ours)] {
        crate::say(&format!("| {name} | {median:.3} | {least:.3} | {most:.3} |"));
    }
    crate::say(&format!("ours is {:.2} times as fast", reference.median / ours.median));
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    least: f64,
    median: f64,
    most: f64,
}

impl Figures {
    /// Of at least one number.
    fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let (count, last) = (seconds.len(), seconds.len() - 1);
        let median = (seconds[last / 2] + seconds[count / 2]) / 2.0;
        Self { least: seconds[0], median, most: seconds[last] }
    }
}

fn timed(command: &str, args: &CompareArgs) -> Result<f64, Error> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null());
    for name in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"] {
        shell.env(name, args.threads.to_string());
    }
    let failed = |reason: String| Error::Failed(format!("`{command}`: {reason}"));
    let started = Instant::now();
    let output = shell.output().map_err(|error| failed(error.to_string()))?;
    let took = started.elapsed().as_secs_f64();
    let told =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if !output.status.success() {
        return Err(failed(format!("it ended with {}: {}", output.status, told.trim_end())));
    }
    match &args.read {
        None => Ok(took),
        Some(text) => {
            behind(&told, text).ok_or_else(|| failed(format!("it prints no number behind {text:?}")))
        }
    }
}

/// The number behind the last place of a text.
fn behind(told: &str, text: &str) -> Option<f64> {
    let (_, rest) = told.rsplit_once(text)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].trim_end_matches('.').parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        let middle = |seconds: &[f64]| Figures::of(seconds.to_vec()).median;
        assert_eq!([middle(&[2.0]), middle(&[3.0, 1.0]), middle(&[9.0, 1.0, 2.0])], [2.0, 2.0, 2.0]);
    }

    #[test]
    fn a_number_is_read_behind_its_text() {
        let told = "plan done, 1.5 s\nplan done, 12.25 s.";
        assert_eq!(behind(told, "plan done, "), Some(12.25));
        assert_eq!(behind("took 3.", "took "), Some(3.0));
        assert_eq!([behind(told, "score "), behind("took long", "took ")], [None, None]);
    }

    fn args(ours: &str, read: Option<&str>) -> CompareArgs {
        let read = read.map(str::to_owned);
        CompareArgs { ours: ours.to_owned(), reference: "true".to_owned(), runs: 1, threads: 1, read }
    }

    #[test]
    fn a_command_that_fails_or_prints_no_figure_is_named() {
        let told = |args: &CompareArgs| timed(&args.ours, args).map_err(|error| error.to_string());
        assert_eq!(told(&args("echo it took 2.5 s", Some("took "))), Ok(2.5));
        assert!(told(&args("echo oh; exit 4", None)).unwrap_err().contains("exit status: 4: oh"));
        assert!(
            told(&args("echo nothing", Some("took "))).unwrap_err().contains("no number behind \"took \"")
        );
    }
}
