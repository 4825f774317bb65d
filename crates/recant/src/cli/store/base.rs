//! `recant store init`, `recant store import`, `recant store checkout`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use recant_app::ties;
use recant_core::ModelDigest;
use recant_files::MODEL_DIRECTORY;
use recant_store::{Import, Name, Store};
use serde_json::json;

use super::{StoreArgs, TOOL, key, size, stamp};
use crate::cli::args::WhichModel;
use crate::cli::error::CliError;
use crate::cli::session::Session;

/// Arguments of `recant store init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The first branch.
    #[arg(long, value_name = "NAME", default_value = "main")]
    branch: String,
}

pub(crate) fn init(args: &InitArgs) -> Result<(), CliError> {
    let dir = args.store.dir();
    let branch = Name::new(&args.branch)?;
    Store::init(&dir, branch, &stamp())?;
    if args.store.json {
        return crate::cli::print_json(&json!({ "store": dir, "branch": args.branch }));
    }
    say!("made an empty store in {}; `recant store import DIR` brings a model in", dir.display());
    Ok(())
}

/// Arguments of `recant store import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    model: WhichModel,
    /// Refer to the files of weights where they are instead of copying them. They must stay there, as they are.
    #[arg(long)]
    link: bool,
    /// Compress what is copied: smaller for 16-bit weights, slower.
    #[arg(long, conflicts_with = "link")]
    pack: bool,
    /// Make this branch; without it, the head's branch, which must have no commit yet.
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// What for.
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    message: String,
    /// Sign the commit with this key.
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
}

pub(crate) fn import(args: &ImportArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let branch = args.branch.as_ref().map(Name::new).transpose()?;
    let source = crate::cli::found(args.model.name())?.source()?;
    let import = Import {
        link: args.link,
        pack: args.pack,
        ties: ties(&*source)?,
        branch,
        message: args.message.clone(),
        tool: TOOL.to_owned(),
    };
    let started = Instant::now();
    let sign = key(args.sign.as_deref())?;
    let done = store.import_source(&*source, &import, &stamp(), sign.as_ref())?;
    let seconds = started.elapsed().as_secs_f64();
    for name in &done.untied {
        remark!("note: `{name}` is tied in config.json and has bytes of its own; both matrices are kept");
    }
    if args.store.json {
        return crate::cli::print_json(&json!({
            "commit": done.commit.to_string(), "model": done.digest.to_string(),
            "tensors": done.tensors, "bytes": done.bytes, "seconds": seconds,
        }));
    }
    let how = if args.link { "linked" } else { "copied" };
    say!("{how} {} tensors, {} in {seconds:.2} s", done.tensors, size(done.bytes));
    say!("commit {}", done.commit);
    say!("model  {}", done.digest);
    Ok(())
}

/// Arguments of `recant store checkout`.
#[derive(Debug, Args)]
pub(crate) struct CheckoutArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The commit: HEAD, a branch, a tag, an id or its beginning, each with ~N.
    #[arg(default_value = "HEAD")]
    rev: String,
    /// Where to write the model directory.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace a model directory at --out.
    #[arg(long)]
    force: bool,
}

pub(crate) fn checkout(args: &CheckoutArgs, session: &Session) -> Result<(), CliError> {
    let store = args.store.open()?;
    let id = store.resolve(&args.rev)?;
    let mut outputs = session.outputs(args.force);
    store.guard(&mut outputs)?;
    let files = store.checkout_files(id)?;
    let output = outputs.directory(&args.out, MODEL_DIRECTORY, files)?;
    let written = store.checkout_to(id, &output)?;
    let committed = store.model_digest(id)?;
    // Of what was written, as it is opened: its configuration says which matrices are one.
    let digest = written.digest(&ties(&*recant_model::source_at(&args.out)?)?);
    if args.store.json {
        let out = args.out.display().to_string();
        crate::cli::print_json(
            &json!({ "commit": id.to_string(), "model": digest.to_string(), "out": out }),
        )?;
        return told(committed, digest);
    }
    say!("wrote {} to {}, every tensor verified", id.short(), args.out.display());
    say!("model  {digest}");
    told(committed, digest)
}

/// Whether what was written is what the commit says.
fn told(committed: ModelDigest, written: ModelDigest) -> Result<(), CliError> {
    match committed == written {
        true => Ok(()),
        false => Err(CliError::Tied { committed, written }),
    }
}
