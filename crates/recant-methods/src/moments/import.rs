//! Statistics of the reference code: an `.npz` a layer, with `mom2.mom2` = Σ k kᵀ and `mom2.count`.
//!
//! Other arrays (`mean.mean`, `norm_mean.*`, `sample_size`) are passed over. Such a file does not say which model it
//! was made for: the moments are bound to the model that is named beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use recant_checkpoint::Foreign;
use recant_model::Model;
use recant_records::moments::Square;
use recant_records::{Npz, NpzError};

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

/// A file that is not plainly something else than its name says.
fn open(path: &Path) -> io::Result<File> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    (&mut file).take(Foreign::LOOK).read_to_end(&mut start)?;
    Foreign::of(&start).map_or(Ok(file), |kind| Err(kind.into()))
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
            spec.check_matrix(*layer).map_err(CollectError::from)?;
            let npz = |source| ImportError::Npz { path: path.clone(), source };
            let file = open(path).map_err(|error| npz(error.into()))?;
            let read = Npz::new(file).and_then(|mut file| file.second_moment(spec.d_mlp));
            let (count, mean) = read.map_err(npz)?;
            let wanted = *tokens.get_or_insert(count);
            if count != wanted {
                return Err(ImportError::Counts { path: path.clone(), found: count, wanted });
            }
            let unfit = || npz(NpzError::Moment { reason: "its mean is not finite".to_owned() });
            let mean = Square::new(spec.d_mlp, mean).ok_or_else(unfit)?;
            told.extend(mean.digest());
            layers.insert(*layer, mean);
        }
        let Some(tokens) = tokens else { return Err(CollectError::Empty.into()) };
        Ok(Self::new(model.digest(), recant_core::bytes_digest(&told), tokens, layers))
    }
}
