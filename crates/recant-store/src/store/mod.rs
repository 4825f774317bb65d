//! A store on a disk: one pointer to the newest operation, and objects.
//!
//! ```text
//! FORMAT    "recant store 1\n"; "recant store 2\n" where there may be bundles, "recant store 3\n" shards too
//! head      the id of the newest operation, 64 hexadecimal digits and a newline
//! lock      empty; a writer holds a lock on it, which the system takes back when the writer dies
//! objects/  ab/cdef…: an object's file, by its id
//! bundles/  many objects' files in one, by the digest of all of it
//! live      how much is live at a commit; may be missing
//! remotes   remotes by name; may be missing
//! tmp/      files being written
//! UNFINISHED  empty; there while the store is made
//! ```
//!
//! Every branch and tag stands inside the operation that `head` names, so one rename moves all of them, and
//! a reader that has read `head` has a consistent view without any lock.

mod gather;
mod size;
mod transaction;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use recant_core::OperationId;

use gather::GATHER_FROM;
pub use size::Size;
pub use transaction::{Stamp, Transaction, TransactionError};

use crate::damage::Damage;
use crate::disk::{Disk, Held, RealDisk, read_small};
use crate::name::{Name, NameError};
use crate::object::{Operation, Step, View};
use crate::odb::{OBJECTS, Odb, ReadError, TMP, WriteError, Writer};

/// The file that makes a folder a store, and says which version.
pub(crate) const FORMAT: &str = "FORMAT";
/// An empty file that is there while a store is made: what lacks FORMAT and has it was left by an interruption.
const UNFINISHED: &str = "UNFINISHED";
/// A store in which every object has a file of its own.
const ALONE: &str = "recant store 1\n";
/// A store that may have bundles.
pub(crate) const BUNDLED: &str = "recant store 2\n";
/// A store that may have bundles, and models of several files of weights.
pub(crate) const SHARDED: &str = "recant store 3\n";
/// How long a writer waits for another one.
const PATIENCE: Duration = Duration::from_secs(60);

/// A versioned store. Cloning shares the disk; of what can change only the list of bundles is kept, and a writer lists
/// them again once it has the lock, so two handles never disagree.
#[derive(Debug, Clone)]
pub struct Store {
    odb: Odb,
    patience: Duration,
    gather_from: usize,
}

