//! Files of memories: the canonical bytes of an [`AdapterState`], sealed.

use std::path::{Path, PathBuf};

use recant_core::AdapterState;
use recant_files::{FileKind, OutputError, OutputFile, Outputs, Temporaries};
use recant_records::{Opened, Record, RecordError, seal};

/// The file of a memory.
pub const MEMORY: FileKind = FileKind { name: "memory", recognises: |head| seal::begins(head, b"RCNTADP") };

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
    #[error(transparent)]
    Output(#[from] OutputError),
    /// It is not a state.
    #[error("{path}: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: RecordError,
    },
}

/// Writes a state, whole or not at all: a reader, or a crash, finds the former state or this one. Nothing but another
/// memory is replaced.
///
/// # Errors
/// [`StateFileError::Output`].
pub fn save_state(state: &AdapterState, path: &Path) -> Result<(), StateFileError> {
    let mut outputs = Outputs::new(&Temporaries::default());
    save_state_to(state, &outputs.continued(path, MEMORY)?)
}

/// As [`save_state`], to a place that was decided on before.
///
/// # Errors
/// [`StateFileError::Output`].
pub fn save_state_to(state: &AdapterState, output: &OutputFile) -> Result<(), StateFileError> {
    Ok(output.write(&state.to_file())?)
}

/// Reads a state.
///
/// # Errors
/// [`StateFileError::Read`], [`StateFileError::Format`].
pub fn load_state(path: &Path) -> Result<Opened<AdapterState>, StateFileError> {
    let bytes = recant_checkpoint::read_file(path)
        .map_err(|source| StateFileError::Read { path: path.to_owned(), source })?;
    AdapterState::from_file(&bytes).map_err(|source| StateFileError::Format { path: path.to_owned(), source })
}
