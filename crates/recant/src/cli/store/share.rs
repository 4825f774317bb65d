//! `recant store push`, `recant store pull`, `recant store clone`.

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use recant_remote::{Progress, Pulled, RemoteError, Update};
use recant_store::{Name, Store};
use serde_json::{Value, json};

use super::{StoreArgs, remote, size, stamp};
use crate::cli::error::CliError;

/// Arguments of `recant store push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// A name of `recant store remote`, a folder, or a URL: s3://BUCKET/PREFIX, gs://…, az://… where this build has the
    /// feature; credentials come from the environment (AWS_ACCESS_KEY_ID and so on) [default: origin].
    #[arg(value_name = "REMOTE")]
    to: Option<String>,
    /// Branches [default: the head's].
    branches: Vec<String>,
    /// Tags too.
    #[arg(long)]
    tags: bool,
}

/// Arguments of `recant store pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// A name, a folder or a URL, as with `recant store push` [default: origin].
    #[arg(value_name = "REMOTE")]
    from: Option<String>,
    /// Branches [default: all of them].
    branches: Vec<String>,
}

/// Arguments of `recant store clone`.
#[derive(Debug, Args)]
pub(crate) struct CloneArgs {
    /// A folder or a URL, as with `recant store push`; it becomes the new store's `origin`.
    #[arg(value_name = "REMOTE")]
    from: String,
    /// The folder of the new store.
    #[arg(default_value = ".recant")]
    dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn push(args: &PushArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let mut branches = names(&args.branches)?;
    if branches.is_empty() {
        branches.extend(store.view()?.head_branch().cloned());
    }
    let bar = ProgressBar::new_spinner();
    let to = remote::open(&remote::address(&store, args.to.as_deref())?)?;
    let pushed = to.push(&store, &branches, args.tags, |sent| tell(&bar, "sent", sent));
    bar.finish_and_clear();
    let pushed = pushed?;
    warn(&pushed.stray);
    if args.store.json {
        let moved: Vec<Value> = pushed
            .moved
            .iter()
            .map(|(_, name, id)| json!({ "name": name.as_str(), "commit": id.to_string() }))
            .collect();
        return crate::cli::print_json(
            &json!({ "moved": moved, "objects": pushed.sent.objects, "bytes": pushed.sent.bytes }),
        );
    }
    pushed.moved.iter().for_each(|(_, name, id)| say!("{name} at {}", id.short()));
    if pushed.moved.is_empty() {
        say!("the remote has it all already");
    }
    say!("sent {} objects, {}", pushed.sent.objects, size(pushed.sent.bytes));
    Ok(())
}

pub(crate) fn pull(args: &PullArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let branches = names(&args.branches)?;
    let bar = ProgressBar::new_spinner();
    let from = remote::open(&remote::address(&store, args.from.as_deref())?)?;
    let pulled = from.pull(&store, &branches, &stamp(), |got| tell(&bar, "fetched", got));
    bar.finish_and_clear();
    report(args.store.json, &pulled?)
}

pub(crate) fn clone(args: &CloneArgs) -> Result<(), CliError> {
    let bar = ProgressBar::new_spinner();
    let from = remote::address_of_source(&args.from);
    let made = remote::open(&from)?.clone_to(&args.dir, &stamp(), |got| tell(&bar, "fetched", got));
    bar.finish_and_clear();
    let (store, pulled) = made.map_err(|source| match source {
        RemoteError::Open(_) => source.into(),
        _ if Store::open(&args.dir).is_ok_and(|begun| begun.is_untouched().unwrap_or(false)) => {
            CliError::Cut { dir: args.dir.clone(), source: Box::new(source) }
        }
        _ => source.into(),
    })?;
    remote::remember(&store, &from)?;
    report(args.json, &pulled)
}

fn names(texts: &[String]) -> Result<Vec<Name>, CliError> {
    texts.iter().map(|text| Ok(Name::new(text)?)).collect()
}

fn tell(bar: &ProgressBar, verb: &str, progress: Progress) {
    bar.set_message(format!("{verb} {} objects, {}", progress.objects, size(progress.bytes)));
    bar.tick();
}

fn warn(stray: &[String]) {
    for key in stray {
        remark!(
            "warning: the remote's {key} is none of its names and was passed over; it can be removed there"
        );
    }
}

fn report(as_json: bool, pulled: &Pulled) -> Result<(), CliError> {
    warn(&pulled.stray);
    let what = |update: &Update| match update {
        Update::New => "new".to_owned(),
        Update::Forward(from) => format!("moved forward from {}", from.short()),
        Update::Current => "nothing new".to_owned(),
        Update::Apart(beside) => format!("went on on both sides; `recant merge {beside}` joins them"),
    };
    if as_json {
        let branches: Vec<Value> = pulled
            .branches
            .iter()
            .map(|(name, id, update)| {
                json!({ "name": name.as_str(), "commit": id.to_string(), "update": what(update) })
            })
            .collect();
        let fetched = pulled.fetched;
        return crate::cli::print_json(
            &json!({ "branches": branches, "objects": fetched.objects, "bytes": fetched.bytes }),
        );
    }
    for (name, id, update) in &pulled.branches {
        say!("{name} at {}: {}", id.short(), what(update));
    }
    pulled.tags.iter().for_each(|(name, id)| say!("tag {name} at {}", id.short()));
    say!("fetched {} objects, {}", pulled.fetched.objects, size(pulled.fetched.bytes));
    Ok(())
}
