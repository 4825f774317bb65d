//! The object files: one file an object, found by its id.
//!
//! A file does not hold the object's bytes as such but says how to get them: they stand there, packed, in
//! another file, or follow from other objects (see [`frame`]). Whichever it is, the bytes that come out are
//! hashed before anybody sees them as an object, so no form needs to be trusted.

mod derive;
mod frame;
mod pack;
mod read;
mod refs;
mod transfer;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use recant_core::{ObjectId, ParamPath, PatchId};

pub(crate) use derive::AT_ONCE;
pub use frame::Form;
pub(crate) use frame::LinkFrame;
pub use read::Source;
pub use transfer::{Received, TransferError};
pub use write::Writer;
pub(crate) use write::sync_all;

use crate::codec::DecodeError;
use crate::disk::Disk;
use crate::object::Kind;

/// Folder of object files.
pub(crate) const OBJECTS: &str = "objects";
/// Folder of files that are being written.
pub(crate) const TMP: &str = "tmp";

/// The objects of a store. Cloning shares the disk.
#[derive(Clone)]
pub struct Odb {
    pub(crate) disk: Arc<dyn Disk>,
}

/// An object cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no such object.
    #[error("object {id} is not in the store; `recant fsck` says what else is missing")]
    Missing {
        /// The object.
        id: ObjectId,
    },
    /// A file cannot be read.
    #[error("cannot read {path} of the store: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file of an object says nonsense.
    #[error("object {id} is damaged: {reason}; `recant fsck --repair` sets it aside")]
    Frame {
        /// The object.
        id: ObjectId,
        /// What is wrong.
        reason: String,
    },
    /// The bytes are not those that the id promises.
    #[error("object {id} is damaged: its bytes have digest {found}; `recant fsck --repair` sets it aside")]
    Digest {
        /// The object.
        id: ObjectId,
        /// What the bytes have.
        found: ObjectId,
    },
    /// The bytes do not decode.
    #[error("object {id} is not what it should be: {source}")]
    Decode {
        /// The object.
        id: ObjectId,
        /// What is wrong.
        source: DecodeError,
    },
    /// The object is of another kind.
    #[error("object {id} is a {found}, where a {expected} is expected", found = found.name(), expected = expected.name())]
    Kind {
        /// The object.
        id: ObjectId,
        /// Its kind.
        found: Kind,
        /// The kind that was asked for.
        expected: Kind,
    },
    /// A base that was referenced in place is gone or another one.
    #[error(
        "object {id} was linked in place to {path}, which {reason}; put the file back, or import it again"
    )]
    Link {
        /// The object.
        id: ObjectId,
        /// The file it was linked to.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A patch that a tensor follows from does not fit its base.
    #[error("object {id} does not follow from patch {patch:?} at `{path}`: {reason}")]
    Derive {
        /// The object.
        id: ObjectId,
        /// The patch.
        patch: PatchId,
        /// The parameter.
        path: ParamPath,
        /// What is wrong.
        reason: String,
    },
}

/// An object cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A file cannot be written.
    #[error("cannot write {path} of the store: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes that are stored cannot be read.
    #[error("cannot read what is to be stored: {source}")]
    Input {
        /// What the system said.
        source: io::Error,
    },
    /// Something that the new object builds on cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Odb {
    /// The objects on a disk.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    /// Where an object's file stands.
    pub(crate) fn path(id: ObjectId) -> PathBuf {
        let hex = id.to_string();
        [OBJECTS, &hex[..2], &hex[2..]].iter().collect()
    }

    /// Whether there is a file for an object.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub fn contains(&self, id: impl Into<ObjectId>) -> Result<bool, ReadError> {
        let path = Self::path(id.into());
        self.disk.exists(&path).map_err(|source| ReadError::Io { path, source })
    }

    /// The ids of all object files, ascending. Files with other names are left out; fsck reports them.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub fn ids(&self) -> Result<Vec<ObjectId>, ReadError> {
        Ok(self.files()?.into_iter().filter_map(|(_, id)| id).collect())
    }

    /// Every file under the objects' folder, and the id that its name spells.
    pub(crate) fn files(&self) -> Result<Vec<(PathBuf, Option<ObjectId>)>, ReadError> {
        let mut files = Vec::new();
        let root = PathBuf::from(OBJECTS);
        let shards = self.disk.list(&root);
        for shard in shards.map_err(|source| ReadError::Io { path: root.clone(), source })? {
            let dir = root.join(&shard);
            let names = match self.disk.list(&dir) {
                Ok(names) => names,
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    files.push((dir, None));
                    continue;
                }
                Err(source) => return Err(ReadError::Io { path: dir, source }),
            };
            for name in names {
                let path = dir.join(&name);
                let id = format!("{shard}{name}").parse().ok().filter(|&id| Self::path(id) == path);
                files.push((path, id));
            }
        }
        Ok(files)
    }

    /// Bytes that an object takes on disk.
    ///
    /// # Errors
    /// [`ReadError`] when it is missing or cannot be looked at.
    pub fn file_len(&self, id: impl Into<ObjectId>) -> Result<u64, ReadError> {
        let id = id.into();
        self.open_file(id).map(|(len, _)| len)
    }

    pub(crate) fn open_file(&self, id: ObjectId) -> Result<(u64, Box<dyn io::Read + Send>), ReadError> {
        self.open_at(id, &Self::path(id))
    }

    fn open_at(&self, id: ObjectId, path: &Path) -> Result<(u64, Box<dyn io::Read + Send>), ReadError> {
        self.disk.open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ReadError::Missing { id },
            io::ErrorKind::InvalidData => ReadError::Frame { id, reason: source.to_string() },
            _ => ReadError::Io { path: path.to_owned(), source },
        })
    }
}

impl std::fmt::Debug for Odb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Odb").finish_non_exhaustive()
    }
}
