//! The model at a commit, as a source: nothing is written anywhere to open it.

use std::fmt;
use std::path::{Path, PathBuf};

use recant_checkpoint::{Layout, Source, SourceError};
use recant_core::{CommitId, HostTensor, ParamPath};

use crate::checkout::CheckoutError;
use crate::name::FileName;
use crate::object::Manifest;
use crate::odb::Odb;
use crate::store::Store;

/// The model at a commit. Each tensor is verified when it is read.
#[derive(Clone)]
pub struct CommitSource {
    odb: Odb,
    /// The store's folder and the commit, for messages.
    place: PathBuf,
    manifest: Manifest,
    layout: Layout,
}

impl fmt::Debug for CommitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommitSource({})", self.place.display())
    }
}

impl Store {
    /// The model at a commit.
    ///
    /// # Errors
    /// [`CheckoutError`], as a checkout would be refused.
    pub fn source(&self, id: CommitId) -> Result<CommitSource, CheckoutError> {
        let (manifest, layout) = self.laid_out(id)?;
        let root = self.odb().disk.root().unwrap_or(Path::new("store"));
        let place = PathBuf::from(format!("{}@{}", root.display(), id.short()));
        Ok(CommitSource { odb: self.odb().remembering(), place, manifest, layout })
    }
}

impl CommitSource {
    fn told(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SourceError {
        SourceError::Other { place: self.place.clone(), source: error.into() }
    }
}

impl Source for CommitSource {
    fn place(&self) -> &Path {
        &self.place
    }

    fn files(&self) -> Result<Vec<String>, SourceError> {
        Ok(self.manifest.files.keys().map(ToString::to_string).collect())
    }

    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let Ok(name) = FileName::new(name) else { return Ok(None) };
        let Some(&id) = self.manifest.files.get(&name) else { return Ok(None) };
        let bytes = self.odb.blob(id).map_err(|error| self.told(error))?.bytes;
        Ok(Some(bytes))
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn tensor(&self, name: &ParamPath) -> Result<HostTensor, SourceError> {
        let missing = || SourceError::Missing { place: self.place.clone(), name: name.clone() };
        let id = self.manifest.get(name).ok_or_else(missing)?;
        self.odb.tensor(id).map_err(|error| self.told(self.odb.explain(error)))
    }
}
