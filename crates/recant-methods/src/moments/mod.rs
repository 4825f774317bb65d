//! Second moments of a layer's keys, C = E[k kᵀ], measured over a corpus.
//!
//! Uncentred, over every token of the corpus, as in ROME (section 3.1: "C is a constant that we pre-cache by
//! estimating the uncentered covariance of k"). All asked layers are measured in one pass. Products are
//! computed in f32 on the device, batch by batch, and summed in f64 on the host.

mod collect;
mod file;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use recant_core::ModelDigest;
use recant_linalg::{Cholesky, FactorError};
use recant_model::Model;

pub use collect::{CollectError, Collector, Progress, corpus_lines};
pub use file::MomentsFileError;

/// Second moments of some layers of one model.
#[derive(Debug)]
pub struct Moments {
    /// The model that the keys came from.
    pub model: ModelDigest,
    /// BLAKE3 of the corpus bytes that were read.
    pub corpus: [u8; 32],
    /// Tokens that were averaged over.
    pub tokens: u64,
    layers: BTreeMap<usize, Layer>,
}

#[derive(Debug)]
struct Layer {
    dim: usize,
    /// Σ k kᵀ / tokens, row-major.
    mean: Arc<[f64]>,
    factor: OnceLock<Result<Cholesky, FactorError>>,
}

/// Second moments cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MomentsError {
    /// They belong to another model.
    #[error(
        "these statistics were made for model {made_for}, but the model at hand is {found}; \
         run `recant stats` for it"
    )]
    Model {
        /// Digest of the model they were made for.
        made_for: ModelDigest,
        /// Digest of the model at hand.
        found: ModelDigest,
    },
    /// The layer was not measured.
    #[error("these statistics hold layers {known:?}, not {layer}; run `recant stats --layers {layer}`")]
    Layer {
        /// The layer asked for.
        layer: usize,
        /// The layers that are there.
        known: Vec<usize>,
    },
    /// The moment cannot be factored.
    #[error("the second moment of layer {layer} cannot be used: {source}; measure it over more tokens")]
    Factor {
        /// The layer.
        layer: usize,
        /// What is wrong.
        source: FactorError,
    },
    /// A vector has another length than the keys.
    #[error("layer {layer} has keys of length {dim}, not {found}")]
    Length {
        /// The layer.
        layer: usize,
        /// Length of its keys.
        dim: usize,
        /// Length given.
        found: usize,
    },
}

impl Moments {
    /// Moments from means: layer to `(d_key, Σkkᵀ/tokens row-major)`.
    #[must_use]
    pub fn new(
        model: ModelDigest,
        corpus: [u8; 32],
        tokens: u64,
        layers: BTreeMap<usize, (usize, Vec<f64>)>,
    ) -> Self {
        let layer =
            |(dim, mean): (usize, Vec<f64>)| Layer { dim, mean: mean.into(), factor: OnceLock::new() };
        let layers = layers.into_iter().map(|(number, entry)| (number, layer(entry))).collect();
        Self { model, corpus, tokens, layers }
    }

    /// The measured layers.
    pub fn layers(&self) -> impl Iterator<Item = usize> {
        self.layers.keys().copied()
    }

    /// C of a layer, row-major `[d_key, d_key]`.
    #[must_use]
    pub fn mean(&self, layer: usize) -> Option<&[f64]> {
        self.layers.get(&layer).map(|layer| &*layer.mean)
    }

    /// C⁻¹ k. The factor of C is computed at the first call and kept.
    ///
    /// # Errors
    /// [`MomentsError::Layer`], [`MomentsError::Factor`], [`MomentsError::Length`].
    pub fn solve(&self, layer: usize, k: &[f64]) -> Result<Vec<f64>, MomentsError> {
        let Some(entry) = self.layers.get(&layer) else {
            return Err(MomentsError::Layer { layer, known: self.layers().collect() });
        };
        let factor = entry.factor.get_or_init(|| Cholesky::new(entry.dim, &entry.mean));
        let factor =
            factor.as_ref().map_err(|source| MomentsError::Factor { layer, source: source.clone() })?;
        factor.solve(k).ok_or(MomentsError::Length { layer, dim: entry.dim, found: k.len() })
    }

    /// Whether the moments were made for this model's weights.
    ///
    /// # Errors
    /// [`MomentsError::Model`] names both digests.
    pub fn belongs_to(&self, model: &Model) -> Result<(), MomentsError> {
        let found = model.digest();
        if found == self.model { Ok(()) } else { Err(MomentsError::Model { made_for: self.model, found }) }
    }
}
