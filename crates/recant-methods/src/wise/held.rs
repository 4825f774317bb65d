//! A memory as it answers, with what every known prompt does to it.
//!
//! Its activations are functions of its Δ and of a prompt, so they are kept: a new edit asks each older memory about
//! the new edit's prompts alone.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;

use super::settings::WiseSettings;
use super::side::{Sigma, activations};
use crate::region::{Observed, shift};

/// Prompts of one fact at the side memory's block.
#[derive(Clone)]
pub(super) struct Seen {
    /// The fact's own.
    pub(super) inside: Observed,
    /// What it must leave alone.
    pub(super) outside: Observed,
    /// The first row of `outside` alone.
    pub(super) first: Observed,
}

/// A memory and its known activations.
pub(super) struct Held {
    shards: Vec<Arc<Vec<f32>>>,
    facts: Range<usize>,
    /// Δ `[d_model, d_mlp]`.
    pub(super) delta: Tensor<2>,
    /// Of its own facts' prompts.
    pub(super) inside: Vec<f64>,
    /// Of its own facts' locality prompts, and of the first of every other fact's: what one memory must leave alone,
    /// all must.
    pub(super) outside: Vec<f64>,
    /// Facts that were looked at.
    seen: usize,
}

impl Held {
    pub(super) fn new(shards: Vec<Arc<Vec<f32>>>, facts: Range<usize>, delta: Tensor<2>) -> Self {
        Self { shards, facts, delta, inside: Vec::new(), outside: Vec::new(), seen: 0 }
    }

    /// Whether it is still the memory of these shards and facts, and saw no more than the first `seen` facts.
    pub(super) fn is_of(&self, shards: &[Arc<Vec<f32>>], facts: &Range<usize>, seen: usize) -> bool {
        let same = || self.shards.iter().zip(shards).all(|(a, b)| Arc::ptr_eq(a, b));
        self.facts == *facts && self.seen <= seen && self.shards.len() == shards.len() && same()
    }

    /// Looks at the facts that it was not asked about yet.
    pub(super) fn look(&mut self, settings: &WiseSettings, sigma: Sigma, seen: &[Seen]) {
        let of = |prompts: &Observed| {
            let shift = shift(&prompts.keys, &self.delta);
            activations(settings, shift, prompts.outputs.clone(), sigma, prompts.batch.lengths())
        };
        for (at, fact) in seen.iter().enumerate().skip(self.seen) {
            if self.facts.contains(&at) {
                self.inside.extend(of(&fact.inside));
                self.outside.extend(of(&fact.outside));
            } else {
                self.outside.extend(of(&fact.first).first());
            }
        }
        self.seen = seen.len();
    }
}
