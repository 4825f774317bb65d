//! Second moments of a layer's keys, C = E[k kᵀ], measured over a corpus.
//!
//! Uncentred, over every token of the corpus, as in ROME (section 3.1: "C is a constant that we pre-cache by
//! estimating the uncentered covariance of k"). All asked layers are measured in one pass. Products are
//! computed in f32 on the device, batch by batch, and summed in f64 on the host.

mod collect;
mod corpus;
mod factors;
mod file;
mod import;
mod partial;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use recant_core::ModelDigest;
use recant_edit::{EditError, StatisticsError};
use recant_linalg::{Cholesky, FactorError, NullSpace, NullSpaceError};
use recant_records::moments::MomentsRecord;

pub use collect::{CollectError, Collector, Progress};
pub use corpus::{CorpusLines, corpus_lines};
pub use factors::{Kept, factor_path};
pub use file::{MomentsFileError, STATISTICS};
pub use import::ImportError;
pub use partial::{PARTIAL, ResumeError, partial_path};
pub use recant_records::moments::{Sample, Square};

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
    /// Σ k kᵀ / tokens.
    mean: Square,
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
    #[error("these statistics were made for model {made_for}, but the model at hand is {found}")]
    Model {
        /// Digest of the model they were made for.
        made_for: ModelDigest,
        /// Digest of the model at hand.
        found: ModelDigest,
    },
    /// The layer was not measured.
    #[error("these statistics hold layers {known:?}, not {layer}")]
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

impl From<MomentsError> for EditError {
    fn from(error: MomentsError) -> Self {
        Self::Statistics(match error {
            MomentsError::Model { made_for, found } => StatisticsError::Model { made_for, found },
            MomentsError::Layer { layer, known } => StatisticsError::Layer { layer, known },
            MomentsError::Factor { layer, source } => {
                StatisticsError::Factor { layer, source: source.into() }
            }
            MomentsError::NullSpace { layer, source } => {
                StatisticsError::NullSpace { layer, source: source.into() }
            }
            MomentsError::Length { layer, dim, found } => StatisticsError::Length { layer, dim, found },
        })
    }
}

impl Moments {
    /// Moments from means: layer to Σ k kᵀ / tokens.
    #[must_use]
    pub fn new(model: ModelDigest, corpus: [u8; 32], tokens: u64, layers: BTreeMap<usize, Square>) -> Self {
        let layer = |mean| Layer {
            mean,
            factor: OnceLock::new(),
            ridged: Mutex::default(),
            null_spaces: Mutex::default(),
        };
        let layers = layers.into_iter().map(|(number, mean)| (number, layer(mean))).collect();
        Self { model, corpus, tokens, layers, sample: Sample::default() }
    }

    /// What a file holds of them.
    #[must_use]
    pub fn record(&self) -> MomentsRecord {
        let layers = self.layers.iter().map(|(&number, layer)| (number, layer.mean.clone())).collect();
        let Self { model, corpus, tokens, sample, .. } = self;
        MomentsRecord { model: *model, corpus: *corpus, tokens: *tokens, layers, sample: sample.clone() }
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

    /// What a file holds of some of the layers.
    #[must_use]
    pub fn of_layers(&self, layers: &[usize]) -> MomentsRecord {
        let mut record = self.record();
        record.layers.retain(|number, _| layers.contains(number));
        record
    }

    /// C of a layer, row-major `[d_key, d_key]`.
    #[must_use]
    pub fn mean(&self, layer: usize) -> Option<&[f64]> {
        self.layers.get(&layer).map(|layer| layer.mean.numbers())
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
        let factor = entry.factor.get_or_init(|| Cholesky::new(entry.mean.dim(), entry.mean.numbers()));
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
        let dim = entry.mean.dim();
        let mut matrix = entry.mean.numbers().to_vec();
        matrix.iter_mut().step_by(dim + 1).for_each(|diagonal| *diagonal += ridge);
        let factor = Cholesky::new(dim, &matrix);
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
        let space = NullSpace::of(entry.mean.dim(), entry.mean.numbers(), threshold);
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

impl From<MomentsRecord> for Moments {
    fn from(record: MomentsRecord) -> Self {
        let MomentsRecord { model, corpus, tokens, layers, sample } = record;
        Self::new(model, corpus, tokens, layers).with_sample(sample)
    }
}
