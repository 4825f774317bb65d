//! Persistent interventions: what a model learned beside its weights.
//!
//! A hook lives for one call. An [`Adapter`] belongs to a model: a codebook, a side memory, a table of values.
//! [`Model::with_adapter`](crate::Model::with_adapter) gives a model that carries it, and everything that asks
//! the model (log-probabilities, answers, generation) goes through it without knowing.

use burn::tensor::Tensor;
use recant_backend::{Device, upload_bools};
use recant_core::Site;

use crate::hook::{Flow, Hook};

/// An intervention that belongs to a model.
///
/// It decides **once a sequence, from the prompt**, what to do with it. Other tools decide for a whole batch,
/// and again at each generated token, so that a sequence changes sides in the middle of a word.
pub trait Adapter: Send + Sync {
    /// Begins some sequences, `prompts[row]` tokens of which are the prompt. The hook that comes back sees the
    /// activations of one pass over the prompts (with or without a continuation behind them), and then those of
    /// any number of passes over the tokens that follow. It decides in the first pass, looking at prompt tokens
    /// only, and holds what it decided until it is dropped.
    ///
    /// Rows that it leaves alone keep their bits.
    fn begin(&self, prompts: &[usize]) -> Box<dyn Hook + '_>;
}

/// The adapters of a model at work on some sequences: one hook that is all of theirs, in order.
pub struct Session<'m> {
    hooks: Vec<Box<dyn Hook + 'm>>,
}

impl<'m> Session<'m> {
    pub(crate) fn new(hooks: impl Iterator<Item = Box<dyn Hook + 'm>>) -> Self {
        Self { hooks: hooks.collect() }
    }
}

impl Hook for Session<'_> {
    fn wants(&self, site: Site) -> bool {
        self.hooks.iter().any(|hook| hook.wants(site))
    }

    fn visit(&mut self, site: Site, mut x: Tensor<3>) -> Flow {
        for hook in self.hooks.iter_mut().filter(|hook| hook.wants(site)) {
            match hook.visit(site, x) {
                Flow::Continue(next) => x = next,
                Flow::Stop => return Flow::Stop,
            }
        }
        Flow::Continue(x)
    }
}

/// Some rows of `x` replaced by those of `y`, both `[rows, tokens, width]`; the others keep their bits.
#[must_use]
pub fn replace_rows(x: Tensor<3>, y: Tensor<3>, rows: &[bool], device: &Device) -> Tensor<3> {
    let shape = x.dims();
    let mask = upload_bools(rows.to_vec(), [rows.len(), 1, 1], device);
    x.mask_where(mask.expand(shape), y)
}
