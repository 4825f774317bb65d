//! Statistics files; [`MomentsRecord`] says what they hold.

use std::path::{Path, PathBuf};

use recant_files::{FileKind, OutputError, OutputFile, Outputs, Temporaries};
use recant_records::moments::MomentsRecord;
use recant_records::{Opened, Record, RecordError, seal};

use super::Moments;

/// The file of second moments.
pub const STATISTICS: FileKind = FileKind {
    name: "statistics file",
    recognises: |head| {
        seal::sheet_begins(head, "recant-moments-") && !seal::sheet_begins(head, "recant-moments-partial-")
    },
};

/// A statistics file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MomentsFileError {
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
    /// It cannot be laid out.
    #[error("cannot lay out {path}: {source}")]
    Encode {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{path}: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: RecordError,
    },
}

impl Moments {
    /// Writes the file whole or not at all, over nothing but another file of statistics.
    ///
    /// # Errors
    /// [`MomentsFileError::Output`], [`MomentsFileError::Encode`].
    pub fn save(&self, path: &Path) -> Result<(), MomentsFileError> {
        self.save_to(&Outputs::new(&Temporaries::default()).continued(path, STATISTICS)?)
    }

    /// As [`Moments::save`], to a place that was decided on before.
    ///
    /// # Errors
    /// [`MomentsFileError::Output`].
    pub fn save_to(&self, output: &OutputFile) -> Result<(), MomentsFileError> {
        Ok(output.write(&self.record().to_file())?)
    }

    /// Reads a statistics file and checks everything it claims.
    ///
    /// # Errors
    /// [`MomentsFileError::Read`], [`MomentsFileError::Format`].
    pub fn load(path: &Path) -> Result<Opened<Self>, MomentsFileError> {
        read::<MomentsRecord>(path).map(|opened| opened.map(Self::from))
    }
}

/// A record in a file.
pub(super) fn read<T: Record>(path: &Path) -> Result<Opened<T>, MomentsFileError> {
    let bytes = recant_checkpoint::read_file(path)
        .map_err(|source| MomentsFileError::Read { path: path.to_owned(), source })?;
    T::from_file(&bytes).map_err(|source| MomentsFileError::Format { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use recant_core::ModelDigest;
    use recant_records::moments::{Sample, Square};

    use super::*;

    fn moments() -> Moments {
        let layers = BTreeMap::from([(3, Square::new(2, vec![2.0, 0.5, 0.5, 1.0]).unwrap())]);
        let sample = Sample::of([vec![4, 5, 6], vec![7, 8]]);
        Moments::new(ModelDigest::from_bytes([7; 32]), [9; 32], 41, layers).with_sample(sample)
    }

    #[test]
    fn a_file_reads_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.safetensors");
        moments().save(&path).unwrap();
        let read = Moments::load(&path).unwrap();
        assert_eq!((read.checked, read.note(&path)), (true, None));
        let read = read.value;
        assert_eq!((read.model, read.corpus, read.tokens), (moments().model, [9; 32], 41));
        assert_eq!(read.mean(3), moments().mean(3));
        assert_eq!(read.sample(), moments().sample());
        let x = read.solve(3, &[1.0, 0.0]).unwrap();
        assert!((x[0] - 1.0 / 1.75).abs() < 1e-15 && (x[1] + 0.5 / 1.75).abs() < 1e-15);
        assert!(matches!(read.solve(4, &[1.0, 0.0]), Err(recant_edit::StatisticsError::Layer { .. })));
    }
}
