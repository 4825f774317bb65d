//! A model as the command line names it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParserFactory};
use recant_checkpoint::Source;
use recant_core::CommitId;
use recant_files::{Outputs, Role};
use recant_hub::{Hub, HubName, Step};
use recant_store::Store;

use super::error::CliError;
use super::progress;
use super::store::StoreError;

/// The name of a model. What it means is looked up once, so that one command sees one state of a branch.
#[derive(Debug, Clone)]
pub struct ModelName {
    name: PathBuf,
    found: Arc<OnceLock<ModelRef>>,
}

impl From<PathBuf> for ModelName {
    fn from(name: PathBuf) -> Self {
        Self { name, found: Arc::default() }
    }
}

impl ValueParserFactory for ModelName {
    type Parser = clap::builder::MapValueParser<OsStringValueParser, fn(OsString) -> Self>;

    fn value_parser() -> Self::Parser {
        OsStringValueParser::new().map(|name| PathBuf::from(name).into())
    }
}

impl ModelName {
    /// As it was said.
    #[must_use]
    pub fn said(&self) -> &Path {
        &self.name
    }

    /// What the name means; a model of the hub is fetched.
    pub(crate) fn find(&self) -> Result<&ModelRef, CliError> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = ModelRef::find(&self.name)?;
        Ok(self.found.get_or_init(|| found))
    }
}

/// Where a model is.
#[derive(Debug)]
pub(crate) enum ModelRef {
    /// A directory, or a file.
    Path(PathBuf),
    /// A commit of a store: `STORE@REV`, or `STORE` for its head.
    Commit(Store, CommitId),
    /// A model of the hub, and where its files are on this machine.
    Hub(HubName, PathBuf),
}

impl ModelRef {
    /// What exists and is no store is a path, whatever its name.
    fn find(name: &Path) -> Result<Self, CliError> {
        let at = |dir: &Path, rev: &str| -> Result<Option<Self>, CliError> {
            let Ok(store) = Store::open(dir) else { return Ok(None) };
            let id = store.resolve(rev).map_err(StoreError::from)?;
            Ok(Some(Self::Commit(store, id)))
        };
        if name.exists() {
            return Ok(at(name, "HEAD")?.unwrap_or_else(|| Self::Path(name.to_owned())));
        }
        let nothing = || CliError::NoModel { name: name.to_owned() };
        let text = name.to_str().ok_or_else(nothing)?;
        if let Some((dir, rev)) = text.rsplit_once('@')
            && let Some(commit) = at(Path::new(dir), rev)?
        {
            return Ok(commit);
        }
        let name = HubName::parse(text).ok_or_else(nothing)?;
        let path = fetch(&name)?;
        Ok(Self::Hub(name, path))
    }

    /// What to open.
    pub(crate) fn source(&self) -> Result<Arc<dyn Source>, CliError> {
        match self {
            Self::Path(path) | Self::Hub(_, path) => Ok(recant_model::source_at(path)?),
            Self::Commit(store, id) => Ok(Arc::new(store.source(*id).map_err(StoreError::from)?)),
        }
    }

    /// Names the model to `outputs` as something that is read.
    pub(crate) fn guard(&self, outputs: &mut Outputs) -> Result<(), CliError> {
        match self {
            Self::Path(path) | Self::Hub(_, path) => Ok(outputs.reads(Role::Model, path)?),
            Self::Commit(store, _) => Ok(store.guard(outputs).map_err(StoreError::from)?),
        }
    }

    /// The files of a directory that is written for the model.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, CliError> {
        match self {
            Self::Path(path) | Self::Hub(_, path) => recant_files::model_files(path)
                .map_err(|error| CliError::Read { path: path.clone(), reason: error.to_string() }),
            Self::Commit(store, id) => Ok(store.checkout_files(*id).map_err(StoreError::from)?),
        }
    }
}

/// Finds a model of the hub, and shows how far its download has come.
fn fetch(name: &HubName) -> Result<PathBuf, CliError> {
    let mut bar = None;
    let path = Hub::of_environment().find(name, &mut |step| match step {
        Step::Begin { missing: 0, .. } => {}
        Step::Begin { missing, bytes } => {
            remark!("fetching {name}: {missing} files, {:.1} MB", bytes as f64 / 1e6);
            bar = Some(progress::bytes(bytes, "fetch"));
        }
        Step::File(file) => {
            if let Some(bar) = &bar {
                bar.set_message(file.to_owned());
            }
        }
        Step::Bytes(bytes) => {
            if let Some(bar) = &bar {
                bar.set_position(bytes);
            }
        }
        Step::Again { file, reason } => remark!("note: {file}: {reason}; going on from where it broke"),
        Step::Unreachable(error) => remark!("note: {error}; the copy in the cache is used"),
        _ => {}
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(path)
}
