//! Files of recant's own, read.

use std::io;
use std::path::{Path, PathBuf};

use recant_records::{Opened, RecordError};

/// A file of recant's cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RecordFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// It is damaged, or another one than was expected.
    #[error("{path}: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: RecordError,
    },
}

/// Reads a file of recant's, such as a ledger, a memory or a patch.
///
/// # Errors
/// [`RecordFileError`].
pub fn open_record<T>(
    path: &Path,
    open: impl FnOnce(&[u8]) -> Result<Opened<T>, RecordError>,
) -> Result<Opened<T>, RecordFileError> {
    let bytes = recant_checkpoint::read_file(path)
        .map_err(|source| RecordFileError::Read { path: path.to_owned(), source })?;
    open(&bytes).map_err(|source| RecordFileError::Record { path: path.to_owned(), source })
}