/// A store cannot be opened or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no store.
    #[error("{dir} is not a recant store")]
    NotAStore {
        /// The folder.
        dir: PathBuf,
    },
    /// The store is of another version.
    #[error(
        "{dir} is a store of format {found:?}, and this recant knows up to \"recant store 3\"; use a newer recant"
    )]
    Version {
        /// The folder.
        dir: PathBuf,
        /// What FORMAT says.
        found: String,
    },
    /// There is a store already, or something else.
    #[error("{dir} already holds something; choose another folder")]
    Occupied {
        /// The folder.
        dir: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An object cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The first branch cannot be called so.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// The newest operation cannot be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The pointer cannot be read.
    #[error("cannot read the store's head: {source}")]
    Io {
        /// What the system said.
        source: io::Error,
    },
    /// The pointer is not an id.
    #[error("the store's head {source}")]
    Damaged {
        /// What is there.
        source: Damage,
    },
    /// The operation cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Store {
    /// Makes a store in a folder that does not exist, is empty, or holds what an earlier call left that was
    /// interrupted.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn init(dir: &Path, branch: Name, stamp: &Stamp) -> Result<Self, OpenError> {
        branch.check_ref()?;
        let io = |source| OpenError::Io { path: dir.to_owned(), source };
        let occupied = || OpenError::Occupied { dir: dir.to_owned() };
        let marker = dir.join(UNFINISHED);
        match std::fs::read_dir(dir) {
            Ok(entries) => {
                let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
                let names = names.map_err(io)?;
                let begun = names.iter().any(|name| name == UNFINISHED);
                let ours = |name| [UNFINISHED, "lock", OBJECTS, TMP, "head"].iter().any(|our| name == *our);
                let free = names.is_empty() || (begun && names.iter().all(ours));
                if !free {
                    return Err(occupied());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(dir).map_err(io)?;
            }
            Err(error) => return Err(io(error)),
        }
        std::fs::OpenOptions::new().create(true).append(true).open(&marker).map_err(io)?;
        let disk = Arc::new(RealDisk::new(dir));
        // Nobody else makes it at the same time, nor has made it in between.
        let _held = disk.lock(Path::new("lock")).map_err(io)?.ok_or_else(occupied)?;
        if disk.exists(Path::new(FORMAT)).map_err(io)? {
            let _ = std::fs::remove_file(&marker);
            return Err(occupied());
        }
        Self::on(disk.clone()).sweep()?;
        let store = Self::init_on(disk, branch, stamp)?;
        // Beside FORMAT it means nothing.
        let _ = std::fs::remove_file(&marker);
        Ok(store)
    }

    /// Whether nothing was ever done in the store: one that was made, and no more.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn is_untouched(&self) -> Result<bool, HeadError> {
        Ok(self.operation()?.parent.is_none())
    }

    /// Makes a store on an empty disk. FORMAT is written last: without it there is no store.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn init_on(disk: Arc<dyn Disk>, branch: Name, stamp: &Stamp) -> Result<Self, OpenError> {
        branch.check_ref()?;
        let store = Self::on(disk);
        let disk = &*store.odb.disk;
        for dir in [OBJECTS, TMP] {
            disk.make_dir(Path::new(dir)).map_err(|source| OpenError::Io { path: dir.into(), source })?;
        }
        let first = Operation {
            parent: None,
            time: stamp.time,
            author: stamp.author.clone(),
            what: "init".to_owned(),
            step: Step::Forward,
            view: View::unborn(branch),
        };
        let mut writer = Writer::new(store.odb.clone());
        writer.put(&first.encode())?;
        writer.sync()?;
        store.point(first.id())?;
        store.odb.replace(FORMAT, ALONE.as_bytes())?;
        Ok(store)
    }

    fn on(disk: Arc<dyn Disk>) -> Self {
        Self { odb: Odb::new(disk), patience: PATIENCE, gather_from: GATHER_FROM }
    }

    /// Opens a store.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(RealDisk::new(dir)), dir)
    }

    /// Opens a store on a disk; `dir` names it in errors.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, OpenError> {
        let found = match read_small(&*disk, Path::new(FORMAT), 256) {
            Ok(found) => found,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(OpenError::NotAStore { dir: dir.to_owned() });
            }
            Err(source) => return Err(OpenError::Io { path: dir.join(FORMAT), source }),
        };
        if [ALONE, BUNDLED, SHARDED].iter().any(|format| found == format.as_bytes()) {
            return Ok(Self::on(disk));
        }
        let found = String::from_utf8_lossy(&found).trim().to_owned();
        if found.starts_with("recant store ") {
            return Err(OpenError::Version { dir: dir.to_owned(), found });
        }
        Err(OpenError::NotAStore { dir: dir.to_owned() })
    }

    /// The same store, whose writers wait this long for another one.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The objects.
    #[must_use]
    pub fn odb(&self) -> &Odb {
        &self.odb
    }

    /// The id of the newest operation.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn head_operation(&self) -> Result<OperationId, HeadError> {
        let bytes =
            read_small(&*self.odb.disk, Path::new("head"), 256).map_err(|source| HeadError::Io { source })?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let id = text.strip_suffix('\n').and_then(|hex| hex.parse().ok());
        id.ok_or(HeadError::Damaged { source: Damage::NoId { text } })
    }

    /// The newest operation.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn operation(&self) -> Result<Operation, HeadError> {
        Ok(self.odb.operation(self.head_operation()?)?)
    }

    /// All names now.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn view(&self) -> Result<View, HeadError> {
        Ok(self.operation()?.view)
    }

    /// The operations from the newest back to the first.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn operations(&self) -> Result<Vec<(OperationId, Operation)>, HeadError> {
        self.walk_operations()?.collect()
    }

    /// [`Store::operations`], each read when its turn comes.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn walk_operations(
        &self,
    ) -> Result<impl Iterator<Item = Result<(OperationId, Operation), HeadError>>, HeadError> {
        let mut next = Some(self.head_operation()?);
        Ok(std::iter::from_fn(move || {
            let id = next.take()?;
            let operation = self.odb.operation(id);
            next = operation.as_ref().ok().and_then(|operation| operation.parent);
            Some(operation.map(|operation| (id, operation)).map_err(HeadError::from))
        }))
    }

    /// Becomes the writer, waiting for another one if there is one.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub fn begin(&self, stamp: &Stamp) -> Result<Transaction, TransactionError> {
        let lock = self.lock()?;
        self.sweep()?;
        let parent = self.head_operation()?;
        let view = self.odb.operation(parent)?.view;
        Ok(Transaction::new(self.clone(), lock, parent, view, stamp.clone()))
    }

    /// Removes what interrupted writers left, for whoever holds the lock: they are dead, and their files are in
    /// the way of a process with the same number.
    pub(crate) fn sweep(&self) -> Result<(), WriteError> {
        let disk = &*self.odb.disk;
        let io = |source| WriteError::Io { path: TMP.into(), source };
        // Copies of a store may lack it: many tools leave out empty folders.
        disk.make_dir(Path::new(TMP)).map_err(io)?;
        for name in disk.list(Path::new(TMP)).map_err(io)? {
            let _ = disk.remove(&Path::new(TMP).join(name));
        }
        Ok(())
    }

    pub(crate) fn lock(&self) -> Result<Box<dyn Held>, TransactionError> {
        let lock = self.wait_for_lock()?;
        // A bundle that a collection removed, by this handle or by another process, is readable still while it
        // is open here: what a writer took to be there already because of it would be missing afterwards.
        self.odb.bundles().map_err(WriteError::from)?;
        Ok(lock)
    }

    fn wait_for_lock(&self) -> Result<Box<dyn Held>, TransactionError> {
        let started = Instant::now();
        let mut wait = Duration::from_millis(1);
        loop {
            match self.odb.disk.lock(Path::new("lock")) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if started.elapsed() >= self.patience => {
                    return Err(TransactionError::Busy { seconds: self.patience.as_secs() });
                }
                Ok(None) => {
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(Duration::from_millis(50));
                }
                Err(source) => {
                    return Err(WriteError::Io { path: "lock".into(), source }.into());
                }
            }
        }
    }

    /// Moves the head: the one step that publishes.
    pub(crate) fn point(&self, id: OperationId) -> Result<(), WriteError> {
        self.odb.replace("head", format!("{id}\n").as_bytes())
    }
}
