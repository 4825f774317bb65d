//! `recant store gc`, `recant store fsck`, `recant store verify`, `recant store key`.

use std::path::PathBuf;

use clap::Args;
use recant_core::CommitId;
use recant_files::FileKind;
use recant_store::{GcOptions, History, Problem, PublicKey, SecretKey, Store};
use serde_json::json;

use super::change::RebuildArgs;
use super::{StoreArgs, count, size, stamp};
use crate::cli::error::CliError;
use crate::cli::progress::Terminal;
use crate::cli::session::Session;

/// Arguments of `recant store gc`.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Forget the operation log first: what only an undo could bring back goes too.
    #[arg(long)]
    forget: bool,
    /// Say what would go, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `recant store fsck`.
#[derive(Debug, Args)]
pub(crate) struct FsckArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Mend what can be mended; what is damaged is set aside in the store's folder `quarantine`.
    #[arg(long)]
    repair: bool,
}

/// Arguments of `recant store verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The commit.
    #[arg(default_value = "HEAD")]
    rev: String,
    /// Who may sign: lines `NAME recant-public-1 HEX`. With it, every commit of the history must be signed.
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
    /// Make the live ledger's update again from its facts too, instead of believing the one that was committed.
    #[arg(long)]
    ledger: bool,
    #[command(flatten)]
    rebuild: RebuildArgs,
}

/// Arguments of `recant store key`.
#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// Where to write the secret key; the public one goes beside it, with `.pub` behind the name.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON: `public`, `secret_file`, `public_file`.
    #[arg(long)]
    json: bool,
}

pub(crate) fn gc(args: &GcArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let options = GcOptions { forget: args.forget, dry_run: args.dry_run };
    let gone = store.gc(options, &stamp())?;
    if args.store.json {
        let removed: Vec<String> = gone.removed.iter().map(ToString::to_string).collect();
        return crate::cli::print_json(
            &json!({ "kept": gone.kept, "removed": removed, "bytes": gone.bytes }),
        );
    }
    let verb = if args.dry_run { "would remove" } else { "removed" };
    say!("{verb} {} objects, {}; {} stay", gone.removed.len(), size(gone.bytes), gone.kept);
    Ok(())
}

pub(crate) fn fsck(args: &FsckArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let found = if args.repair { store.repair(&stamp()) } else { store.fsck() };
    let found = found?;
    let (harmless, problems): (Vec<&Problem>, Vec<&Problem>) =
        found.problems.iter().partition(|problem| problem.is_harmless());
    if args.store.json {
        let text = |problems: &[&Problem]| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        crate::cli::print_json(&json!({
            "objects": found.objects, "problems": text(&problems), "leftovers": text(&harmless),
            "repaired": found.repaired,
        }))?;
    } else {
        found.repaired.iter().for_each(|line| say!("{line}"));
        problems.iter().for_each(|problem| say!("problem: {problem}"));
        harmless.iter().for_each(|problem| say!("leftover: {problem}"));
        say!("{} objects, {} problems", found.objects, problems.len());
    }
    match problems.len() {
        0 => Ok(()),
        count => Err(CliError::Damaged { count }),
    }
}

pub(crate) fn verify(args: &VerifyArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let id = store.resolve(&args.rev)?;
    let signers = match &args.signers {
        Some(path) => {
            let refuse = |reason: String| CliError::Read { path: path.clone(), reason };
            let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
            Some(PublicKey::signers(&text).map_err(|error| refuse(error.to_string()))?)
        }
        None => None,
    };
    let verified = store.verify(id, signers.as_ref())?;
    let mut wrong: Vec<String> = verified.wrong.iter().map(ToString::to_string).collect();
    let made_again = match args.ledger {
        true => made_again(&store, id, args.rebuild, &mut wrong)?,
        false => 0,
    };
    if args.store.json {
        crate::cli::print_json(&json!({
            "commit": id.to_string(), "model": verified.digest.to_string(), "tensors": verified.tensors,
            "edits": verified.edits, "signed": verified.signed, "ledgers": made_again,
            "wrong": wrong,
        }))?;
    } else {
        wrong.iter().for_each(|line| say!("wrong: {line}"));
        let (tensors, edits) = (count(verified.tensors, "tensor"), count(verified.edits, "edit"));
        say!("{tensors} of the base read, {edits} applied again");
        if signers.is_some() {
            say!("{} signed by known keys", count(verified.signed, "commit"));
        }
        if args.ledger {
            say!("{} made again from the base and the facts", count(made_again, "ledger"));
        }
        say!("model  {}", verified.digest);
    }
    match wrong.len() {
        0 => Ok(()),
        count => Err(CliError::NotVerified { count }),
    }
}

/// Makes the live ledgers of a commit again; says how many, and which do not come out as they were committed.
fn made_again(
    store: &Store,
    id: CommitId,
    rebuild: RebuildArgs,
    wrong: &mut Vec<String>,
) -> Result<usize, CliError> {
    let mut history = History::new(store.odb());
    let live = history.live(id)?;
    let base = store.odb().manifest(live.base)?;
    let mut n_made = 0;
    for edit in live.ids() {
        let commit = history.commit(edit)?;
        let Some(ledger) = commit.ledger else { continue };
        let set = store.odb().facts(ledger.set)?;
        let made = rebuild.ledgers(store, edit, &Terminal::default())?.patch(&base, &set)?.id();
        n_made += 1;
        if Some(made) != commit.patch {
            let committed = commit.patch.map(|patch| patch.short()).unwrap_or_default();
            wrong.push(format!(
                "commit {}: its facts give update {}, but {committed} was committed; the device may be another one",
                edit.short(),
                made.short()
            ));
        }
    }
    Ok(n_made)
}

/// Half of a key pair, which is never replaced.
const KEY: FileKind = FileKind { name: "key", recognises: |_| false };

pub(crate) fn keygen(args: &KeygenArgs, session: &Session) -> Result<(), CliError> {
    let mut public = args.out.clone().into_os_string();
    public.push(".pub");
    let public = PathBuf::from(public);
    // What a kill between the two files left: the public key follows from the secret one.
    let begun = if public.exists() { None } else { super::key(Some(&args.out)).ok().flatten() };
    let mut outputs = session.outputs(false);
    // Never over another key, and the two together or none.
    let secret_file = match begun {
        Some(_) => None,
        None => Some(outputs.file(&args.out, KEY)?.private()),
    };
    let public_file = outputs.file(&public, KEY)?;
    let was_there = begun.is_some();
    let key = begun.map_or_else(new_key, Ok)?;
    if let Some(file) = &secret_file {
        file.write(key.to_text().as_bytes())?;
    }
    let written = public_file.write(key.public().to_text().as_bytes());
    if secret_file.is_some() {
        written.inspect_err(|_| _ = std::fs::remove_file(&args.out))?;
    } else {
        written?;
    }
    if args.json {
        return crate::cli::print_json(&json!({
            "public": key.public().to_text().trim_end(), "secret_file": args.out.display().to_string(),
            "public_file": public.display().to_string(),
        }));
    }
    say!("{}", key.public().to_text().trim_end());
    let there = if was_there { ", which was there already" } else { "" };
    say!("secret key in {}{there}, public key in {}", args.out.display(), public.display());
    Ok(())
}

fn new_key() -> Result<SecretKey, CliError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| CliError::Random { reason: error.to_string() })?;
    Ok(SecretKey::from_seed(seed))
}
