//! `recant store remote`: names for the places that a store is shared through.

use std::path::Path;

use clap::{Args, Subcommand};
use recant_remote::Remote;
use recant_store::{Name, RemotesError, Store};
use serde_json::{Value, json};

use super::{StoreArgs, store_dir};
use crate::cli::error::CliError;

/// What is meant where no remote is named.
const DEFAULT: &str = "origin";

/// Names for remotes.
#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// Give a remote a name.
    Add(AddArgs),
    /// List the remotes that have a name.
    List(ListArgs),
    /// Take a remote's name away; what is there stays.
    Remove(RemoveArgs),
}

/// Arguments of `recant store remote add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The name; `origin` is meant where a command names none.
    name: String,
    /// A folder, or a URL: s3://BUCKET/PREFIX, gs://…, az://…
    #[arg(value_name = "REMOTE")]
    address: String,
}

/// Arguments of `recant store remote list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
}

/// Arguments of `recant store remote remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The name.
    name: String,
}

pub(crate) fn run(command: &RemoteCommand) -> Result<(), CliError> {
    match command {
        RemoteCommand::Add(args) => add(args),
        RemoteCommand::List(args) => list(args),
        RemoteCommand::Remove(args) => remove(args),
    }
}

fn add(args: &AddArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let name = Name::new(args.name.as_str())?;
    let address = kept(&args.address)?;
    store.add_remote(&name, &address)?;
    if args.store.json {
        return crate::cli::print_json(&json!({ "name": name.as_str(), "remote": address }));
    }
    say!("{name} is {address}");
    Ok(())
}

fn list(args: &ListArgs) -> Result<(), CliError> {
    let remotes = args.store.open()?.remotes()?;
    if args.store.json {
        let one = |(name, address): (&Name, &String)| json!({ "name": name.as_str(), "remote": address });
        let remotes: Vec<Value> = remotes.iter().map(one).collect();
        return crate::cli::print_json(&json!({ "remotes": remotes }));
    }
    let width = remotes.keys().map(|name| name.as_str().len()).max().unwrap_or_default();
    remotes.iter().for_each(|(name, address)| say!("{:width$}  {address}", name.as_str()));
    if remotes.is_empty() {
        say!("no remote has a name; `recant store remote add NAME REMOTE` gives it one");
    }
    Ok(())
}

fn remove(args: &RemoveArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let name = Name::new(args.name.as_str())?;
    let address = store.remove_remote(&name)?;
    if args.store.json {
        return crate::cli::print_json(&json!({ "name": name.as_str(), "remote": address }));
    }
    say!("{name} is no name any more; {address} is as it was");
    Ok(())
}

/// An address as it is kept: a folder is meant from wherever the store is used next.
pub(super) fn kept(address: &str) -> Result<String, CliError> {
    // A drive letter is no scheme.
    if address.split_once("://").is_some_and(|(scheme, _)| scheme.len() > 1) {
        return Ok(address.to_owned());
    }
    let wrong = |reason: String| CliError::Read { path: address.into(), reason };
    let path = std::path::absolute(address).map_err(|error| wrong(error.to_string()))?;
    path.into_os_string().into_string().map_err(|_| wrong("its path is not UTF-8".to_owned()))
}

/// The address behind a name of this store, or the address that was given.
pub(super) fn address(store: &Store, named: Option<&str>) -> Result<String, CliError> {
    let said = named.unwrap_or(DEFAULT);
    // What has a separator is no name.
    let Ok(name) = Name::new(said) else { return Ok(said.to_owned()) };
    let remotes = store.remotes()?;
    match remotes.get(&name) {
        Some(address) => Ok(address.clone()),
        // As before there were names; a new folder is written `./NAME`, so that a slip of the pen makes none.
        None if named.is_some() && Path::new(said).is_dir() => Ok(said.to_owned()),
        None => {
            Err(RemotesError::Unknown { name: said.to_owned(), known: remotes.into_keys().collect() }.into())
        }
    }
}

/// The same for a store that is not there yet: names are those of the store at hand, if there is one.
pub(super) fn address_of_source(said: &str) -> String {
    match Store::open(&store_dir(None)).map(|store| address(&store, Some(said))) {
        Ok(Ok(address)) => address,
        _ => said.to_owned(),
    }
}

/// Keeps where a clone came from, under the name that push and pull mean by themselves.
pub(super) fn remember(store: &Store, address: &str) -> Result<(), CliError> {
    store.add_remote(&Name::new(DEFAULT)?, &kept(address)?)?;
    Ok(())
}

/// A remote at an address. Credentials come from the environment.
pub(super) fn open(address: &str) -> Result<Remote, CliError> {
    let known = ["AWS_", "GOOGLE_", "AZURE_"];
    let options = std::env::vars().filter(|(key, _)| known.iter().any(|prefix| key.starts_with(prefix)));
    Ok(Remote::open(address, options)?)
}
