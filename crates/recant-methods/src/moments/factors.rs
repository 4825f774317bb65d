//! The file of factors beside a statistics file: L of C = L Lᵀ for the layers that were ever asked for.
//!
//! Factoring is the one cubic step, d³/3: milliseconds for a small model, minutes for d = 14,336. It depends on
//! C alone, because (λC)⁻¹ = C⁻¹/λ, so one factor serves every λ, method and call.

use std::io;
use std::path::{Path, PathBuf};

use recant_edit::StatisticsError;
use recant_files::{FileKind, OutputError, Outputs, Temporaries};
use recant_linalg::Cholesky;
use recant_records::moments::{FactorsRecord, Square};
use recant_records::{Opened, Record, seal};

use super::Moments;

const FACTORS: FileKind =
    FileKind { name: "factor file", recognises: |head| seal::sheet_begins(head, "recant-factors-") };

/// Where the factors of a statistics file are kept: its name and `.factors`.
#[must_use]
pub fn factor_path(statistics: &Path) -> PathBuf {
    let mut name = statistics.as_os_str().to_owned();
    name.push(".factors");
    PathBuf::from(name)
}

/// What came of a file of factors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// Factors that were taken from it.
    pub count: usize,
    /// Why it was not believed, or not written.
    pub notes: Vec<String>,
}

impl Moments {
    /// Takes the factors of `layers` from the file beside `statistics`, computes those that are missing, and
    /// writes the file again when there were any.
    ///
    /// The file is a cache: one that is damaged, or of an earlier version, whose factors no checksum vouches for, is made
    /// again, and one that cannot be read or written is done without; the notes say so. One that belongs to other
    /// moments is replaced. A file of another kind under its name stays.
    ///
    /// # Errors
    /// [`StatisticsError`] when a moment cannot be factored.
    pub fn factors_beside(&self, statistics: &Path, layers: &[usize]) -> Result<Kept, StatisticsError> {
        let path = factor_path(statistics);
        let mut kept = Kept::default();
        match std::fs::read(&path).map(|bytes| FactorsRecord::from_file(&bytes)) {
            Ok(Ok(Opened { value, checked: true })) => kept.count = self.take_factors(&value, layers),
            Ok(Ok(_)) => kept.notes.push(format!("{} carries no checksum and is made again", path.display())),
            Ok(Err(error)) => kept.notes.push(format!("{} is made again: {error}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => kept.notes.push(format!("{} cannot be read: {error}", path.display())),
        }
        for &layer in layers {
            self.factor(layer)?;
        }
        if kept.count < layers.len()
            && let Err(error) = self.keep_factors(&path, layers)
        {
            kept.notes.push(format!("the factors cannot be kept: {error}"));
        }
        Ok(kept)
    }

    /// Fills in the factors that belong to these very moments. Returns how many.
    fn take_factors(&self, record: &FactorsRecord, layers: &[usize]) -> usize {
        let mut count = 0;
        for layer in layers {
            let Some((entry, (of, lower))) = self.layers.get(layer).zip(record.layers.get(layer)) else {
                continue;
            };
            if *of == entry.mean.digest()
                && lower.dim() == entry.mean.dim()
                && let Ok(factor) = Cholesky::from_lower(lower.dim(), lower.numbers())
            {
                let _first = entry.factor.set(Ok(factor));
                count += 1;
            }
        }
        count
    }

    fn keep_factors(&self, path: &Path, layers: &[usize]) -> Result<(), OutputError> {
        let output = Outputs::new(&Temporaries::default()).continued(path, FACTORS)?;
        output.write(&self.factors(layers).to_file())
    }

    fn factors(&self, layers: &[usize]) -> FactorsRecord {
        let one = |&layer: &usize| {
            let (mean, factor) = (&self.layers.get(&layer)?.mean, self.factor(layer).ok()?);
            Some((layer, (mean.digest(), Square::new(mean.dim(), factor.lower())?)))
        };
        FactorsRecord { layers: layers.iter().filter_map(one).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recant_core::ModelDigest;
    use std::collections::BTreeMap;

    fn moments(diagonal: f64) -> Moments {
        let layers = BTreeMap::from([(3, Square::new(2, vec![diagonal, 0.5, 0.5, 1.0]).unwrap())]);
        Moments::new(ModelDigest::from_bytes([7; 32]), [9; 32], 41, layers)
    }

    #[test]
    fn factors_are_kept_for_their_moments_alone() {
        let dir = tempfile::tempdir().unwrap();
        let statistics = dir.path().join("stats.safetensors");
        let count = |moments: Moments| moments.factors_beside(&statistics, &[3]).unwrap().count;
        assert_eq!(count(moments(2.0)), 0);
        let again = moments(2.0);
        assert_eq!(again.factors_beside(&statistics, &[3]).unwrap(), Kept { count: 1, notes: Vec::new() });
        assert_eq!(again.solve(3, &[1.0, 2.0]).unwrap(), moments(2.0).solve(3, &[1.0, 2.0]).unwrap());
        assert_eq!(count(moments(4.0)), 0, "other moments");
        assert!(moments(0.1).factors_beside(&statistics, &[3]).is_err(), "not positive definite");
    }

    /// Every bit of the file: a flipped one never reaches an update, and is told.
    #[test]
    fn a_damaged_file_of_factors_is_made_again_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let statistics = dir.path().join("stats.safetensors");
        moments(2.0).factors_beside(&statistics, &[3]).unwrap();
        let path = factor_path(&statistics);
        let good = std::fs::read(&path).unwrap();
        let right = moments(2.0).solve(3, &[1.0, 2.0]).unwrap();
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bad).unwrap();
            let moments = moments(2.0);
            let kept = moments.factors_beside(&statistics, &[3]).unwrap();
            assert!(kept.count == 0 && !kept.notes.is_empty(), "bit {bit}: {:?}", kept.notes);
            assert_eq!(moments.solve(3, &[1.0, 2.0]).unwrap(), right);
            // Made again, or left alone where it no longer looks like a file of factors.
            let now = std::fs::read(&path).unwrap();
            assert!(now == good || (now == bad && kept.notes.len() == 2), "bit {bit}: {:?}", kept.notes);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_done_without() {
        let nowhere = Path::new("/nonexistent-folder/stats.safetensors");
        let kept = moments(2.0).factors_beside(nowhere, &[3]).unwrap();
        assert_eq!((kept.count, kept.notes.len()), (0, 1));
    }
}
