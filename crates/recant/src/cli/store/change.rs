//! `recant revert`, `recant cherry-pick`, `recant merge`, `recant op undo`, `recant op redo`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use recant_app::Ledgers;
use recant_backend::DeviceSpec;
use recant_core::{CommitId, OnConflict};
use recant_store::{How, MergeOptions, Store};
use serde_json::json;

use super::{StoreArgs, key, stamp};
use crate::cli::error::CliError;
use crate::cli::progress::Terminal;

/// Arguments of `recant revert`.
#[derive(Debug, Args)]
pub(crate) struct RevertArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The commit to take back.
    rev: String,
    #[command(flatten)]
    rebuild: RebuildArgs,
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
    /// What to do about facts of a ledger edit that contradict the head's.
    #[arg(long, value_enum, default_value_t = Choice::Refuse)]
    on_conflict: Choice,
    #[command(flatten)]
    rebuild: RebuildArgs,
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
    #[command(flatten)]
    rebuild: RebuildArgs,
    /// Sign the commit with this key.
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
}

/// Where a ledger is written anew. The base and everything that decides the result come from the store.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct RebuildArgs {
    /// Device on which a ledger is written anew; the one that it was edited on gives the same bytes.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    device: DeviceSpec,
}

impl RebuildArgs {
    /// The ledgers of the head and of another commit.
    pub(super) fn ledgers<'a>(
        self,
        store: &'a Store,
        other: CommitId,
        terminal: &'a Terminal,
    ) -> Result<Ledgers<'a>, CliError> {
        Ok(Ledgers::new(store, self.device, other, terminal)?)
    }
}

/// Arguments of `recant op undo` and `recant op redo`.
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

impl Choice {
    fn options(self) -> MergeOptions {
        let on_conflict = match self {
            Self::Refuse => OnConflict::Refuse,
            Self::Ours => OnConflict::Ours,
            Self::Theirs => OnConflict::Theirs,
            Self::Both => OnConflict::Both,
        };
        MergeOptions { on_conflict }
    }
}

pub(crate) fn revert(args: &RevertArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let target = store.resolve(&args.rev)?;
    let sign = key(args.sign.as_deref())?;
    let terminal = Terminal::default();
    let ledgers = args.rebuild.ledgers(&store, target, &terminal)?;
    let done = store.revert(target, Some(&ledgers), &stamp(), sign.as_ref())?;
    let (how, notes) = match &done.how {
        How::Replayed(replayed) => {
            let note = |(path, count): (&recant_core::ParamPath, &usize)| {
                format!(
                    "later edits of {path} were applied again, {count} of them; they were planned with the reverted one in place"
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
    let target = store.resolve(&args.rev)?;
    let sign = key(args.sign.as_deref())?;
    let terminal = Terminal::default();
    let ledgers = args.rebuild.ledgers(&store, target, &terminal)?;
    let done = store.cherry_pick(target, args.on_conflict.options(), Some(&ledgers), &stamp(), sign.as_ref());
    let done = done?;
    let is_ledger = store.odb().commit(done)?.ledger.is_some();
    let note = match is_ledger {
        true => "the ledger was written anew with its facts",
        false => "the same additions were made to other weights than they were planned on",
    };
    let notes = [note.to_owned()];
    report(&args.store, &store, done, &format!("did {} again", target.short()), "picked", &notes)
}

pub(crate) fn merge(args: &MergeArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let theirs = store.resolve(&args.rev)?;
    let sign = key(args.sign.as_deref())?;
    let terminal = Terminal::default();
    let ledgers = args.rebuild.ledgers(&store, theirs, &terminal)?;
    let done = store.merge(theirs, args.on_conflict.options(), Some(&ledgers), &stamp(), sign.as_ref());
    let done = done?;
    let how = if done.fast_forward { "fast-forward" } else { "merged" };
    let mut notes: Vec<String> = done
        .replayed
        .iter()
        .map(|(path, n)| format!("both sides changed {path}, so edits were applied again, in order: {n}"))
        .collect();
    if done.rebuilt {
        notes.push("the ledgers were joined as sets and written anew".to_owned());
    }
    notes.extend(done.conflicts.iter().map(|conflict| {
        let (ours, theirs) = (&conflict.ours.1, &conflict.theirs.1);
        format!("conflict: {:?} is {:?} in ours and {:?} in theirs", ours.text(), ours.target, theirs.target)
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
    let digest = store.model_digest(commit)?;
    if args.json {
        return crate::cli::print_json(&json!({
            "commit": commit.to_string(), "model": digest.to_string(), "how": how, "notes": notes,
        }));
    }
    say!("{what} ({how})");
    notes.iter().for_each(|note| say!("note: {note}"));
    say!("commit {commit}");
    say!("model  {digest}");
    Ok(())
}

pub(crate) fn undo(args: &UndoArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let what = store.undo(&stamp())?;
    after(&args.store, &store, "undone", &what)
}

pub(crate) fn redo(args: &UndoArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let what = store.redo(&stamp())?;
    after(&args.store, &store, "done again", &what)
}

fn after(args: &StoreArgs, store: &Store, verb: &str, what: &str) -> Result<(), CliError> {
    let head = store.view()?.head_commit();
    if args.json {
        let head = head.map(|id| id.to_string());
        return crate::cli::print_json(&json!({ "what": what, "head": head }));
    }
    say!("{verb}: {what}");
    say!("head at {}", head.map_or("no commit".to_owned(), |id| id.short()));
    Ok(())
}
