//! The verbs of a store: one file for each small group of them.

mod ask;
mod base;
mod care;
mod change;
mod hint;
mod history;
mod names;
mod remote;
mod share;
mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use recant_app::CommitNote;
use recant_core::CommitId;
use recant_store::{SecretKey, Stamp, Store};

pub(crate) use base::{CheckoutArgs, ImportArgs, InitArgs};
pub(crate) use care::{FsckArgs, GcArgs, KeygenArgs, VerifyArgs};
pub(crate) use change::UndoArgs;
pub(crate) use hint::{damage_hint, hint, remote_hint, system_hint};
pub(crate) use share::{CloneArgs, PullArgs, PushArgs};

use super::error::CliError;
use super::session::Session;

/// Commands on the history of a model in a store.
#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// List commits, newest first.
    Log(history::LogArgs),
    /// Show one commit: facts, method, settings, matrices.
    Show(show::ShowArgs),
    /// Compare two commits: facts, matrices, norms, ranks.
    Diff(show::DiffArgs),
    /// Say where the head stands and how large the store is.
    Status(history::StatusArgs),
    /// List, make or delete branches.
    Branch(names::NameArgs),
    /// List, make or delete tags.
    Tag(names::NameArgs),
    /// Put the head onto a branch or a commit.
    Switch(names::SwitchArgs),
    /// Take one commit back, whichever it is.
    Revert(change::RevertArgs),
    /// Do another branch's edit again on the head.
    CherryPick(change::PickArgs),
    /// Join another branch's edits into the head.
    Merge(change::MergeArgs),
    /// Say which commits move the answer to a prompt, and by how much.
    Blame(ask::BlameArgs),
    /// Find the commit from which on a command fails.
    Bisect(ask::BisectArgs),
}

/// Commands on the operations of a store.
#[derive(Debug, Subcommand)]
pub(crate) enum OpCommand {
    /// List operations, newest first.
    Log(history::OperationsArgs),
    /// Take the last operation on the store back.
    Undo(change::UndoArgs),
    /// Do again what the last undo took back.
    Redo(change::UndoArgs),
}

/// Commands on a store as a whole.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Make an empty store for the history of a model.
    Init(base::InitArgs),
    /// Bring a model directory into the store, tensor by tensor.
    Import(base::ImportArgs),
    /// Write the model at a commit as a Hugging Face directory.
    Checkout(base::CheckoutArgs),
    /// Remove what nothing leads to.
    Gc(care::GcArgs),
    /// Check every object of the store.
    Fsck(care::FsckArgs),
    /// Derive weights again from the base, and check signatures.
    Verify(care::VerifyArgs),
    /// Make a key that signs commits.
    Key(care::KeygenArgs),
    /// Send branches to a shared place; only what it lacks travels.
    Push(share::PushArgs),
    /// Fetch branches from a shared place, verify them, and move the local ones forward.
    Pull(share::PullArgs),
    /// Make a new store from a shared place.
    Clone(share::CloneArgs),
    /// Names for shared places: add, list, remove.
    #[command(subcommand)]
    Remote(remote::RemoteCommand),
}

pub(crate) fn history(command: &HistoryCommand, session: &Session) -> Result<(), CliError> {
    match command {
        HistoryCommand::Log(args) => history::log(args),
        HistoryCommand::Show(args) => show::show(args),
        HistoryCommand::Diff(args) => show::diff(args),
        HistoryCommand::Status(args) => history::status(args),
        HistoryCommand::Branch(args) => names::branch(args),
        HistoryCommand::Tag(args) => names::tag(args),
        HistoryCommand::Switch(args) => names::switch(args),
        HistoryCommand::Revert(args) => change::revert(args),
        HistoryCommand::CherryPick(args) => change::pick(args),
        HistoryCommand::Merge(args) => change::merge(args),
        HistoryCommand::Blame(args) => ask::blame(args),
        HistoryCommand::Bisect(args) => ask::bisect(args, session),
    }
}

pub(crate) fn op(command: &OpCommand) -> Result<(), CliError> {
    match command {
        OpCommand::Log(args) => history::operations(args),
        OpCommand::Undo(args) => change::undo(args),
        OpCommand::Redo(args) => change::redo(args),
    }
}

