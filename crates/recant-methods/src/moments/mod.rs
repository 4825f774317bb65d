//! Second moments of a layer's keys, C = E[k kᵀ], measured over a corpus.
//!
//! Uncentred, over every token of the corpus, as in ROME (section 3.1: "C is a constant that we pre-cache by
//! estimating the uncentered covariance of k"). All asked layers are measured in one pass. Products are
//! computed in f32 on the device, batch by batch, and summed in f64 on the host.

mod collect;
mod factors;
mod file;
mod import;
mod npz;
mod partial;
mod sample;
mod sheet;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use recant_core::ModelDigest;
use recant_linalg::{Cholesky, FactorError, NullSpace, NullSpaceError};

pub use collect::{CollectError, Collector, Progress, corpus_lines};
pub use factors::factor_path;
pub use file::{MomentsFileError, STATISTICS};
pub use import::ImportError;
pub use npz::NpzError;
pub use partial::{PARTIAL, ResumeError, partial_path};
pub use sample::Sample;

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
    sample: Sample,
}

#[derive(Debug)]
struct Layer {
    dim: usize,
    /// Σ k kᵀ / tokens, row-major.
    mean: Arc<[f64]>,
    factor: OnceLock<Result<Cholesky, FactorError>>,
    /// Factors of C + ridge I by the ridge's bits, and projectors by the threshold's, for the methods that
    /// ask for them again and again.
    ridged: Mutex<BTreeMap<u64, Arc<Cholesky>>>,
    null_spaces: Mutex<BTreeMap<u64, Arc<NullSpace>>>,
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
    /// The moment has no null space to write into.
    #[error("the second moment of layer {layer} has no null space: {source}; raise nullspace_threshold")]
    NullSpace {
        /// The layer.
        layer: usize,
        /// What is wrong.
        source: NullSpaceError,
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
        let layer = |(dim, mean): (usize, Vec<f64>)| Layer {
            dim,
            mean: mean.into(),
            factor: OnceLock::new(),
            ridged: Mutex::default(),
            null_spaces: Mutex::default(),
        };
        let layers = layers.into_iter().map(|(number, entry)| (number, layer(entry))).collect();
        Self { model, corpus, tokens, layers, sample: Sample::default() }
    }

    /// The same with a sample of the corpus.
    #[must_use]
    pub fn with_sample(mut self, sample: Sample) -> Self {
        self.sample = sample;
        self
    }

    /// A sample of the corpus; empty for moments that were imported or made before samples were kept.
    #[must_use]
    pub fn sample(&self) -> &Sample {
        &self.sample
    }

    /// The measured layers.
    pub fn layers(&self) -> impl Iterator<Item = usize> {
        self.layers.keys().copied()
    }

    /// The same moments of some of the layers, without their factors.
    #[must_use]
    pub fn of_layers(&self, layers: &[usize]) -> Self {
        let held = self.layers.iter().filter(|(number, _)| layers.contains(number));
        let held = held.map(|(&number, layer)| (number, (layer.dim, layer.mean.to_vec()))).collect();
        Self::new(self.model, self.corpus, self.tokens, held)
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
        let factor = self.factor(layer)?;
        factor.solve(k).ok_or(MomentsError::Length { layer, dim: factor.dim(), found: k.len() })
    }

    fn entry(&self, layer: usize) -> Result<&Layer, MomentsError> {
        let unknown = || MomentsError::Layer { layer, known: self.layers().collect() };
        self.layers.get(&layer).ok_or_else(unknown)
    }

    /// The factor of C, computed at the first call and kept. It serves every weight λ, because
    /// (λC)⁻¹ = C⁻¹ / λ.
    ///
    /// # Errors
    /// [`MomentsError::Layer`], [`MomentsError::Factor`].
    pub fn factor(&self, layer: usize) -> Result<&Cholesky, MomentsError> {
        let entry = self.entry(layer)?;
        let factor = entry.factor.get_or_init(|| Cholesky::new(entry.dim, &entry.mean));
        factor.as_ref().map_err(|source| MomentsError::Factor { layer, source: source.clone() })
    }

    /// The factor of C + `ridge` I, computed at the first call for a ridge and kept.
    ///
    /// # Errors
    /// As [`Moments::factor`].
    pub fn ridged(&self, layer: usize, ridge: f64) -> Result<Arc<Cholesky>, MomentsError> {
        let entry = self.entry(layer)?;
        let mut kept = entry.ridged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(factor) = kept.get(&ridge.to_bits()) {
            return Ok(Arc::clone(factor));
        }
        let mut matrix = entry.mean.to_vec();
        matrix.iter_mut().step_by(entry.dim + 1).for_each(|diagonal| *diagonal += ridge);
        let factor = Cholesky::new(entry.dim, &matrix);
        let factor = Arc::new(factor.map_err(|source| MomentsError::Factor { layer, source })?);
        kept.insert(ridge.to_bits(), Arc::clone(&factor));
        Ok(factor)
    }

    /// The projector onto the eigenvectors of C with eigenvalues below `threshold`, computed once and kept.
    ///
    /// # Errors
    /// [`MomentsError::Layer`], [`MomentsError::NullSpace`].
    pub fn null_space(&self, layer: usize, threshold: f64) -> Result<Arc<NullSpace>, MomentsError> {
        let entry = self.entry(layer)?;
        let mut kept = entry.null_spaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(space) = kept.get(&threshold.to_bits()) {
            return Ok(Arc::clone(space));
        }
        let space = NullSpace::of(entry.dim, &entry.mean, threshold);
        let space = Arc::new(space.map_err(|source| MomentsError::NullSpace { layer, source })?);
        kept.insert(threshold.to_bits(), Arc::clone(&space));
        Ok(space)
    }

    /// Whether the moments were made for weights with this digest.
    ///
    /// # Errors
    /// [`MomentsError::Model`] names both digests.
    pub fn belongs_to(&self, found: ModelDigest) -> Result<(), MomentsError> {
        if found == self.model { Ok(()) } else { Err(MomentsError::Model { made_for: self.model, found }) }
    }
}
