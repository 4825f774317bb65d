//! Checkpoints that a store refers to instead of holding a copy: nobody may write over them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use recant_files::{OutputError, Outputs, Role};

use crate::odb::ReadError;
use crate::store::Store;

/// The outputs of a verb cannot be decided on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The store's objects cannot be listed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A path cannot be followed.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Store {
    /// The files outside the store that hold tensors of it.
    ///
    /// # Errors
    /// [`ReadError`] when the objects cannot be listed.
    pub fn links(&self) -> Result<BTreeSet<PathBuf>, ReadError> {
        // An object that cannot be read refers to nothing that could still be lost by it. A link stands alone.
        let link = |id| self.odb().link(id).ok().flatten();
        Ok(self.odb().files()?.into_iter().filter_map(|(_, id)| link(id?)).collect())
    }

    /// Names to `outputs` what none of them may overwrite: the store, and the folders of the checkpoints that it is
    /// linked to.
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn guard(&self, outputs: &mut Outputs) -> Result<(), GuardError> {
        if let Some(dir) = self.odb().disk.root() {
            outputs.reads(Role::Store, dir)?;
        }
        let links = self.links()?;
        let folders: BTreeSet<PathBuf> =
            links.iter().filter_map(|file| file.parent()).map(std::path::Path::to_owned).collect();
        Ok(folders.iter().try_for_each(|dir| outputs.reads(Role::Linked, dir))?)
    }
}
