//! `recant blame`, `recant bisect`.

use std::process::Command;

use clap::Args;
use recant_backend::{Device, DeviceSpec};
use recant_core::CommitId;
use recant_model::Model;
use recant_store::{History, Store};
use serde_json::{Value, json};

use super::edit::{moved, open_at, written};
use super::{StoreArgs, StoreError, count};
use crate::cli::error::CliError;
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

/// How one commit moved the answer.
struct Shift {
    id: CommitId,
    message: String,
    before: f32,
    after: f32,
    /// The most probable answer after the commit.
    top: String,
}

pub(crate) fn blame(args: &BlameArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let rev = store.resolve(&args.rev).map_err(StoreError::from)?;
    let odb = store.odb();
    let mut history = History::new(odb);
    let mut line = history.first_parents(rev).map_err(StoreError::from)?;
    line.reverse();
    let device = Device::open(args.device)?;
    let import = line[0];
    let base = open_at(&store, import, &device)?;
    // The whole way once, for the answer that is asked about; then again for its probability at each step.
    let newest = moved(&store, &base, import, rev)?;
    let answer = newest.answers(&args.prompt, 1)?.into_iter().next();
    let Some(answer) = answer else { return Ok(()) };
    let vocab = base.spec().vocab;
    let ask = |model: &Model| -> Result<(f32, String), CliError> {
        let answers = model.answers(&args.prompt, vocab)?;
        let own = answers.iter().find(|known| known.id == answer.id).map_or(f32::NEG_INFINITY, |a| a.logprob);
        Ok((own, answers.into_iter().next().map(|a| a.token).unwrap_or_default()))
    };
    let (mut model, mut at) = (base.clone(), import);
    let (mut before, _) = ask(&model)?;
    let mut shifts = Vec::new();
    for &id in &line[1..] {
        let commit = history.commit(id).map_err(StoreError::from)?;
        model = moved(&store, &model, at, id)?;
        at = id;
        let (after, top) = ask(&model)?;
        shifts.push(Shift { id, message: commit.message.clone(), before, after, top });
        before = after;
    }
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
    let bad = store.resolve(&args.bad).map_err(StoreError::from)?;
    let mut history = History::new(store.odb());
    let line = history.first_parents(bad).map_err(StoreError::from)?;
    let good = match &args.good {
        Some(rev) => store.resolve(rev).map_err(StoreError::from)?,
        None => line[line.len() - 1],
    };
    let Some(n_suspects) = line.iter().position(|&id| id == good).filter(|&n| n > 0) else {
        return Err(StoreError::NotBetween { good: good.short(), bad: bad.short() }.into());
    };
    // Oldest first; the last one is known to be bad.
    let mut suspects: Vec<CommitId> = line[..n_suspects].iter().rev().copied().collect();
    let mut n_runs = 0;
    let mut skipped = Vec::new();
    while suspects.len() > 1 {
        let testable: Vec<usize> =
            (0..suspects.len() - 1).filter(|&i| !skipped.contains(&suspects[i])).collect();
        let Some(&middle) = testable.get(testable.len() / 2) else { return Err(StoreError::Skipped.into()) };
        let id = suspects[middle];
        n_runs += 1;
        match try_one(&store, id, &args.run, session)? {
            Some(true) => drop(suspects.drain(..=middle)),
            Some(false) => suspects.truncate(middle + 1),
            None => skipped.push(id),
        }
    }
    let first = suspects[0];
    let commit = history.commit(first).map_err(StoreError::from)?;
    if args.store.json {
        return crate::cli::print_json(&json!({
            "first_bad": first.to_string(), "runs": n_runs, "message": commit.message,
        }));
    }
    say!("{first} is the first bad commit ({})", count(n_runs, "run"));
    commit.message.lines().for_each(|line| say!("    {line}"));
    Ok(())
}

/// Whether the command succeeds at a commit; `None` when it cannot tell.
fn try_one(store: &Store, id: CommitId, command: &str, session: &Session) -> Result<Option<bool>, CliError> {
    let (_dir, out) = written(store, id, session)?;
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let status = Command::new(shell)
        .args([flag, command])
        .env("RECANT_MODEL", &out)
        .env("RECANT_COMMIT", id.to_string())
        // What the command prints is for the person watching; standard output is for the result.
        .stdout(std::process::Stdio::null())
        .status()
        .map_err(|error| StoreError::Run { command: command.to_owned(), reason: error.to_string() })?;
    Ok(match status.code() {
        Some(0) => Some(true),
        Some(125) => None,
        _ => Some(false),
    })
}