pub(crate) fn run(command: &StoreCommand, session: &Session) -> Result<(), CliError> {
    match command {
        StoreCommand::Init(args) => base::init(args),
        StoreCommand::Import(args) => base::import(args),
        StoreCommand::Checkout(args) => base::checkout(args, session),
        StoreCommand::Gc(args) => care::gc(args),
        StoreCommand::Fsck(args) => care::fsck(args),
        StoreCommand::Verify(args) => care::verify(args),
        StoreCommand::Key(args) => care::keygen(args, session),
        StoreCommand::Push(args) => share::push(args),
        StoreCommand::Pull(args) => share::pull(args),
        StoreCommand::Clone(args) => share::clone(args),
        StoreCommand::Remote(command) => remote::run(command),
    }
}

/// Which store, and how to print.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// The store's folder [default: $RECANT_STORE, or .recant].
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The store's folder: the one that is named, $RECANT_STORE, or .recant.
pub(crate) fn store_dir(named: Option<&Path>) -> PathBuf {
    let var = || std::env::var_os("RECANT_STORE").filter(|dir| !dir.is_empty());
    named.map(PathBuf::from).or_else(|| var().map(PathBuf::from)).unwrap_or_else(|| PathBuf::from(".recant"))
}

impl StoreArgs {
    fn dir(&self) -> PathBuf {
        store_dir(self.store.as_deref())
    }

    fn open(&self) -> Result<Store, CliError> {
        Ok(Store::open(&self.dir())?)
    }
}

/// Arguments of `recant edit` that concern a store.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct StoreEditArgs {
    /// Edit the model at the head of this store and commit the edit, instead of a MODEL.
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    pub(crate) store: Option<PathBuf>,
    /// What the commit is for [default: the fact].
    #[arg(long, short, value_name = "TEXT", conflicts_with = "model")]
    message: Option<String>,
    /// Sign the commit with this key.
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub(crate) sign: Option<PathBuf>,
}

impl StoreEditArgs {
    /// The key that signs the commit.
    pub(crate) fn key(&self) -> Result<Option<SecretKey>, CliError> {
        key(self.sign.as_deref())
    }

    /// What is said of a commit that is made now.
    pub(crate) fn note(&self, sign: Option<SecretKey>) -> CommitNote {
        CommitNote { message: self.message.clone(), tool: TOOL.to_owned(), stamp: stamp(), sign }
    }
}

/// The tool's name in commits.
const TOOL: &str = concat!("recant ", env!("CARGO_PKG_VERSION"));

/// Now, by whoever runs this. `SOURCE_DATE_EPOCH` and `RECANT_AUTHOR` come first, so that a history can be
/// made again to the byte.
fn stamp() -> Stamp {
    let var = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    };
    let time = var("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok()).unwrap_or_else(now);
    let author =
        var("RECANT_AUTHOR").or_else(|| var("USER")).or_else(|| var("USERNAME")).unwrap_or("unknown".into());
    Stamp { time, author }
}

/// Reads a secret key.
fn key(path: Option<&Path>) -> Result<Option<SecretKey>, CliError> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::Read { path: path.to_owned(), reason: error.to_string() })?;
    let key = SecretKey::from_text(&text)
        .map_err(|error| CliError::Read { path: path.to_owned(), reason: error.to_string() })?;
    Ok(Some(key))
}

/// Seconds since 1970 as `2026-11-24 21:38 UTC`.
fn date(time: i64) -> String {
    let (days, second) = (time.div_euclid(86_400), time.rem_euclid(86_400));
    // Days to year, month, day: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second % 3600 / 60)
}

/// Bytes for a person.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// A number of things: `1 edit`, `2 edits`.
pub(super) fn count(n: usize, thing: &str) -> String {
    // Branches.
    let ending = if thing.ends_with("ch") { "es" } else { "s" };
    format!("{n} {thing}{}", if n == 1 { "" } else { ending })
}

/// A commit's names: `main`, `tag v1`.
fn labels(view: &recant_store::object::View, id: CommitId) -> Vec<String> {
    let branches = view.branches.iter().filter(|(_, at)| **at == id).map(|(name, _)| name.to_string());
    let tags = view.tags.iter().filter(|(_, at)| **at == id).map(|(name, _)| format!("tag {name}"));
    branches.chain(tags).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_thing_is_one() {
        assert_eq!(["edit", "branch"].map(|thing| super::count(1, thing)), ["1 edit", "1 branch"]);
        assert_eq!(["edit", "branch"].map(|thing| super::count(0, thing)), ["0 edits", "0 branches"]);
    }

    #[test]
    fn dates_are_civil() {
        assert_eq!(super::date(0), "1970-01-01 00:00 UTC");
        assert_eq!(super::date(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(super::date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(super::date(-1), "1969-12-31 23:59 UTC");
    }
}
