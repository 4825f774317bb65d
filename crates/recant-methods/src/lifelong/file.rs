//! The state file: the canonical bytes of an [`AdapterState`], nothing else.

use std::path::{Path, PathBuf};

use recant_core::{AdapterState, StateDecodeError};

/// A state file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It cannot be written; what stood there still stands.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a state.
    #[error("{path}: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: StateDecodeError,
    },
}

/// Writes a state, whole or not at all: a reader, or a crash, finds the former state or this one.
///
/// # Errors
/// [`StateFileError::Write`].
pub fn save_state(state: &AdapterState, path: &Path) -> Result<(), StateFileError> {
    let failed = |source| StateFileError::Write { path: path.to_owned(), source };
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(failed)?;
    crate::write_whole(path, &state.encode()).map_err(failed)
}

/// Reads a state.
///
/// # Errors
/// [`StateFileError::Read`], [`StateFileError::Format`].
pub fn load_state(path: &Path) -> Result<AdapterState, StateFileError> {
    let bytes =
        std::fs::read(path).map_err(|source| StateFileError::Read { path: path.to_owned(), source })?;
    AdapterState::decode(&bytes).map_err(|source| StateFileError::Format { path: path.to_owned(), source })
}
