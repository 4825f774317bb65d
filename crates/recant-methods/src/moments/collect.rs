//! Measuring: one pass over a corpus, all layers at once, in bounded memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use recant_backend::host;
use recant_core::{Point, Site};
use recant_edit::TextError;
use recant_model::{
    ForwardInput, InputError, MixtureError, Model, Observer, TokenBatch, TokenizerError, gather_rows,
};
use recant_records::moments::{Square, mean_of};

use super::{Moments, Sample, corpus_lines};

/// Moments cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The corpus cannot be read, or is no UTF-8.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A line of a corpus has no text.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// No layer was asked for, or one that does not exist.
    #[error("layer {layer} does not exist; this model has {layers}, counted from 0")]
    Layer {
        /// The layer asked for.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
    /// A layer is a mixture of experts, which has no keys.
    #[error(transparent)]
    Mixture(#[from] MixtureError),
    /// The model carries adapters, which the moments of its weights' keys would not see.
    #[error(
        "the model carries {count} adapters beside its weights; second moments are measured without them"
    )]
    Adapters {
        /// How many.
        count: usize,
    },
    /// The corpus has no tokens.
    #[error("the corpus has no tokens")]
    Empty,
    /// The corpus is not the one that an interrupted measurement had read.
    #[error(
        "the interrupted measurement had read {texts} texts, and this corpus does not begin with the same ones"
    )]
    OtherCorpus {
        /// Texts it had read.
        texts: u64,
    },
    /// A key is NaN or infinite.
    #[error("layer {layer} has a key that is not finite; the model is damaged")]
    NonFinite {
        /// The layer.
        layer: usize,
    },
    /// A text cannot be tokenised.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Tokens cannot be fed to the model.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// How far a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tokens read.
    pub tokens: u64,
    /// Tokens after which it ends.
    pub budget: u64,
}

/// Sums outer products of keys, text by text.
pub struct Collector<'m> {
    pub(super) model: &'m Model,
    layers: Vec<usize>,
    pub(super) budget: u64,
    /// Longest text in tokens; longer ones are cut into pieces of this length.
    pub(super) max_tokens: usize,
    pub(super) pending: Vec<Vec<u32>>,
    pub(super) sums: BTreeMap<usize, Vec<f64>>,
    pub(super) tokens: u64,
    pub(super) texts: u64,
    pub(super) corpus: [u8; 32],
    pub(super) sample: Sample,
    /// How far the kept measurement came that this one goes on with, until it is there.
    pub(super) catching_up: Option<Reached>,
}

/// A place in a corpus.
pub(super) struct Reached {
    pub(super) texts: u64,
    pub(super) corpus: [u8; 32],
}

/// Texts a forward pass reads together.
const ROWS: usize = 32;

impl<'m> Collector<'m> {
    /// A collector of some layers that stops at `budget` tokens; `None` takes ten times the key's length,
    /// which suffices for an estimate of full rank ("FastMEMIT", arXiv 2506.04226).
    ///
    /// # Errors
    /// [`CollectError::Layer`], [`CollectError::Mixture`], [`CollectError::Adapters`].
    pub fn new(model: &'m Model, layers: &[usize], budget: Option<u64>) -> Result<Self, CollectError> {
        let spec = model.spec();
        if let Some(&layer) = layers.iter().find(|&&layer| layer >= spec.layers) {
            return Err(CollectError::Layer { layer, layers: spec.layers });
        }
        layers.iter().try_for_each(|&layer| spec.check_matrix(layer))?;
        if !model.adapters().is_empty() {
            return Err(CollectError::Adapters { count: model.adapters().len() });
        }
        let zeros = || vec![0.0; spec.d_mlp * spec.d_mlp];
        Ok(Self {
            model,
            layers: layers.to_vec(),
            budget: budget.unwrap_or(10 * spec.d_mlp as u64),
            max_tokens: spec.context,
            pending: Vec::new(),
            sums: layers.iter().map(|&layer| (layer, zeros())).collect(),
            tokens: 0,
            texts: 0,
            corpus: nothing_read(),
            sample: Sample::default(),
            catching_up: None,
        })
    }

    /// Cuts texts to at most this many tokens a piece.
    #[must_use]
    pub fn with_max_tokens(mut self, max_tokens: usize) -> Self {
        self.max_tokens = max_tokens.clamp(1, self.model.spec().context);
        self
    }

    /// Reads one text. Returns how far it is; the budget is met when `tokens >= budget`.
    ///
    /// # Errors
    /// [`CollectError`].
    pub fn text(&mut self, text: &str) -> Result<Progress, CollectError> {
        self.corpus = chain(&self.corpus, text.as_bytes());
        self.texts += 1;
        if let Some(reached) = &self.catching_up {
            if self.texts == reached.texts {
                if self.corpus != reached.corpus {
                    return Err(CollectError::OtherCorpus { texts: self.texts });
                }
                self.catching_up = None;
            }
            return Ok(self.progress());
        }
        let ids = self.model.tokenizer().plain().encode(text)?;
        for piece in ids.chunks(self.max_tokens) {
            self.sample.offer(piece);
            self.pending.push(piece.to_vec());
            if self.pending.len() == ROWS {
                self.flush()?;
            }
        }
        Ok(self.progress())
    }

