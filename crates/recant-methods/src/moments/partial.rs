//! A measurement that was broken off, kept in a file, and gone on with.
//!
//! [`PartialRecord`] says what the file holds. Going on reads the corpus from the start, feeds the
//! model nothing until the place is reached, and then compares the digest of what was passed over, so the corpus
//! must begin as it did. All state is exact, so the result is, to the byte, that of an uninterrupted run.

use std::io;
use std::path::{Path, PathBuf};

use recant_files::{FileKind, OutputFile, Outputs, Temporaries};
use recant_records::moments::{PartialRecord, Square};
use recant_records::{Opened, Record, seal};

use super::collect::{Collector, Reached};
use super::{MomentsFileError, file};

/// The file of an interrupted measurement.
pub const PARTIAL: FileKind = FileKind {
    name: "kept measurement",
    recognises: |head| seal::sheet_begins(head, "recant-moments-partial-"),
};

/// A kept measurement cannot be gone on with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The file cannot be read or is damaged.
    #[error(transparent)]
    File(#[from] MomentsFileError),
    /// Its sums are of keys of another length than its model's.
    #[error("{path}: a sum is not {dim} x {dim}")]
    Width {
        /// The file.
        path: PathBuf,
        /// Length of the model's keys.
        dim: usize,
    },
    /// It was begun with something else.
    #[error("{path} is an interrupted measurement with another {what}: {kept}, not {wanted}")]
    Differs {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the file says.
        kept: String,
        /// What was asked for.
        wanted: String,
    },
}

/// Where `recant stats` keeps an interrupted measurement: the name of its result and `.partial`.
#[must_use]
pub fn partial_path(statistics: &Path) -> PathBuf {
    let mut name = statistics.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

impl Collector<'_> {
    /// Keeps what was measured so far, whole or not at all. A collector that has not yet caught up with a kept
    /// measurement has nothing to add to it and leaves the file as it is.
    ///
    /// # Errors
    /// [`MomentsFileError::Output`], [`MomentsFileError::Encode`].
    pub fn keep(&self, path: &Path) -> Result<(), MomentsFileError> {
        self.keep_in(&Outputs::new(&Temporaries::default()).continued(path, PARTIAL)?)
    }

    /// As [`Collector::keep`], in a place that was decided on before.
    ///
    /// # Errors
    /// [`MomentsFileError::Output`], [`MomentsFileError::Encode`].
    pub fn keep_in(&self, output: &OutputFile) -> Result<(), MomentsFileError> {
        if self.catching_up.is_some() {
            return Ok(());
        }
        let failed = |source| MomentsFileError::Encode { path: output.path().to_owned(), source };
        let dim = self.model.spec().d_mlp;
        // Sums are looked at after every batch, so this cannot be met.
        let broken = |layer| failed(io::Error::other(format!("the sum of layer {layer} is not finite")));
        let sum = |(&layer, sum): (&usize, &Vec<f64>)| {
            Ok((layer, Square::new(dim, sum.clone()).ok_or_else(|| broken(layer))?))
        };
        let record = PartialRecord {
            model: self.model.digest(),
            corpus: self.corpus,
            texts: self.texts,
            tokens: self.tokens,
            budget: self.budget,
            max_tokens: self.max_tokens as u64,
            sums: self.sums.iter().map(sum).collect::<Result<_, MomentsFileError>>()?,
            waiting: self.pending.clone(),
            sample: self.sample.clone(),
        };
        Ok(output.write(&record.to_file())?)
    }

    /// Goes on with a measurement that was kept. The collector must not have read anything yet.
    ///
    /// # Errors
    /// [`ResumeError`].
    pub fn resume(mut self, path: &Path) -> Result<Opened<Self>, ResumeError> {
        let Opened { value: record, checked } = file::read::<PartialRecord>(path)?;
        let layers = |numbers: &mut dyn Iterator<Item = &usize>| format!("{:?}", numbers.collect::<Vec<_>>());
        let claims = [
            ("model", record.model.to_string(), self.model.digest().to_string()),
            ("set of layers", layers(&mut record.sums.keys()), layers(&mut self.sums.keys())),
            ("budget", record.budget.to_string(), self.budget.to_string()),
            ("longest piece", record.max_tokens.to_string(), self.max_tokens.to_string()),
        ];
        if let Some((what, kept, wanted)) = claims.into_iter().find(|(_, kept, wanted)| kept != wanted) {
            return Err(ResumeError::Differs { path: path.to_owned(), what, kept, wanted });
        }
        let dim = self.model.spec().d_mlp;
        if record.sums.values().any(|sum| sum.dim() != dim) {
            return Err(ResumeError::Width { path: path.to_owned(), dim });
        }
        self.tokens = record.tokens;
        self.pending = record.waiting;
        self.sample = record.sample;
        self.sums = record.sums.into_iter().map(|(layer, sum)| (layer, sum.numbers().to_vec())).collect();
        let PartialRecord { texts, corpus, .. } = record;
        self.catching_up = (texts > 0).then_some(Reached { texts, corpus });
        Ok(Opened { value: self, checked })
    }
}
