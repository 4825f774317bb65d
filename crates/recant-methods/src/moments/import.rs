//! Statistics of the reference code: an `.npz` a layer, with `mom2.mom2` = Σ k kᵀ and `mom2.count`.
//!
//! Other arrays (`mean.mean`, `norm_mean.*`, `sample_size`) are passed over. Such a file does not say which model it
//! was made for: the moments are bound to the model that is named beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recant_model::Model;

use super::collect::mean_of;
use super::npz::{Array, Npz, NpzError};
use super::{CollectError, Moments};

/// Statistics cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file is no `.npz` that can be used.
    #[error("{path}: {source}")]
    Npz {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NpzError,
    },
    /// The layer does not exist.
    #[error(transparent)]
    Layer(#[from] CollectError),
    /// The moment is of keys of another length.
    #[error("{path}: `mom2.mom2` has the shape {found:?}; this model's keys need [{dim}, {dim}]")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its shape.
        found: Vec<usize>,
        /// Length of the model's keys.
        dim: usize,
    },
    /// The number of tokens makes no sense.
    #[error("{path}: `mom2.count` is {found:?}; one positive whole number is expected")]
    Count {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: Vec<f64>,
    },
    /// The matrix is no second moment.
    #[error("{path}: `mom2.mom2` is no second moment: {reason}")]
    Moment {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Files of one model that were averaged over different numbers of tokens.
    #[error("{path} was made over {found} tokens, the file before it over {wanted}; import them one by one")]
    Counts {
        /// The file.
        path: PathBuf,
        /// Its tokens.
        found: u64,
        /// Those of the files before.
        wanted: u64,
    },
}

impl Moments {
    /// Takes layers from the reference code's files for `model`.
    ///
    /// # Errors
    /// [`ImportError`] names the file.
    pub fn import(model: &Model, files: &[(usize, PathBuf)]) -> Result<Self, ImportError> {
        let spec = model.spec();
        let mut layers = BTreeMap::new();
        let mut told = b"recant import 1".to_vec();
        let mut tokens = None;
        for (layer, path) in files {
            if *layer >= spec.layers {
                return Err(CollectError::Layer { layer: *layer, layers: spec.layers }.into());
            }
            let (count, mean) = read(path, spec.d_mlp)?;
            let wanted = *tokens.get_or_insert(count);
            if count != wanted {
                return Err(ImportError::Counts { path: path.clone(), found: count, wanted });
            }
            let bytes: Vec<u8> = mean.iter().flat_map(|x| x.to_le_bytes()).collect();
            told.extend(recant_core::bytes_digest(&bytes));
            layers.insert(*layer, (spec.d_mlp, mean));
        }
        let Some(tokens) = tokens else { return Err(CollectError::Empty.into()) };
        Ok(Self::new(model.digest(), recant_core::bytes_digest(&told), tokens, layers))
    }
}

/// Tokens and mean of a file whose keys have the length `dim`.
fn read(path: &Path, dim: usize) -> Result<(u64, Vec<f64>), ImportError> {
    let npz = |source| ImportError::Npz { path: path.to_owned(), source };
    let mut file = Npz::open(path).map_err(npz)?;
    let count = file.array("mom2.count", 1).map_err(npz)?.numbers;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number"
    )]
    let tokens = match count[..] {
        [count] if (1.0..9e15).contains(&count) && count.fract() == 0.0 => count as u64,
        _ => return Err(ImportError::Count { path: path.to_owned(), found: count }),
    };
    let Array { shape, numbers } = file.array("mom2.mom2", dim * dim).map_err(npz)?;
    if shape != [dim, dim] {
        return Err(ImportError::Shape { path: path.to_owned(), found: shape, dim });
    }
    let refuse = |reason: String| ImportError::Moment { path: path.to_owned(), reason };
    if numbers.iter().any(|x| !x.is_finite()) {
        return Err(refuse("it holds NaN or infinity".to_owned()));
    }
    let diagonal: Vec<f64> = numbers.iter().step_by(dim + 1).copied().collect();
    if let Some(at) = diagonal.iter().position(|&x| x < 0.0) {
        return Err(refuse(format!("the mean square of number {at} of a key is negative")));
    }
    for i in 0..dim {
        for j in 0..i {
            // Sums in f32 leave the two halves different by their rounding.
            let size = (diagonal[i] * diagonal[j]).sqrt();
            if (numbers[i * dim + j] - numbers[j * dim + i]).abs() > 1e-3 * size {
                return Err(refuse(format!("it is not symmetric at ({i}, {j})")));
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "below 9e15")]
    Ok((tokens, mean_of(dim, numbers, tokens as f64)))
}
