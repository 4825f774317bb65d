//! The seam between the store and a file system: small enough to sabotage.
//!
//! Everything the store writes, and all of its own files that it reads, goes through [`Disk`], so a test can
//! count the operations of a workload and fail each one in turn. The tests' implementation stands in
//! `tests/common/disk.rs`; it also forgets what was never synced.

mod real;

use std::io::{self, Read, Write};
use std::path::Path;

pub use real::RealDisk;

/// A file being written.
pub trait DiskFile: Write + Send {
    /// Makes the bytes written so far durable.
    ///
    /// # Errors
    /// What the system says; the file must then be given up, because another sync may claim success.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that is read here and there.
pub trait ReadAt: Send + Sync {
    /// Fills the buffer with what stands from an offset on.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` when the file ends before.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// A lock that is held; dropping it, or the death of the process, lets go.
pub trait Held: Send + Sync {}

/// The few things that a store asks of a file system. Paths are relative to the store's folder.
pub trait Disk: Send + Sync {
    /// The store's folder, if it is one of the file system's.
    fn root(&self) -> Option<&Path> {
        None
    }

    /// Opens a file for reading: its length, and its bytes. A symbolic link is refused.
    ///
    /// # Errors
    /// What the system says; `NotFound` when there is no such file.
    fn open(&self, path: &Path) -> io::Result<(u64, Box<dyn Read + Send>)>;

    /// As [`Disk::open`], for reading here and there.
    ///
    /// # Errors
    /// As [`Disk::open`].
    fn open_at(&self, path: &Path) -> io::Result<(u64, Box<dyn ReadAt>)>;

    /// Creates a file that does not exist.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Renames a file, replacing what stood there, in one step.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, sorted; none when the folder does not exist.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Whether a file exists.
    ///
    /// # Errors
    /// What the system says.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Makes a folder and the folders above it, unless they exist.
    ///
    /// # Errors
    /// What the system says.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock that stands for a file; `None` when somebody else holds it.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>>;
}

/// Reads a small file whole.
pub(crate) fn read_small(disk: &dyn Disk, path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let (len, reader) = disk.open(path)?;
    if len > max {
        let reason = format!("{len} bytes where at most {max} are expected");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let mut bytes = Vec::new();
    reader.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
