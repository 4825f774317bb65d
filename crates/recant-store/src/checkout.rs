//! Writing a commit's model as a directory: all of it or nothing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use recant_core::{CommitId, ParamPath};
use recant_files::{MODEL_DIRECTORY, OutputDirectory, OutputError, Outputs, Temporaries};

use crate::import::WEIGHTS;
use crate::layout::{Layout, LayoutError};
use crate::links::GuardError;
use crate::object::TensorHead;
use crate::odb::ReadError;
use crate::store::Store;

/// How to check out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckoutOptions {
    /// Replace a model directory that is there already.
    pub force: bool,
}

/// A commit cannot be checked out. What stood under the output name still stands there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckoutError {
    /// The output may not go there, or cannot.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What must not be overwritten cannot be found out.
    #[error(transparent)]
    Guard(#[from] GuardError),
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
    /// With `force` a model directory that is there is replaced, but never one that this store refers to instead of
    /// holding a copy, nor one that holds anything else.
    ///
    /// # Errors
    /// [`CheckoutError`]; nothing under `out` has changed then.
    pub fn checkout(&self, id: CommitId, out: &Path, options: CheckoutOptions) -> Result<(), CheckoutError> {
        let mut outputs = Outputs::new(&Temporaries::default()).replacing(options.force);
        self.guard(&mut outputs)?;
        let output = outputs.directory(out, MODEL_DIRECTORY, self.checkout_files(id)?)?;
        self.checkout_to(id, &output)
    }

    /// As [`Store::checkout`], to a place that was decided on before.
    ///
    /// # Errors
    /// [`CheckoutError`]; nothing has changed there then.
    pub fn checkout_to(&self, id: CommitId, output: &OutputDirectory) -> Result<(), CheckoutError> {
        output.fill(|dir| self.fill(id, dir))
    }

    /// The files of a commit's model directory.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn checkout_files(&self, id: CommitId) -> Result<Vec<PathBuf>, ReadError> {
        let manifest = self.odb().manifest(self.odb().commit(id)?.manifest)?;
        let carried = manifest.files.keys().map(|name| PathBuf::from(name.as_str()));
        Ok(carried.chain([PathBuf::from(WEIGHTS)]).collect())
    }

    fn fill(&self, id: CommitId, dir: &Path) -> Result<(), CheckoutError> {
        let odb = self.odb();
        let manifest = odb.manifest(odb.commit(id)?.manifest)?;
        for (name, &blob) in &manifest.files {
            let path = dir.join(name.as_str());
            let bytes = odb.blob(blob)?.bytes;
            recant_files::write_new(&path, &bytes)
                .map_err(|source| CheckoutError::Write { path: name.as_str().into(), source })?;
        }
        let header = odb.blob(manifest.layout)?.bytes;
        let layout = Layout::parse(&header)?;
        let path = dir.join(WEIGHTS);
        let failed = |source| CheckoutError::Write { path: WEIGHTS.into(), source };
        let mut file = BufWriter::with_capacity(1 << 20, File::create_new(&path).map_err(failed)?);
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        for place in layout.places {
            let id = manifest.get(&place.path).ok_or(CheckoutError::Tensor { path: place.path.clone() })?;
            let head = TensorHead { dtype: place.dtype, shape: place.shape }.encode();
            let mut behind = BehindHead { head: &head, file: &mut file };
            let written = odb.copy(id, &mut behind).map_err(|error| odb.explain(error))?;
            written.map_err(failed)?;
        }
        file.flush().map_err(failed)
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
