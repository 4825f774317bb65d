//! The object files: one file an object, found by its id; small ones are gathered in [`bundle`]s.
//!
//! A file does not hold the object's bytes as such but says how to get them: they stand there, packed, in
//! another file, or follow from other objects (see [`frame`]). Whichever it is, the bytes that come out are
//! hashed before anybody sees them as an object, so no form needs to be trusted.

pub mod bundle;
mod derive;
mod find;
mod frame;
mod memory;
mod pack;
mod read;
mod refs;
mod transfer;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use recant_core::{HostTensor, ObjectId, ParamPath, PatchId};

pub(crate) use derive::AT_ONCE;
use find::Bundles;
pub use frame::Form;
pub(crate) use frame::LinkFrame;
use memory::{Kept, Memory};
pub(crate) use read::FirstBytes;
pub use read::Source;
pub use transfer::{Received, ReceivedBundle, TransferError};
pub use write::Writer;
pub(crate) use write::sync_all;

use crate::codec::DecodeError;
use crate::damage::Damage;
use crate::disk::Disk;
use crate::object::{Kind, Manifest};

/// Folder of object files.
pub(crate) const OBJECTS: &str = "objects";
/// Bytes of objects that [`Odb::remembering`] keeps.
const MEMORY: usize = 256 << 20;
/// Folder of files that are being written.
pub(crate) const TMP: &str = "tmp";

/// The objects of a store. Cloning shares the disk.
#[derive(Clone)]
pub struct Odb {
    pub(crate) disk: Arc<dyn Disk>,
    bundles: Arc<Mutex<Bundles>>,
    memory: Option<Arc<Memory>>,
    /// Small files that a writer took in and has not written yet.
    pending: Arc<Mutex<BTreeMap<ObjectId, Bytes>>>,
}

/// An object cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// An object is missing, or its bytes are damaged.
    #[error("object {id} {source}")]
    Object {
        /// The object.
        id: ObjectId,
        /// What is wrong with it.
        source: Damage,
    },
    /// A file cannot be read.
    #[error("cannot read {path} of the store: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A bundle of object files cannot be used.
    #[error("{path} of the store is damaged: {reason}; a repair takes out of it what is whole")]
    Bundle {
        /// The bundle.
        path: PathBuf,
        /// What is wrong.
        reason: String,
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

impl ReadError {
    pub(crate) fn missing(id: ObjectId) -> Self {
        Self::Object { id, source: Damage::Missing }
    }

    pub(crate) fn frame(id: ObjectId, reason: impl fmt::Display) -> Self {
        Self::Object { id, source: Damage::Frame { reason: reason.to_string() } }
    }

    pub(crate) fn digest(id: ObjectId, found: ObjectId) -> Self {
        Self::Object { id, source: Damage::Digest { found } }
    }
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
        Self { disk, bundles: Arc::default(), memory: None, pending: Arc::default() }
    }

    /// The same objects, of which those that were computed or decoded last stay in memory: for what reads
    /// much of a store.
    #[must_use]
    pub fn remembering(&self) -> Self {
        Self { memory: Some(Arc::new(Memory::new(MEMORY))), ..self.clone() }
    }

    /// The same objects, with pending files of its own.
    fn for_writer(&self) -> Self {
        Self { pending: Arc::default(), ..self.clone() }
    }

    fn pending(&self, id: ObjectId) -> Option<Bytes> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn recall(&self, id: ObjectId) -> Option<Kept> {
        self.memory.as_ref()?.get(id)
    }

    fn recall_tensor(&self, id: ObjectId) -> Option<HostTensor> {
        match self.recall(id)? {
            Kept::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    fn recall_manifest(&self, id: ObjectId) -> Option<Arc<Manifest>> {
        match self.recall(id)? {
            Kept::Manifest(manifest) => Some(manifest),
            _ => None,
        }
    }

    fn keep(&self, id: ObjectId, object: Kept, bytes: usize) {
        if let Some(memory) = &self.memory {
            memory.keep(id, object, bytes);
        }
    }
}

impl std::fmt::Debug for Odb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Odb").finish_non_exhaustive()
    }
}
