//! Writing a Hugging Face directory: all of it or nothing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use recant_checkpoint::{SHARD_LIST, SourceError, WeightFile};
use recant_files::{MODEL_DIRECTORY, OutputDirectory, OutputError, Outputs, Role, Temporaries};

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
    /// A file of the source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The weights cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Model {
    /// Writes the model as a Hugging Face directory: the files of weights as they were read, untouched tensors byte for
    /// byte, and every configuration and tokenizer file of the source carried along.
    ///
    /// All of it or nothing: everything is made in a temporary directory beside `dir`, which takes its place in one
    /// step. With `force` a model directory that is there is replaced, but never the model's own nor one that
    /// holds anything else.
    ///
    /// # Errors
    /// [`SaveError`]; nothing under `dir` has changed then.
    pub fn save(&self, dir: &Path, options: SaveOptions) -> Result<(), SaveError> {
        let mut outputs = Outputs::new(&Temporaries::default()).replacing(options.force);
        let place = self.source.place();
        outputs.reads(Role::Model, place)?;
        let files = recant_files::model_files(place);
        let files = files.map_err(|source| SaveError::Carry { path: place.to_owned(), source })?;
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
        self.carry_into(dir)?;
        let layout = self.source.layout();
        for file in &layout.files {
            let to = dir.join(&file.name);
            let like = self.source.directory().map(|from| from.join(&file.name));
            self.write_weights(file, &to)
                .and_then(|()| like.map_or(Ok(()), |like| recant_files::set_mode_of(&to, &like)))
                .map_err(|source| SaveError::Write { path: shown.join(&file.name), source })?;
        }
        match &layout.list {
            Some(list) => recant_files::write_new(&dir.join(SHARD_LIST), list)
                .map_err(|source| SaveError::Write { path: shown.join(SHARD_LIST), source }),
            None => Ok(()),
        }
    }

    /// Takes along what stands beside the weights.
    fn carry_into(&self, dir: &Path) -> Result<(), SaveError> {
        let carry = |path: PathBuf| |source| SaveError::Carry { path, source };
        let Some(from) = self.source.directory() else {
            for name in self.source.files()? {
                let Some(bytes) = self.source.file(&name)? else { continue };
                recant_files::write_new(&dir.join(&name), &bytes).map_err(carry(dir.join(&name)))?;
            }
            return Ok(());
        };
        for file in recant_files::carried_files(from).map_err(carry(from.to_owned()))? {
            let (from, to) = (from.join(&file), dir.join(&file));
            recant_files::copy(&from, &to).map_err(carry(from))?;
        }
        Ok(())
    }

    /// Writes a file of weights as the source lays it out: an edit changes numbers, and nothing else of a file.
    fn write_weights(&self, file: &WeightFile, to: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create_new(to)?);
        out.write_all(&file.head)?;
        for entry in &file.header.tensors {
            // By either name, where two are one matrix.
            let tensor = self.weights().get(&entry.path);
            let gone = || io::Error::other(format!("the model has no tensor `{}`", entry.path));
            out.write_all(tensor.ok_or_else(gone)?.bytes())?;
        }
        out.flush()
    }
}
