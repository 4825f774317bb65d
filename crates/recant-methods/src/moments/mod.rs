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
use recant_edit::StatisticsError;
use recant_linalg::{Cholesky, FactorError, NullSpace};
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

    /// Whether all of some layers were measured.
    ///
    /// # Errors
    /// [`StatisticsError::Layer`] names the first that was not.
    pub fn hold(&self, layers: &[usize]) -> Result<(), StatisticsError> {
        match layers.iter().find(|&&layer| !self.layers().any(|held| held == layer)) {
            Some(&layer) => Err(StatisticsError::Layer { layer, known: self.layers().collect() }),
            None => Ok(()),
        }
    }

    /// C⁻¹ k. The factor of C is computed at the first call and kept.
    ///
    /// # Errors
    /// [`StatisticsError::Layer`], [`StatisticsError::Factor`], [`StatisticsError::Length`].
    pub fn solve(&self, layer: usize, k: &[f64]) -> Result<Vec<f64>, StatisticsError> {
        let factor = self.factor(layer)?;
        factor.solve(k).ok_or(StatisticsError::Length { layer, dim: factor.dim(), found: k.len() })
    }

    fn entry(&self, layer: usize) -> Result<&Layer, StatisticsError> {
        let unknown = || StatisticsError::Layer { layer, known: self.layers().collect() };
        self.layers.get(&layer).ok_or_else(unknown)
    }

    /// The factor of C, computed at the first call and kept. It serves every weight λ, because
    /// (λC)⁻¹ = C⁻¹ / λ.
    ///
    /// # Errors
    /// [`StatisticsError::Layer`], [`StatisticsError::Factor`].
    pub fn factor(&self, layer: usize) -> Result<&Cholesky, StatisticsError> {
        let entry = self.entry(layer)?;
        let factor = entry.factor.get_or_init(|| Cholesky::new(entry.mean.dim(), entry.mean.numbers()));
        factor.as_ref().map_err(|source| StatisticsError::Factor { layer, source: source.clone().into() })
    }

    /// The factor of C + `ridge` I, computed at the first call for a ridge and kept.
    ///
    /// # Errors
    /// As [`Moments::factor`].
    pub fn ridged(&self, layer: usize, ridge: f64) -> Result<Arc<Cholesky>, StatisticsError> {
        let entry = self.entry(layer)?;
        let mut kept = entry.ridged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(factor) = kept.get(&ridge.to_bits()) {
            return Ok(Arc::clone(factor));
        }
        let dim = entry.mean.dim();
        let mut matrix = entry.mean.numbers().to_vec();
        matrix.iter_mut().step_by(dim + 1).for_each(|diagonal| *diagonal += ridge);
        let factor = Cholesky::new(dim, &matrix);
        let factor =
            Arc::new(factor.map_err(|source| StatisticsError::Factor { layer, source: source.into() })?);
        kept.insert(ridge.to_bits(), Arc::clone(&factor));
        Ok(factor)
    }

    /// The projector onto the eigenvectors of C with eigenvalues below `threshold`, computed once and kept.
    ///
    /// # Errors
    /// [`StatisticsError::Layer`], [`StatisticsError::NullSpace`].
    pub fn null_space(&self, layer: usize, threshold: f64) -> Result<Arc<NullSpace>, StatisticsError> {
        let entry = self.entry(layer)?;
        let mut kept = entry.null_spaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(space) = kept.get(&threshold.to_bits()) {
            return Ok(Arc::clone(space));
        }
        let space = NullSpace::of(entry.mean.dim(), entry.mean.numbers(), threshold);
        let space =
            Arc::new(space.map_err(|source| StatisticsError::NullSpace { layer, source: source.into() })?);
        kept.insert(threshold.to_bits(), Arc::clone(&space));
        Ok(space)
    }

    /// Whether the moments were made for weights with this digest.
    ///
    /// # Errors
    /// [`StatisticsError::Model`] names both digests.
    pub fn belongs_to(&self, found: ModelDigest) -> Result<(), StatisticsError> {
        if found == self.model { Ok(()) } else { Err(StatisticsError::Model { made_for: self.model, found }) }
    }
}

impl From<MomentsRecord> for Moments {
    fn from(record: MomentsRecord) -> Self {
        let MomentsRecord { model, corpus, tokens, layers, sample } = record;
        Self::new(model, corpus, tokens, layers).with_sample(sample)
    }
}
