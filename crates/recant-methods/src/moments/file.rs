//! The statistics file: safetensors with one f64 matrix `layers.N.mom2` a layer.
//!
//! Metadata: `format` = `recant-moments-1`, `model` and `corpus` (hexadecimal digests), `tokens`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use recant_core::ModelDigest;
use recant_model::order_metadata_of;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::Moments;

const FORMAT: &str = "recant-moments-1";

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
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Moments {
    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// [`MomentsFileError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), MomentsFileError> {
        let failed = |source| MomentsFileError::Write { path: path.to_owned(), source };
        let bytes = self.encode().map_err(|error| failed(std::io::Error::other(error.to_string())))?;
        crate::write_whole(path, &bytes).map_err(failed)
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// What safetensors says.
    pub fn encode(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let matrices: Vec<(String, usize, Vec<u8>)> = self
            .layers
            .iter()
            .map(|(number, layer)| {
                let bytes = layer.mean.iter().flat_map(|x| x.to_le_bytes()).collect();
                (format!("layers.{number}.mom2"), layer.dim, bytes)
            })
            .collect();
        let views: Vec<(&str, TensorView<'_>)> = matrices
            .iter()
            .map(|(name, dim, bytes)| {
                Ok((name.as_str(), TensorView::new(Dtype::F64, vec![*dim, *dim], bytes)?))
            })
            .collect::<Result<_, safetensors::SafeTensorError>>()?;
        let metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("model".to_owned(), self.model.to_string()),
            ("corpus".to_owned(), hex(&self.corpus)),
            ("tokens".to_owned(), self.tokens.to_string()),
        ]);
        let mut bytes = safetensors::serialize(views, Some(metadata))?;
        order_metadata_of(&mut bytes);
        Ok(bytes)
    }

    /// Reads a statistics file and checks everything it claims.
    ///
    /// # Errors
    /// [`MomentsFileError`].
    pub fn load(path: &Path) -> Result<Self, MomentsFileError> {
        let bytes =
            std::fs::read(path).map_err(|source| MomentsFileError::Read { path: path.to_owned(), source })?;
        Self::decode(&bytes, path)
    }

    /// Reads the file's bytes; `path` names them in errors.
    ///
    /// # Errors
    /// [`MomentsFileError::Format`].
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, MomentsFileError> {
        let refuse = |reason: String| MomentsFileError::Format { path: path.to_owned(), reason };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| refuse(error.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let field = |name: &str| {
            metadata
                .get(name)
                .map(String::as_str)
                .ok_or_else(|| refuse(format!("it does not say its `{name}`")))
        };
        if field("format")? != FORMAT {
            return Err(refuse(format!("its format is {:?}, not {FORMAT:?}", field("format")?)));
        }
        let digest = |name: &str| -> Result<ModelDigest, MomentsFileError> {
            field(name)?.parse().map_err(|error| refuse(format!("`{name}`: {error}")))
        };
        let tokens = field("tokens")?.parse().map_err(|_| refuse("`tokens` is not a number".to_owned()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| refuse(error.to_string()))?;
        let mut layers = BTreeMap::new();
        for (name, view) in file.tensors() {
            let number = name.strip_prefix("layers.").and_then(|rest| rest.strip_suffix(".mom2"));
            let number: usize = number
                .and_then(|number| number.parse().ok())
                .ok_or_else(|| refuse(format!("it holds `{name}`, which is no layer's moment")))?;
            let &[rows, cols] = view.shape() else {
                return Err(refuse(format!("`{name}` is not a matrix")));
            };
            if view.dtype() != Dtype::F64 || rows != cols || rows == 0 {
                return Err(refuse(format!("`{name}` is not a square matrix of F64")));
            }
            let numbers: Vec<f64> =
                view.data().as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect();
            if numbers.iter().any(|x| !x.is_finite()) {
                return Err(refuse(format!("`{name}` holds NaN or infinity")));
            }
            layers.insert(number, (rows, numbers));
        }
        if layers.is_empty() {
            return Err(refuse("it holds no layer".to_owned()));
        }
        Ok(Self::new(digest("model")?, *digest("corpus")?.as_bytes(), tokens, layers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments() -> Moments {
        let layers = BTreeMap::from([(3, (2, vec![2.0, 0.5, 0.5, 1.0]))]);
        Moments::new(ModelDigest::from_bytes([7; 32]), [9; 32], 41, layers)
    }

    #[test]
    fn a_file_reads_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.safetensors");
        moments().save(&path).unwrap();
        let read = Moments::load(&path).unwrap();
        assert_eq!((read.model, read.corpus, read.tokens), (moments().model, [9; 32], 41));
        assert_eq!(read.mean(3), moments().mean(3));
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
}
