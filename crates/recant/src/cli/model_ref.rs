//! A model as the command line names it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recant_checkpoint::Source;
use recant_core::CommitId;
use recant_files::{Outputs, Role};
use recant_store::Store;

use super::error::CliError;
use super::store::StoreError;

/// Where a model is.
pub(crate) enum ModelRef {
    /// A directory, or a file.
    Path(PathBuf),
    /// A commit of a store: `STORE@REV`, or `STORE` for its head.
    Commit(Store, CommitId),
}

impl ModelRef {
    /// What a name means. What exists and is no store is a path, whatever its name.
    pub(crate) fn find(name: &Path) -> Result<Self, CliError> {
        let at = |dir: &Path, rev: &str| -> Result<Option<Self>, CliError> {
            let Ok(store) = Store::open(dir) else { return Ok(None) };
            let id = store.resolve(rev).map_err(StoreError::from)?;
            Ok(Some(Self::Commit(store, id)))
        };
        let found = match name.exists() {
            true => at(name, "HEAD")?,
            false => match name.to_str().and_then(|name| name.rsplit_once('@')) {
                Some((dir, rev)) => at(Path::new(dir), rev)?,
                None => None,
            },
        };
        Ok(found.unwrap_or_else(|| Self::Path(name.to_owned())))
    }

    /// What to open.
    pub(crate) fn source(&self) -> Result<Arc<dyn Source>, CliError> {
        match self {
            Self::Path(path) => Ok(recant_model::source_at(path)?),
            Self::Commit(store, id) => Ok(Arc::new(store.source(*id).map_err(StoreError::from)?)),
        }
    }

    /// Names the model to `outputs` as something that is read.
    pub(crate) fn guard(&self, outputs: &mut Outputs) -> Result<(), CliError> {
        match self {
            Self::Path(path) => Ok(outputs.reads(Role::Model, path)?),
            Self::Commit(store, _) => Ok(store.guard(outputs).map_err(StoreError::from)?),
        }
    }

    /// The files of a directory that is written for the model.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, CliError> {
        match self {
            Self::Path(path) => recant_files::model_files(path)
                .map_err(|error| CliError::Read { path: path.clone(), reason: error.to_string() }),
            Self::Commit(store, id) => Ok(store.checkout_files(*id).map_err(StoreError::from)?),
        }
    }
}