    /// How far it is, texts that wait for a full batch included.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let waiting: usize = self.pending.iter().map(Vec::len).sum();
        Progress { tokens: self.tokens + waiting as u64, budget: self.budget }
    }

    fn flush(&mut self) -> Result<(), CollectError> {
        let rows = std::mem::take(&mut self.pending);
        if rows.is_empty() {
            return Ok(());
        }
        let device = self.model.device();
        let batch = TokenBatch::new(&rows, self.model.spec())?;
        let site = |layer: usize| Site::Block(layer as u16, Point::MlpKey);
        let mut observer = Observer::up_to(self.layers.iter().map(|&layer| site(layer)));
        let _stopped = self.model.net().forward(ForwardInput::tokens(&batch, device), &mut observer);
        let places: Vec<(usize, usize)> = rows
            .iter()
            .enumerate()
            .flat_map(|(row, ids)| (0..ids.len()).map(move |token| (row, token)))
            .collect();
        for &layer in &self.layers {
            let Some(keys) = observer.take(site(layer)) else { continue };
            let keys = gather_rows(keys, &places, device);
            let products = host(&keys.clone().transpose().matmul(keys));
            let Some(sum) = self.sums.get_mut(&layer) else { continue };
            for (total, product) in sum.iter_mut().zip(products) {
                *total += f64::from(product);
            }
            if sum.iter().any(|x| !x.is_finite()) {
                return Err(CollectError::NonFinite { layer });
            }
        }
        self.tokens += places.len() as u64;
        Ok(())
    }

    /// The means. A pass that ended before its budget is a whole pass over a short corpus.
    ///
    /// # Errors
    /// [`CollectError::Empty`] when nothing was read; [`CollectError::OtherCorpus`] when the corpus ended before
    /// the place where the measurement was to go on.
    pub fn finish(mut self) -> Result<Moments, CollectError> {
        if let Some(Reached { texts, .. }) = self.catching_up {
            return Err(CollectError::OtherCorpus { texts });
        }
        self.flush()?;
        if self.tokens == 0 {
            return Err(CollectError::Empty);
        }
        let (dim, tokens) = (self.model.spec().d_mlp, self.tokens as f64);
        let mean = |(layer, sum)| {
            let mean = Square::new(dim, mean_of(dim, sum, tokens));
            Ok((layer, mean.ok_or(CollectError::NonFinite { layer })?))
        };
        let layers = self.sums.into_iter().map(mean).collect::<Result<_, CollectError>>()?;
        Ok(Moments::new(self.model.digest(), self.corpus, self.tokens, layers).with_sample(self.sample))
    }

    /// Reads corpus files, one after the other, until the budget is met, the files end, or `on_text`, which hears of
    /// every text, breaks off.
    ///
    /// # Errors
    /// [`CollectError`] names the file and line.
    pub fn read(
        &mut self,
        corpus: &[impl AsRef<Path>],
        mut on_text: impl FnMut(&Self) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, CollectError> {
        for path in corpus {
            for line in corpus_lines(path.as_ref())? {
                let progress = self.text(&line?)?;
                let broken_off = on_text(self).is_break();
                if progress.tokens >= progress.budget && self.catching_up.is_none() {
                    return Ok(ControlFlow::Continue(()));
                }
                if broken_off {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Moments {
    /// Measures some layers over corpus files, one after the other, until `budget` tokens are read (`None`:
    /// ten times the key's length) or the files end. `on_progress` hears of every text.
    ///
    /// # Errors
    /// [`CollectError`] names the file and line.
    pub fn measure(
        model: &Model,
        layers: &[usize],
        corpus: &[impl AsRef<Path>],
        budget: Option<u64>,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Self, CollectError> {
        let mut collector = Collector::new(model, layers, budget)?;
        let _to_the_end = collector.read(corpus, |collector| {
            on_progress(collector.progress());
            ControlFlow::Continue(())
        })?;
        collector.finish()
    }
}

/// The corpus digest is a chain, so that it can be extended text by text and never needs the whole corpus:
/// d₀ = H("recant corpus 1"), dᵢ = H(dᵢ₋₁ ‖ textᵢ).
fn nothing_read() -> [u8; 32] {
    recant_core::bytes_digest(b"recant corpus 1")
}

fn chain(so_far: &[u8], text: &[u8]) -> [u8; 32] {
    recant_core::bytes_digest(&[so_far, text].concat())
}
