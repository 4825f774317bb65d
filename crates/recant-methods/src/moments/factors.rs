//! The factor file beside a statistics file: L of C = L Lᵀ for the layers that were ever asked for.
//!
//! Factoring is the one cubic step, d³/3: milliseconds for a small model, minutes for d = 14,336. It depends on
//! C alone, because (λC)⁻¹ = C⁻¹/λ, so one factor serves every λ, method and call. Safetensors with one f64
//! matrix `layers.N.lower` a layer; metadata: `format`, and for each layer the digest of the C it belongs to.

use std::path::{Path, PathBuf};

use recant_files::{FileKind, OutputError, Outputs, Temporaries};
use recant_linalg::Cholesky;
use safetensors::Dtype;

use super::sheet::{self, Sheet};
use super::{Moments, MomentsError};

const FORMAT: &str = "recant-factors-1";

const FACTORS: FileKind =
    FileKind { name: "factor file", recognises: |head| sheet::begins(head, "recant-factors-") };

/// Where the factors of a statistics file are kept: its name and `.factors`.
#[must_use]
pub fn factor_path(statistics: &Path) -> PathBuf {
    let mut name = statistics.as_os_str().to_owned();
    name.push(".factors");
    PathBuf::from(name)
}

impl Moments {
    /// Takes the factors of `layers` from the file beside `statistics`, computes those that are missing, and
    /// writes the file again when there were any. Returns how many came from the file.
    ///
    /// The file is a cache: one that is damaged or belongs to other moments is passed over, and one that
    /// cannot be written is done without. A file of another kind under its name stays.
    ///
    /// # Errors
    /// [`MomentsError`] when a moment cannot be factored.
    pub fn factors_beside(&self, statistics: &Path, layers: &[usize]) -> Result<usize, MomentsError> {
        let path = factor_path(statistics);
        let kept = std::fs::read(&path).ok().and_then(|bytes| self.take_factors(&bytes, layers)).unwrap_or(0);
        for &layer in layers {
            self.factor(layer)?;
        }
        if kept < layers.len() {
            let _without = self.write_factors(&path, layers);
        }
        Ok(kept)
    }

    /// Fills in the factors that a file holds for these very moments; `None` when it is no factor file.
    fn take_factors(&self, bytes: &[u8], layers: &[usize]) -> Option<usize> {
        let sheet = Sheet::read(bytes, FORMAT).ok()?;
        let mut kept = 0;
        for layer in layers {
            let Some(entry) = self.layers.get(layer) else { continue };
            if sheet.field(&digest_name(*layer)).ok() != Some(&digest(&entry.mean)) {
                continue;
            }
            let Ok(view) = sheet.tensors.tensor(&format!("layers.{layer}.lower")) else { continue };
            if view.dtype() != Dtype::F64 || view.shape() != [entry.dim, entry.dim] {
                continue;
            }
            let lower: Vec<f64> = view.data().as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect();
            if let Ok(factor) = Cholesky::from_lower(entry.dim, &lower) {
                let _first = entry.factor.set(Ok(factor));
                kept += 1;
            }
        }
        Some(kept)
    }

    fn write_factors(&self, path: &Path, layers: &[usize]) -> Result<(), OutputError> {
        let (mut digests, mut matrices) = (Vec::new(), Vec::new());
        for layer in layers {
            let (Some(entry), Ok(factor)) = (self.layers.get(layer), self.factor(*layer)) else { continue };
            digests.push((digest_name(*layer), digest(&entry.mean)));
            matrices.push(sheet::square(format!("layers.{layer}.lower"), entry.dim, &factor.lower()));
        }
        let mut metadata = vec![("format", FORMAT.to_owned())];
        metadata.extend(digests.iter().map(|(name, digest)| (name.as_str(), digest.clone())));
        let bytes = sheet::encode(&metadata, &matrices)
            .map_err(|source| OutputError::Write { path: path.to_owned(), source })?;
        Outputs::new(&Temporaries::default()).continued(path, FACTORS)?.write(&bytes)
    }
}

fn digest_name(layer: usize) -> String {
    format!("layers.{layer}.mom2")
}

/// BLAKE3 of C's bytes, hexadecimal.
fn digest(mean: &[f64]) -> String {
    let bytes: Vec<u8> = mean.iter().flat_map(|x| x.to_le_bytes()).collect();
    sheet::hex(&recant_core::bytes_digest(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use recant_core::ModelDigest;
    use std::collections::BTreeMap;

    fn moments(diagonal: f64) -> Moments {
        let layers = BTreeMap::from([(3, (2, vec![diagonal, 0.5, 0.5, 1.0]))]);
        Moments::new(ModelDigest::from_bytes([7; 32]), [9; 32], 41, layers)
    }

    #[test]
    fn factors_are_kept_for_their_moments_alone() {
        let dir = tempfile::tempdir().unwrap();
        let statistics = dir.path().join("stats.safetensors");
        assert_eq!(moments(2.0).factors_beside(&statistics, &[3]), Ok(0));
        let again = moments(2.0);
        assert_eq!(again.factors_beside(&statistics, &[3]), Ok(1));
        assert_eq!(again.solve(3, &[1.0, 2.0]), moments(2.0).solve(3, &[1.0, 2.0]));
        assert_eq!(moments(4.0).factors_beside(&statistics, &[3]), Ok(0), "other moments");
        let path = factor_path(&statistics);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(moments(4.0).factors_beside(&statistics, &[3]), Ok(0), "a damaged file");
        assert!(moments(0.1).factors_beside(&statistics, &[3]).is_err(), "not positive definite");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_done_without() {
        let nowhere = Path::new("/nonexistent-folder/stats.safetensors");
        assert_eq!(moments(2.0).factors_beside(nowhere, &[3]), Ok(0));
    }
}
