//! Writing a commit's model as a directory: all of it or nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use recant_checkpoint::{Layout, SHARD_LIST};
use recant_core::{CommitId, ModelDigest, ParamPath, TensorId};
use recant_files::{MODEL_DIRECTORY, OutputDirectory, OutputError, Outputs, Temporaries};

use crate::history::{History, HistoryError};
use crate::links::GuardError;
use crate::object::{Apart, FilesError, Manifest, TensorHead, files};
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
    /// What is stored of the files of weights is not valid.
    #[error("the stored layout of the weights is not valid: {0}")]
    Files(#[from] FilesError),
    /// History cannot be walked.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The stored header is not one of the commit's tensors.
    #[error("the stored layout of the weights' file is not that of the commit's tensors: {reason}")]
    Misfit {
        /// What is wrong.
        reason: String,
    },
    /// The commit has other files, ties or tensors than the model that was imported.
    #[error("commit {id} is not the imported model with other weights: {apart}{}", more(*count))]
    Apart {
        /// The commit.
        id: CommitId,
        /// The first part that differs.
        apart: Apart,
        /// How many differ.
        count: usize,
    },
}

fn more(count: usize) -> String {
    if count > 1 { format!(", and {} more differences", count - 1) } else { String::new() }
}

/// What a checkout wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The tensors of the file, by the names that they have in it, each with the digest of what was written.
    pub tensors: BTreeMap<ParamPath, TensorId>,
}

impl Written {
    /// The digest of the model in the directory, where `ties` are second and first names of matrices that its
    /// configuration makes one.
    #[must_use]
    pub fn digest(&self, ties: &[(ParamPath, ParamPath)]) -> ModelDigest {
        let mut tensors = self.tensors.clone();
        let ties: BTreeMap<_, _> = ties.iter().cloned().collect();
        tensors.retain(|path, _| !ties.contains_key(path));
        crate::object::model_digest(&tensors, &ties)
    }
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
    pub fn checkout(
        &self,
        id: CommitId,
        out: &Path,
        options: CheckoutOptions,
    ) -> Result<Written, CheckoutError> {
        let mut outputs = Outputs::new(&Temporaries::default()).replacing(options.force);
        self.guard(&mut outputs)?;
        let output = outputs.directory(out, MODEL_DIRECTORY, self.checkout_files(id)?)?;
        self.checkout_to(id, &output)
    }

    /// As [`Store::checkout`], to a place that was decided on before.
    ///
    /// # Errors
    /// [`CheckoutError`]; nothing has changed there then.
    pub fn checkout_to(&self, id: CommitId, output: &OutputDirectory) -> Result<Written, CheckoutError> {
        let mut tensors = BTreeMap::new();
        output.fill(|dir| {
            tensors = self.fill(id, dir)?;
            Ok::<(), CheckoutError>(())
        })?;
        Ok(Written { tensors })
    }

    /// The files of a commit's model directory.
    ///
    /// # Errors
    /// [`CheckoutError`], where the commit cannot be checked out.
    pub fn checkout_files(&self, id: CommitId) -> Result<Vec<PathBuf>, CheckoutError> {
        let (manifest, layout) = self.laid_out(id)?;
        let carried = manifest.files.keys().map(|name| PathBuf::from(name.as_str()));
        let weights = layout.files.iter().map(|file| PathBuf::from(&file.name));
        let list = layout.list.iter().map(|_| PathBuf::from(SHARD_LIST));
        Ok(carried.chain(weights).chain(list).collect())
    }

    /// The manifest of a commit, which is that of its import but for the tensors' numbers.
    fn whole(&self, id: CommitId) -> Result<Manifest, CheckoutError> {
        let odb = self.odb();
        let mut history = History::new(odb);
        let manifest = odb.manifest(history.commit(id)?.manifest)?;
        let import = history.first_parents(id)?.pop().unwrap_or(id);
        let base = odb.manifest(history.commit(import)?.manifest)?;
        let mut apart = base.parts_apart(&manifest);
        let count = apart.len();
        match apart.pop() {
            Some(apart) => Err(CheckoutError::Apart { id, apart, count }),
            None => Ok(manifest),
        }
    }

    /// The manifest of a commit, and how its tensors lie in files.
    pub(crate) fn laid_out(&self, id: CommitId) -> Result<(Manifest, Layout), CheckoutError> {
        let manifest = self.whole(id)?;
        let layout = files::decode(&self.odb().blob(manifest.layout)?)?;
        match manifest.misfit(&layout, |_| None) {
            Some(reason) => Err(CheckoutError::Misfit { reason }),
            None => Ok((manifest, layout)),
        }
    }

    /// Writes the files; says which tensors the files of weights have.
    fn fill(&self, id: CommitId, dir: &Path) -> Result<BTreeMap<ParamPath, TensorId>, CheckoutError> {
        let odb = self.odb();
        let (manifest, layout) = self.laid_out(id)?;
        for (name, &blob) in &manifest.files {
            let path = dir.join(name.as_str());
            let bytes = odb.blob(blob)?.bytes;
            recant_files::write_new(&path, &bytes)
                .map_err(|source| CheckoutError::Write { path: name.as_str().into(), source })?;
        }
        if let Some(list) = &layout.list {
            recant_files::write_new(&dir.join(SHARD_LIST), list)
                .map_err(|source| CheckoutError::Write { path: SHARD_LIST.into(), source })?;
        }
        let mut tensors = BTreeMap::new();
        for weights in layout.files {
            let failed = |source| CheckoutError::Write { path: weights.name.clone().into(), source };
            let file = File::create_new(dir.join(&weights.name)).map_err(failed)?;
            let mut file = BufWriter::with_capacity(1 << 20, file);
            file.write_all(&weights.head).map_err(failed)?;
            for place in weights.header.tensors {
                // A name that the manifest does not have is a misfit.
                let Some(id) = manifest.get(&place.path) else { continue };
                let head = TensorHead { dtype: place.dtype, shape: place.shape }.encode();
                let mut behind = BehindHead { head: &head, file: &mut file };
                let written = odb.copy(id, &mut behind).map_err(|error| odb.explain(error))?;
                written.map_err(failed)?;
                tensors.insert(place.path, id);
            }
            file.flush().map_err(failed)?;
        }
        Ok(tensors)
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
