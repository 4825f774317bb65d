//! Writing a commit's model as a directory: all of it or nothing.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use recant_core::{CommitId, ParamPath};

use crate::import::WEIGHTS;
use crate::layout::{Layout, LayoutError};
use crate::object::TensorHead;
use crate::odb::ReadError;
use crate::store::Store;

/// How to check out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckoutOptions {
    /// Replace a directory that already holds something.
    pub force: bool,
}

/// A commit cannot be checked out. What stood under the output name still stands there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckoutError {
    /// The output directory is not empty.
    #[error("{dir} already holds something; choose another directory or pass --force to replace it")]
    Occupied {
        /// The directory.
        dir: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An object cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The stored header is not valid.
    #[error("the stored safetensors header is not valid: {0}")]
    Layout(#[from] LayoutError),
    /// The manifest lacks a tensor that the header names.
    #[error("the commit has no tensor `{path}`, which its file layout names")]
    Tensor {
        /// The tensor.
        path: ParamPath,
    },
}

impl Store {
    /// Writes the model at a commit as a Hugging Face directory: the file that was imported with the changed
    /// tensors in place, byte for byte, and every carried file. Every tensor is verified on the way.
    ///
    /// # Errors
    /// [`CheckoutError`]; nothing under `out` has changed then.
    pub fn checkout(&self, id: CommitId, out: &Path, options: CheckoutOptions) -> Result<(), CheckoutError> {
        let write = |path: &Path, source| CheckoutError::Write { path: path.to_owned(), source };
        let occupied = match fs::read_dir(out) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(write(out, source)),
        };
        if occupied && !options.force {
            return Err(CheckoutError::Occupied { dir: out.to_owned() });
        }
        let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|source| write(parent, source))?;
        let staging = tempfile::Builder::new()
            .prefix(".recant-")
            .suffix(".tmp")
            .tempdir_in(parent)
            .map_err(|source| write(parent, source))?;
        self.fill(id, staging.path())?;
        make_readable(staging.path()).map_err(|source| write(out, source))?;
        if out.exists() {
            // Renaming onto a full directory is refused by the system, so the old one steps aside first and
            // is deleted only when the new one stands.
            let aside = tempfile::Builder::new()
                .prefix(".recant-old-")
                .tempdir_in(parent)
                .map_err(|source| write(parent, source))?;
            let old = aside.path().join("old");
            fs::rename(out, &old).map_err(|source| write(out, source))?;
            if let Err(source) = fs::rename(staging.path(), out) {
                fs::rename(&old, out).map_err(|source| write(out, source))?;
                return Err(write(out, source));
            }
        } else {
            fs::rename(staging.path(), out).map_err(|source| write(out, source))?;
        }
        // Renamed away: there is nothing left for the guard to delete.
        let _ = staging.keep();
        Ok(())
    }

    fn fill(&self, id: CommitId, dir: &Path) -> Result<(), CheckoutError> {
        let odb = self.odb();
        let manifest = odb.manifest(odb.commit(id)?.manifest)?;
        for (name, &blob) in &manifest.files {
            let path = dir.join(name.as_str());
            let bytes = odb.blob(blob)?.bytes;
            fs::write(&path, bytes).map_err(|source| CheckoutError::Write { path, source })?;
        }
        let header = odb.blob(manifest.layout)?.bytes;
        let layout = Layout::parse(&header)?;
        let path = dir.join(WEIGHTS);
        let failed = |source| CheckoutError::Write { path: path.clone(), source };
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(failed)?);
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        for place in layout.places {
            let id = manifest.get(&place.path).ok_or(CheckoutError::Tensor { path: place.path.clone() })?;
            let head = TensorHead { dtype: place.dtype, shape: place.shape }.encode();
            let mut behind = BehindHead { head: &head, file: &mut file };
            let written = odb.copy(id, &mut behind).map_err(|error| odb.explain(error))?;
            written.map_err(failed)?;
        }
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)
    }
}

/// Passes on what stands behind a tensor's head, which must be the expected one.
struct BehindHead<'a> {
    head: &'a [u8],
    file: &'a mut dyn Write,
}

impl Write for BehindHead<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.head.len());
        if bytes[..len] != self.head[..len] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a tensor of another type or shape"));
        }
        self.head = &self.head[len..];
        self.file.write_all(&bytes[len..])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A temporary directory is private to its user; a model directory has the usual permissions.
fn make_readable(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    }
    let _ = dir;
    Ok(())
}
