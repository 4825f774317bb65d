//! `recant blame`, `recant bisect`.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use recant_app::{Bisected, Blame, Probe};
use recant_backend::{Device, DeviceSpec};
use recant_core::CommitId;
use recant_files::{MODEL_DIRECTORY, TemporaryFolder};
use recant_store::Store;
use serde_json::{Value, json};

use super::{StoreArgs, count};
use crate::cli::error::CliError;
use crate::cli::progress::Terminal;
use crate::cli::session::Session;

/// Arguments of `recant blame`.
#[derive(Debug, Args)]
pub(crate) struct BlameArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The prompt.
    prompt: String,
    /// The newest commit to look at.
    #[arg(long, default_value = "HEAD")]
    rev: String,
    /// Least shift of the answer's log-probability, in nats, that is shown.
    #[arg(long, value_name = "NATS", default_value_t = 0.01)]
    least: f32,
    /// Device: flex, ndarray, wgpu, wgpu:cpu, wgpu:discrete:N, wgpu:integrated:N.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    device: DeviceSpec,
}

pub(crate) fn blame(args: &BlameArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let rev = store.resolve(&args.rev)?;
    let device = Device::open(args.device)?;
    let found = recant_app::blame(&store, rev, &args.prompt, &device, &Terminal::default())?;
    let Some(Blame { answer, mut shifts }) = found else { return Ok(()) };
    shifts.retain(|shift| (shift.after - shift.before).abs() >= args.least);
    if args.store.json {
        let shifts: Vec<Value> = shifts
            .iter()
            .map(|shift| {
                json!({
                    "commit": shift.id.to_string(), "message": shift.message, "logprob_before": shift.before,
                    "logprob_after": shift.after, "shift": shift.after - shift.before, "answer_after": shift.top,
                })
            })
            .collect();
        return crate::cli::print_json(&json!({
            "prompt": args.prompt, "answer": answer.token, "logprob": answer.logprob, "shifts": shifts,
        }));
    }
    say!("{} \u{2192} {} ({:.2} %)", args.prompt, answer.token.trim(), 100.0 * answer.logprob.exp());
    for shift in &shifts {
        let (before, after) = (100.0 * shift.before.exp(), 100.0 * shift.after.exp());
        let first = shift.message.lines().next().unwrap_or_default();
        say!("{}  {before:7.2} % \u{2192} {after:7.2} %  {first}", shift.id.short());
    }
    if shifts.is_empty() {
        say!("no commit moves this answer; it is the base model's own");
    }
    Ok(())
}

/// Arguments of `recant bisect`.
#[derive(Debug, Args)]
pub(crate) struct BisectArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// A commit where the command succeeds [default: the import].
    #[arg(long, value_name = "REV")]
    good: Option<String>,
    /// A commit where it fails.
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    bad: String,
    /// Run by the shell for each candidate, with the model directory in $RECANT_MODEL and the commit in
    /// $RECANT_COMMIT. Exit code 0: good; 125: cannot be told; anything else: bad.
    #[arg(long, value_name = "CMD")]
    run: String,
}

pub(crate) fn bisect(args: &BisectArgs, session: &Session) -> Result<(), CliError> {
    let store = args.store.open()?;
    let bad = store.resolve(&args.bad)?;
    let good = args.good.as_ref().map(|rev| store.resolve(rev)).transpose()?;
    let mut shell = Shell { command: &args.run, session };
    let Bisected { first_bad, message, runs } = recant_app::bisect(&store, good, bad, &mut shell)?;
    if args.store.json {
        return crate::cli::print_json(&json!({
            "first_bad": first_bad.to_string(), "runs": runs, "message": message,
        }));
    }
    say!("{first_bad} is the first bad commit ({})", count(runs, "run"));
    message.lines().for_each(|line| say!("    {line}"));
    Ok(())
}

/// A command that judges commits, run by the shell.
struct Shell<'a> {
    command: &'a str,
    session: &'a Session,
}

impl Probe for Shell<'_> {
    type Error = CliError;

    fn is_well(&mut self, store: &Store, id: CommitId) -> Result<Option<bool>, CliError> {
        let (_dir, out) = written(store, id, self.session)?;
        let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let status = Command::new(shell)
            .args([flag, self.command])
            .env("RECANT_MODEL", &out)
            .env("RECANT_COMMIT", id.to_string())
            // What the command prints is for the person watching; standard output is for the result.
            .stdout(std::process::Stdio::null())
            .status()
            .map_err(|error| CliError::Run { command: self.command.to_owned(), reason: error.to_string() })?;
        Ok(match status.code() {
            Some(0) => Some(true),
            Some(125) => None,
            _ => Some(false),
        })
    }
}

/// A commit's model directory inside a temporary one.
fn written(store: &Store, id: CommitId, session: &Session) -> Result<(TemporaryFolder, PathBuf), CliError> {
    let dir = session
        .folder()
        .map_err(|error| CliError::Write { path: std::env::temp_dir(), reason: error.to_string() })?;
    let out = dir.path().join("model");
    let output = session.outputs(false).directory(&out, MODEL_DIRECTORY, store.checkout_files(id)?)?;
    store.checkout_to(id, &output)?;
    Ok((dir, out))
}
