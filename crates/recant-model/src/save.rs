//! Writing a Hugging Face directory: all of it or nothing.

use std::io;
use std::path::{Path, PathBuf};

use recant_core::{HostTensor, ParamPath};
use recant_files::{MODEL_DIRECTORY, OutputDirectory, OutputError, Outputs, Role, Temporaries};
use safetensors::tensor::{Dtype as StDtype, View};

use crate::checkpoint::WEIGHTS;
use crate::model::Model;

/// How to write a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SaveOptions {
    /// Replace a model directory that is there already.
    pub force: bool,
}

/// A model cannot be written. What stood under the output's name still stands there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The output may not go there, or cannot.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The model carries adapters, which a Hugging Face directory has no place for.
    #[error(
        "the model carries {count} adapters beside its weights, and a model directory has no place for them; \
         save their state instead"
    )]
    Adapters {
        /// How many.
        count: usize,
    },
    /// A file of the source directory cannot be taken along.
    #[error("cannot take {path} along: {source}")]
    Carry {
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
    /// The weights cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
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

impl Model {
    /// Writes the model as a Hugging Face directory: untouched tensors byte for byte, dtypes and metadata
    /// kept, and every configuration and tokenizer file of the source carried along.
    ///
    /// All of it or nothing: everything is made in a temporary directory beside `dir`, which takes its place in one
    /// step. With `force` a model directory that is there is replaced, but never the model's own nor one that
    /// holds anything else.
    ///
    /// # Errors
    /// [`SaveError`]; nothing under `dir` has changed then.
    pub fn save(&self, dir: &Path, options: SaveOptions) -> Result<(), SaveError> {
        let mut outputs = Outputs::new(&Temporaries::default()).replacing(options.force);
        outputs.reads(Role::Model, &self.source)?;
        let files = recant_files::model_files(&self.source);
        let files = files.map_err(|source| SaveError::Carry { path: self.source.clone(), source })?;
        self.save_to(&outputs.directory(dir, MODEL_DIRECTORY, files)?)
    }

    /// As [`Model::save`], to a place that was decided on before.
    ///
    /// # Errors
    /// [`SaveError`]; nothing has changed there then.
    pub fn save_to(&self, output: &OutputDirectory) -> Result<(), SaveError> {
        if !self.adapters().is_empty() {
            return Err(SaveError::Adapters { count: self.adapters().len() });
        }
        output.fill(|dir| self.write_into(dir, output.path()))
    }

    /// Writes the files into `dir`, which errors call `shown`.
    fn write_into(&self, dir: &Path, shown: &Path) -> Result<(), SaveError> {
        let carry = |path: PathBuf| |source| SaveError::Carry { path, source };
        for file in recant_files::carried_files(&self.source).map_err(carry(self.source.clone()))? {
            let (from, to) = (self.source.join(&file), dir.join(&file));
            recant_files::copy(&from, &to).map_err(carry(from))?;
        }
        let (path, to) = (shown.join(WEIGHTS), dir.join(WEIGHTS));
        let tensors = self.stored_tensors();
        let views = tensors.iter().map(|(name, tensor)| (name.as_str(), Stored(tensor)));
        match safetensors::serialize_to_file(views, self.metadata.clone(), &to) {
            Ok(()) => {}
            Err(safetensors::SafeTensorError::IoError(source)) => {
                return Err(SaveError::Write { path, source });
            }
            Err(error) => return Err(SaveError::Serialise { path, reason: error.to_string() }),
        }
        recant_checkpoint::order_metadata(&to)
            .and_then(|()| recant_files::set_mode_of(&to, &self.source.join(WEIGHTS)))
            .map_err(|source| SaveError::Write { path, source })
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
