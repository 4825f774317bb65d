//! The statistics file: safetensors with one f64 matrix `layers.N.mom2` a layer, and token ids of a sample of the
//! corpus (`sample.ids`, `sample.lengths`), which files of before lack.
//!
//! Metadata: `format` = `recant-moments-1`, `model` and `corpus` (hexadecimal digests), `tokens`.

use std::path::{Path, PathBuf};

use recant_core::ModelDigest;
use recant_files::{FileKind, OutputError, OutputFile, Outputs, Temporaries};

use super::sheet::{self, Sheet};
use super::{Layer, Moments, Sample};

const FORMAT: &str = "recant-moments-1";

/// The file of second moments.
pub const STATISTICS: FileKind = FileKind {
    name: "statistics file",
    recognises: |head| {
        sheet::begins(head, "recant-moments-") && !sheet::begins(head, "recant-moments-partial-")
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
    /// It is not a statistics file.
    #[error("{path} is not a statistics file of recant: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
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
    /// [`MomentsFileError::Output`], [`MomentsFileError::Encode`].
    pub fn save_to(&self, output: &OutputFile) -> Result<(), MomentsFileError> {
        let failed = |source| MomentsFileError::Encode { path: output.path().to_owned(), source };
        Ok(output.write(&self.encode().map_err(failed)?)?)
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// What safetensors says.
    pub fn encode(&self) -> std::io::Result<Vec<u8>> {
        let moment = |(number, layer): (&usize, &Layer)| {
            sheet::square(format!("layers.{number}.mom2"), layer.dim, &layer.mean)
        };
        let mut entries: Vec<sheet::Entry> = self.layers.iter().map(moment).collect();
        if !self.sample.is_empty() {
            let texts: Vec<Vec<u32>> = self.sample.texts().map(<[u32]>::to_vec).collect();
            entries.extend(sheet::rows("sample", &texts));
        }
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("model", self.model.to_string()),
            ("corpus", sheet::hex(&self.corpus)),
            ("tokens", self.tokens.to_string()),
        ];
        sheet::encode(&metadata, &entries)
    }

    /// Reads a statistics file and checks everything it claims.
    ///
    /// # Errors
    /// [`MomentsFileError`].
    pub fn load(path: &Path) -> Result<Self, MomentsFileError> {
        let bytes = recant_checkpoint::read_file(path)
            .map_err(|source| MomentsFileError::Read { path: path.to_owned(), source })?;
        Self::decode(&bytes, path)
    }

    /// Reads the file's bytes; `path` names them in errors.
    ///
    /// # Errors
    /// [`MomentsFileError::Format`].
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, MomentsFileError> {
        let refuse = |reason: String| MomentsFileError::Format { path: path.to_owned(), reason };
        let sheet = Sheet::read(bytes, FORMAT).map_err(refuse)?;
        let layers = sheet.layers("mom2").map_err(refuse)?;
        let layers = layers.into_iter().map(|(number, dim, mean)| (number, (dim, mean))).collect();
        let model = ModelDigest::from_bytes(sheet.digest("model").map_err(refuse)?);
        let corpus = sheet.digest("corpus").map_err(refuse)?;
        let mut moments = Self::new(model, corpus, sheet.number("tokens").map_err(refuse)?, layers);
        let unknown = |name: &&String| !name.starts_with("layers.") && !name.starts_with("sample.");
        let names = sheet.tensors.names();
        if let Some(name) = names.iter().map(|name| (*name).to_owned()).find(|name| unknown(&name)) {
            return Err(refuse(format!("it holds `{name}`, which is no layer's moment")));
        }
        if names.iter().any(|name| name.starts_with("sample.")) {
            moments.sample = Sample::of(sheet.rows("sample").map_err(refuse)?);
        }
        Ok(moments)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn moments() -> Moments {
        let layers = BTreeMap::from([(3, (2, vec![2.0, 0.5, 0.5, 1.0]))]);
        let sample = Sample::of([vec![4, 5, 6], vec![7, 8]]);
        Moments::new(ModelDigest::from_bytes([7; 32]), [9; 32], 41, layers).with_sample(sample)
    }

    #[test]
    fn a_file_reads_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.safetensors");
        moments().save(&path).unwrap();
        let read = Moments::load(&path).unwrap();
        assert_eq!((read.model, read.corpus, read.tokens), (moments().model, [9; 32], 41));
        assert_eq!(read.mean(3), moments().mean(3));
        assert_eq!(read.sample(), moments().sample());
        let x = read.solve(3, &[1.0, 0.0]).unwrap();
        assert!((x[0] - 1.0 / 1.75).abs() < 1e-15 && (x[1] + 0.5 / 1.75).abs() < 1e-15);
        assert!(matches!(read.solve(4, &[1.0, 0.0]), Err(super::super::MomentsError::Layer { .. })));
    }

    #[test]
    fn every_truncation_and_a_foreign_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.safetensors");
        moments().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert!(Moments::load(&path).is_err(), "{len}");
        }
        let text = String::from_utf8_lossy(&bytes).replace("recant-moments-1", "recant-moments-9");
        std::fs::write(&path, text.as_bytes()).unwrap();
        assert!(Moments::load(&path).is_err());
    }

    #[test]
    fn a_layer_has_one_spelling() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.safetensors");
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("model", moments().model.to_string()),
            ("corpus", sheet::hex(&[9; 32])),
            ("tokens", "41".to_owned()),
        ];
        let load = |names: &[&str]| {
            let entry = |name: &&str| sheet::square(format!("layers.{name}.mom2"), 1, &[1.0]);
            let bytes = sheet::encode(&metadata, &names.iter().map(entry).collect::<Vec<_>>()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            Moments::load(&path).map_err(|error| error.to_string())
        };
        assert!(load(&["3", "4"]).is_ok());
        for twin in ["03", "+3"] {
            assert!(load(&["3", twin]).unwrap_err().contains(&format!("layers.{twin}.mom2")));
        }
    }
}
