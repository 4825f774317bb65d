//! Files that development commands write: whole or not at all.

use std::path::Path;

use recant::files::{FileKind, OutputError, Outputs, Temporaries};

const ANY: FileKind = FileKind { name: "file", recognises: |_| true };

/// Writes a file. One that is there already is replaced only where the repository keeps its own.
pub(crate) fn write(path: &Path, bytes: &[u8], replace: bool) -> Result<(), OutputError> {
    Outputs::new(&Temporaries::default()).replacing(replace).file(path, ANY)?.write(bytes)
}

/// Whether a new file could be written there: to be known before minutes of work.
pub(crate) fn check(path: &Path) -> Result<(), OutputError> {
    Outputs::new(&Temporaries::default()).file(path, ANY).map(|_| ())
}
