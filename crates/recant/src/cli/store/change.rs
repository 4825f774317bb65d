//! `recant revert`, `recant cherry-pick`, `recant merge`, `recant undo`, `recant redo`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use recant_core::CommitId;
use recant_store::{How, MergeOptions, OnConflict, Store};
use serde_json::json;

use super::{StoreArgs, StoreError, key, stamp};
use crate::cli::error::CliError;

/// Arguments of `recant revert`.
#[derive(Debug, Args)]
pub(crate) struct RevertArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The commit to take back.
    rev: String,
    /// Sign the commit with this key.
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
}

/// Arguments of `recant cherry-pick`.
#[derive(Debug, Args)]
pub(crate) struct PickArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The commit to do again.
    rev: String,
    /// Sign the commit with this key.
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
}

/// Arguments of `recant merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// What to merge into the head.
    rev: String,
    /// What to do about facts that both sides write differently.
    #[arg(long, value_enum, default_value_t = Choice::Refuse)]
    on_conflict: Choice,
    /// Sign the commit with this key.
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
}

/// Arguments of `recant undo` and `recant redo`.
#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Report them and change nothing.
    Refuse,
    /// Leave out theirs.
    Ours,
    /// Take out ours.
    Theirs,
    /// Keep both; the later edit has the last word.
    Both,
}

pub(crate) fn revert(args: &RevertArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let target = store.resolve(&args.rev).map_err(StoreError::from)?;
    let sign = key(args.sign.as_deref())?;
    let done = store.revert(target, None, &stamp(), sign.as_ref()).map_err(StoreError::from)?;
    let (how, notes) = match &done.how {
        How::Replayed(replayed) => {
            let note = |(path, count): (&recant_core::ParamPath, &usize)| {
                format!(
                    "{count} later edits of {path} were applied again; they were planned with the reverted one in place"
                )
            };
            ("replayed", replayed.iter().map(note).collect())
        }
        How::Rebuilt => ("rebuilt", vec!["the ledger was written anew without its facts".to_owned()]),
        _ => ("swapped", vec!["the exact former tensors are back".to_owned()]),
    };
    report(&args.store, &store, done.commit, &format!("took {} back", target.short()), how, &notes)
}

pub(crate) fn pick(args: &PickArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let target = store.resolve(&args.rev).map_err(StoreError::from)?;
    let sign = key(args.sign.as_deref())?;
    let done = store.cherry_pick(target, &stamp(), sign.as_ref()).map_err(StoreError::from)?;
    let notes = ["the same additions were made to other weights than they were planned on".to_owned()];
    report(&args.store, &store, done, &format!("did {} again", target.short()), "picked", &notes)
}

pub(crate) fn merge(args: &MergeArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let theirs = store.resolve(&args.rev).map_err(StoreError::from)?;
    let on_conflict = match args.on_conflict {
        Choice::Refuse => OnConflict::Refuse,
        Choice::Ours => OnConflict::Ours,
        Choice::Theirs => OnConflict::Theirs,
        Choice::Both => OnConflict::Both,
    };
    let sign = key(args.sign.as_deref())?;
    let options = MergeOptions { on_conflict };
    let done = store.merge(theirs, options, None, &stamp(), sign.as_ref()).map_err(StoreError::from)?;
    let how = if done.fast_forward { "fast-forward" } else { "merged" };
    let mut notes: Vec<String> = done
        .replayed
        .iter()
        .map(|(path, count)| format!("both sides changed {path}: {count} edits were applied again, in order"))
        .collect();
    notes.extend(done.conflicts.iter().map(|conflict| {
        let (ours, theirs) = (&conflict.ours.1, &conflict.theirs.1);
        let text = ours.prompt.replacen("{}", &ours.subject, 1);
        format!("conflict: {text:?} is {:?} in ours and {:?} in theirs", ours.target, theirs.target)
    }));
    report(&args.store, &store, done.commit, &format!("merged {}", theirs.short()), how, &notes)
}

fn report(
    args: &StoreArgs,
    store: &Store,
    commit: CommitId,
    what: &str,
    how: &str,
    notes: &[String],
) -> Result<(), CliError> {
    let digest = store.model_digest(commit).map_err(StoreError::from)?;
    if args.json {
        return crate::cli::print_json(&json!({
            "commit": commit.to_string(), "model": digest.to_string(), "how": how, "notes": notes,
        }));
    }
    println!("{what} ({how})");
    notes.iter().for_each(|note| println!("note: {note}"));
    println!("commit {commit}");
    println!("model  {digest}");
    Ok(())
}

pub(crate) fn undo(args: &UndoArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let what = store.undo(&stamp()).map_err(StoreError::from)?;
    after(&args.store, &store, "undone", &what)
}

pub(crate) fn redo(args: &UndoArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let what = store.redo(&stamp()).map_err(StoreError::from)?;
    after(&args.store, &store, "done again", &what)
}

fn after(args: &StoreArgs, store: &Store, verb: &str, what: &str) -> Result<(), CliError> {
    let head = store.view().map_err(StoreError::from)?.head_commit();
    if args.json {
        let head = head.map(|id| id.to_string());
        return crate::cli::print_json(&json!({ "what": what, "head": head }));
    }
    println!("{verb}: {what}");
    println!("head at {}", head.map_or("no commit".to_owned(), |id| id.short()));
    Ok(())
}
