//! Writing a Hugging Face directory: all of it or nothing.

use std::io;
use std::path::{Path, PathBuf};

use recant_core::{HostTensor, ParamPath};
use safetensors::tensor::{Dtype as StDtype, View};

use crate::checkpoint::WEIGHTS;
use crate::model::Model;

/// How to write a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SaveOptions {
    /// Replace an output directory that already holds something.
    pub force: bool,
}

/// A model cannot be written. What stood under the output name still stands there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The output directory is not empty.
    #[error("{dir} already holds something; choose another directory or pass --force to replace it")]
    Occupied {
        /// The directory.
        dir: PathBuf,
    },
    /// The output is the directory that the model is mapped from.
    #[error("{dir} is the model's own directory; choose another one")]
    Source {
        /// The directory.
        dir: PathBuf,
    },
    /// The model carries adapters, which a Hugging Face directory has no place for.
    #[error(
        "the model carries {count} adapters beside its weights, and a model directory has no place for them; \
         save their state instead"
    )]
    Adapters {
        /// How many.
        count: usize,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The weights cannot be serialised.
    #[error("cannot write {path}: {reason}")]
    Serialise {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

struct Stored<'a>(&'a HostTensor);

impl View for Stored<'_> {
    fn dtype(&self) -> StDtype {
        use recant_core::Dtype as D;
        match self.0.dtype() {
            D::F64 => StDtype::F64,
            D::F16 => StDtype::F16,
            D::BF16 => StDtype::BF16,
            D::I64 => StDtype::I64,
            D::I32 => StDtype::I32,
            D::I16 => StDtype::I16,
            D::I8 => StDtype::I8,
            D::U8 => StDtype::U8,
            D::Bool => StDtype::BOOL,
            _ => StDtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.0.bytes().as_ref().into()
    }

    fn data_len(&self) -> usize {
        self.0.bytes().len()
    }
}

impl SaveOptions {
    /// Whether a model may be written to `dir`: it does not exist, is empty, or `force` is set. Long work can
    /// ask before it starts.
    ///
    /// # Errors
    /// [`SaveError::Occupied`], [`SaveError::Write`] when the directory cannot be looked into.
    pub fn check(self, dir: &Path) -> Result<(), SaveError> {
        let occupied = match std::fs::read_dir(dir) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(SaveError::Write { path: dir.to_owned(), source }),
        };
        if occupied && !self.force {
            return Err(SaveError::Occupied { dir: dir.to_owned() });
        }
        Ok(())
    }
}

impl Model {
    /// Writes the model as a Hugging Face directory: untouched tensors byte for byte, dtypes and metadata
    /// kept, and every configuration and tokenizer file of the source carried along.
    ///
    /// Everything is written to a temporary directory beside `dir` and renamed at the end, so an interrupted
    /// write leaves nothing under the final name.
    ///
    /// # Errors
    /// [`SaveError`]; nothing under `dir` has changed then.
    pub fn save(&self, dir: &Path, options: SaveOptions) -> Result<(), SaveError> {
        if !self.adapters().is_empty() {
            return Err(SaveError::Adapters { count: self.adapters().len() });
        }
        let same =
            |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if same(dir, &self.source) {
            return Err(SaveError::Source { dir: dir.to_owned() });
        }
        options.check(dir)?;
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SaveError::Write { path, source }
        };
        std::fs::create_dir_all(parent).map_err(failed(parent))?;
        let staging = tempfile::Builder::new()
            .prefix(".recant-")
            .suffix(".tmp")
            .tempdir_in(parent)
            .map_err(failed(parent))?;
        self.write_into(staging.path())?;
        make_readable(staging.path()).map_err(failed(dir))?;
        if dir.exists() {
            // Renaming onto a full directory is refused by the system, so the old one steps aside first and
            // is deleted only when the new one stands.
            let aside =
                tempfile::Builder::new().prefix(".recant-old-").tempdir_in(parent).map_err(failed(parent))?;
            let old = aside.path().join("old");
            std::fs::rename(dir, &old).map_err(failed(dir))?;
            if let Err(source) = std::fs::rename(staging.path(), dir) {
                std::fs::rename(&old, dir).map_err(failed(dir))?;
                return Err(SaveError::Write { path: dir.to_owned(), source });
            }
        } else {
            std::fs::rename(staging.path(), dir).map_err(failed(dir))?;
        }
        // Renamed away: there is nothing left for the guard to delete.
        let _ = staging.keep();
        Ok(())
    }

    fn write_into(&self, dir: &Path) -> Result<(), SaveError> {
        for file in carried_files(&self.source) {
            let name = file.file_name().unwrap_or_default();
            let to = dir.join(name);
            std::fs::copy(&file, &to).map_err(|source| SaveError::Write { path: file.clone(), source })?;
        }
        let path = dir.join(WEIGHTS);
        let tensors = self.stored_tensors();
        let views = tensors.iter().map(|(name, tensor)| (name.as_str(), Stored(tensor)));
        safetensors::serialize_to_file(views, self.metadata.clone(), &path)
            .map_err(|error| SaveError::Serialise { path: path.clone(), reason: error.to_string() })?;
        let ordered = crate::header::order_metadata(&path);
        let written = ordered.and_then(|()| std::fs::File::open(&path)?.sync_all());
        written.map_err(|source| SaveError::Write { path, source })
    }

    /// The tensors under the names that the source file uses: a tied second name is written only if the
    /// source wrote it.
    fn stored_tensors(&self) -> Vec<(ParamPath, HostTensor)> {
        let stored = self.weights().iter().map(|(name, tensor)| (name.clone(), tensor.clone()));
        let aliases = self.stored_aliases.iter();
        let tied = aliases.filter_map(|alias| Some((alias.clone(), self.weights().get(alias)?.clone())));
        stored.chain(tied).collect()
    }
}

/// Files of a model directory that are not weights.
fn carried_files(dir: &Path) -> Vec<PathBuf> {
    const KEPT: [&str; 7] = ["json", "txt", "model", "jinja", "md", "tiktoken", "py"];
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        path.is_file()
            && extension.is_some_and(|extension| KEPT.contains(&extension))
            && !path.to_string_lossy().ends_with(".index.json")
    });
    files.sort();
    files
}

/// A temporary directory is private to its user; a model directory has the usual permissions.
fn make_readable(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    }
    let _ = dir;
    Ok(())
}
