//! `recant branch`, `recant tag`, `recant switch`.

use std::collections::BTreeMap;

use clap::Args;
use recant_core::CommitId;
use recant_store::Name;
use serde_json::json;

use super::{StoreArgs, stamp};
use crate::cli::error::CliError;

/// Arguments of `recant branch` and `recant tag`.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The name to make; without it, all are listed.
    name: Option<String>,
    /// The commit that it names.
    #[arg(default_value = "HEAD")]
    rev: String,
    /// Delete the name instead. Its commits stay as long as the operation log knows them.
    #[arg(long, short, requires = "name")]
    delete: bool,
    /// Move the name if it exists.
    #[arg(long, requires = "name")]
    force: bool,
}

/// Arguments of `recant switch`.
#[derive(Debug, Args)]
pub(crate) struct SwitchArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// A branch, or with --detach any commit.
    to: String,
    /// Make the branch first, at the head.
    #[arg(long, short, conflicts_with = "detach")]
    create: bool,
    /// Stand on a commit, on no branch.
    #[arg(long)]
    detach: bool,
}

pub(crate) fn branch(args: &NameArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let Some(name) = &args.name else {
        let view = store.view()?;
        return list(&args.store, &view.branches, view.head_branch());
    };
    let name = Name::new(name)?;
    if args.delete {
        store.delete_branch(&name, &stamp())?;
        return done(&args.store, "deleted branch", &name, None);
    }
    let at = store.resolve(&args.rev)?;
    store.branch(&name, at, args.force, &stamp())?;
    done(&args.store, "branch", &name, Some(at))
}

pub(crate) fn tag(args: &NameArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let Some(name) = &args.name else {
        return list(&args.store, &store.view()?.tags, None);
    };
    let name = Name::new(name)?;
    if args.delete {
        store.delete_tag(&name, &stamp())?;
        return done(&args.store, "deleted tag", &name, None);
    }
    let at = store.resolve(&args.rev)?;
    store.tag(&name, at, args.force, &stamp())?;
    done(&args.store, "tag", &name, Some(at))
}

pub(crate) fn switch(args: &SwitchArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    if args.detach {
        let at = store.resolve(&args.to)?;
        store.detach(at, &stamp())?;
        if args.store.json {
            return crate::cli::print_json(&json!({ "name": null, "commit": at.to_string() }));
        }
        say!("head at {}, on no branch", at.short());
        return Ok(());
    }
    let name = Name::new(&args.to)?;
    if args.create {
        let at = store.resolve("HEAD")?;
        store.branch(&name, at, false, &stamp())?;
    }
    store.switch(&name, &stamp())?;
    let at = store.resolve("HEAD")?;
    done(&args.store, "head on branch", &name, Some(at))
}

fn done(args: &StoreArgs, what: &str, name: &Name, at: Option<CommitId>) -> Result<(), CliError> {
    if args.json {
        let commit = at.map(|id| id.to_string());
        return crate::cli::print_json(&json!({ "name": name.as_str(), "commit": commit }));
    }
    match at {
        Some(id) => say!("{what} {name} at {}", id.short()),
        None => say!("{what} {name}"),
    }
    Ok(())
}

fn list(args: &StoreArgs, names: &BTreeMap<Name, CommitId>, current: Option<&Name>) -> Result<(), CliError> {
    if args.json {
        let names: BTreeMap<&str, String> =
            names.iter().map(|(name, id)| (name.as_str(), id.to_string())).collect();
        return crate::cli::print_json(&json!({ "names": names, "current": current.map(Name::as_str) }));
    }
    for (name, id) in names {
        let mark = if Some(name) == current { '*' } else { ' ' };
        say!("{mark} {name}  {}", id.short());
    }
    Ok(())
}
