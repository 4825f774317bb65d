//! A model as people name it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use recant_backend::Device;
use recant_checkpoint::{Source, SourceError};
use recant_core::CommitId;
use recant_files::{OutputError, Outputs, Role};
use recant_hub::{Hub, HubError, HubName, Step};
use recant_model::{Model, OpenError};
use recant_store::{CheckoutError, GuardError, RevError, Store};

use crate::observer::{Observer, Progress, Unit};

/// A model that is named and cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModelRefError {
    /// Nothing has the name of a model.
    #[error(
        "there is no model {name}: no directory or file, no revision of a store, no name that the hub could have"
    )]
    NoModel {
        /// As it was said.
        name: PathBuf,
    },
    /// A model of the hub cannot be had.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A model cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A model cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A text names no commit.
    #[error(transparent)]
    Rev(#[from] RevError),
    /// A commit is not a model that can be read.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// What an output must not overwrite cannot be found out.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The same, of a model in files.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The files of a model cannot be listed.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The model.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
}

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

impl From<OsString> for ModelName {
    fn from(name: OsString) -> Self {
        PathBuf::from(name).into()
    }
}

impl ModelName {
    /// As it was said.
    #[must_use]
    pub fn said(&self) -> &Path {
        &self.name
    }

    /// What the name means; a model of the hub is fetched, which `observer` hears of.
    ///
    /// # Errors
    /// [`ModelRefError::NoModel`], [`ModelRefError::Hub`], [`ModelRefError::Rev`].
    pub fn find(&self, observer: &dyn Observer) -> Result<&ModelRef, ModelRefError> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = ModelRef::find(&self.name, observer)?;
        Ok(self.found.get_or_init(|| found))
    }
}

/// Where a model is.
#[derive(Debug)]
pub enum ModelRef {
    /// A directory, or a file.
    Path(PathBuf),
    /// A commit of a store: `STORE@REV`, or `STORE` for its head.
    Commit(Store, CommitId),
    /// A model of the hub, and where its files are on this machine.
    Hub(HubName, PathBuf),
}

impl ModelRef {
    /// What exists and is no store is a path, whatever its name.
    fn find(name: &Path, observer: &dyn Observer) -> Result<Self, ModelRefError> {
        if let Some((store, id)) = commit_at(name)? {
            return Ok(Self::Commit(store, id));
        }
        if name.exists() {
            return Ok(Self::Path(name.to_owned()));
        }
        let found = name.to_str().and_then(HubName::parse);
        let name = found.ok_or_else(|| ModelRefError::NoModel { name: name.to_owned() })?;
        let path = fetch(&name, observer)?;
        Ok(Self::Hub(name, path))
    }

    /// What to open.
    ///
    /// # Errors
    /// [`ModelRefError::Source`], [`ModelRefError::Checkout`].
    pub fn source(&self) -> Result<Arc<dyn Source>, ModelRefError> {
        match self {
            Self::Path(path) | Self::Hub(_, path) => Ok(recant_model::source_at(path)?),
            Self::Commit(store, id) => Ok(Arc::new(store.source(*id)?)),
        }
    }

    /// Opens the model; `observer` hears what there is to know about it.
    ///
    /// # Errors
    /// [`ModelRefError::Source`], [`ModelRefError::Checkout`], [`ModelRefError::Open`].
    pub fn open(&self, device: &Device, observer: &dyn Observer) -> Result<Model, ModelRefError> {
        Ok(open_source(self.source()?, device, observer)?)
    }

    /// Names the model to `outputs` as something that is read.
    ///
    /// # Errors
    /// [`ModelRefError::Output`], [`ModelRefError::Guard`].
    pub fn guard(&self, outputs: &mut Outputs) -> Result<(), ModelRefError> {
        match self {
            Self::Path(path) | Self::Hub(_, path) => Ok(outputs.reads(Role::Model, path)?),
            Self::Commit(store, _) => Ok(store.guard(outputs)?),
        }
    }

    /// The files of a directory that is written for the model.
    ///
    /// # Errors
    /// [`ModelRefError::Read`], [`ModelRefError::Checkout`].
    pub fn files(&self) -> Result<Vec<PathBuf>, ModelRefError> {
        match self {
            Self::Path(path) | Self::Hub(_, path) => recant_files::model_files(path)
                .map_err(|source| ModelRefError::Read { path: path.clone(), source }),
            Self::Commit(store, id) => Ok(store.checkout_files(*id)?),
        }
    }
}

/// Opens a model of any source; `observer` hears what there is to know about it.
pub(crate) fn open_source(
    source: Arc<dyn Source>,
    device: &Device,
    observer: &dyn Observer,
) -> Result<Model, OpenError> {
    let model = Model::from_source(source, device)?;
    model.notes().iter().for_each(|note| observer.note(&note.to_string()));
    Ok(model)
}

/// The commit that `STORE@REV` names, or `STORE` for its head; `None` where there is no such store.
///
/// # Errors
/// [`RevError`].
pub(crate) fn commit_at(name: &Path) -> Result<Option<(Store, CommitId)>, RevError> {
    let text = name.to_str().filter(|_| !name.exists());
    let (dir, rev) = match text.and_then(|text| text.rsplit_once('@')) {
        Some((dir, rev)) => (Path::new(dir), rev),
        None => (name, "HEAD"),
    };
    let Ok(store) = Store::open(dir) else { return Ok(None) };
    let id = store.resolve(rev)?;
    Ok(Some((store, id)))
}

/// Finds a model of the hub, and tells how far its download has come.
fn fetch(name: &HubName, observer: &dyn Observer) -> Result<PathBuf, HubError> {
    let (mut file_now, mut done, mut of) = (String::new(), 0, 0);
    let found = Hub::of_environment().find(name, &mut |step| {
        match step {
            Step::Begin { missing: 0, .. } => return,
            Step::Begin { missing, bytes } => {
                observer.note(&format!("fetching {name}: {missing} files, {:.1} MB", bytes as f64 / 1e6));
                of = bytes;
            }
            Step::File(file) => file.clone_into(&mut file_now),
            Step::Bytes(bytes) => done = bytes,
            Step::Again { file, reason } => {
                return observer.note(&format!("{file}: {reason}; going on from where it broke"));
            }
            Step::Unreachable(error) => {
                return observer.note(&format!("{error}; the copy in the cache is used"));
            }
            _ => return,
        }
        if of > 0 {
            observer.progress(Progress { work: "fetch", detail: &file_now, done, of, unit: Unit::Bytes });
        }
    });
    observer.idle();
    found
}
