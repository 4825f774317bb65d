//! Greedy and sampled generation with a key-value cache.

use burn::tensor::activation;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recant_backend::{host, upload_ints};

use crate::attention::{KvCache, Past};
use crate::forward::{ForwardInput, Positions, Source, TokenBatch};
use crate::model::{AskError, Model};

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strategy {
    /// The most probable one; the lowest id among equals.
    Greedy,
    /// Drawn from the `top_k` most probable ones at a temperature.
    Sample {
        /// How many candidates; 0 for all.
        top_k: usize,
        /// Logits are divided by this; above 0.
        temperature: f32,
        /// Seed of the draw.
        seed: u64,
    },
}

/// Settings that cannot be sampled with.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("temperature {temperature} is not above 0; use greedy generation for the limit")]
pub struct SamplingError {
    /// The temperature given.
    pub temperature: f32,
}

/// What a model wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Prompt and new tokens.
    pub ids: Vec<u32>,
    /// How many of them are the prompt's.
    pub prompt_tokens: usize,
    /// Text of the new tokens, as it follows the prompt.
    pub text: String,
}

impl Strategy {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`SamplingError`] when the temperature is not a positive number.
    pub fn check(self) -> Result<Self, SamplingError> {
        match self {
            Self::Sample { temperature, .. } if !(temperature > 0.0 && temperature.is_finite()) => {
                Err(SamplingError { temperature })
            }
            fine => Ok(fine),
        }
    }
}

impl Model {
    /// Continues a prompt by up to `max_new` tokens, stopping at an end-of-text token or the end of the
    /// context.
    ///
    /// # Errors
    /// [`AskError`] when the prompt is empty, too long or cannot be tokenised.
    pub fn generate(&self, prompt: &str, max_new: usize, strategy: Strategy) -> Result<Generation, AskError> {
        let ids = self.tokenizer().encode(prompt)?;
        self.generate_ids(ids, max_new, strategy, true)
    }

    /// As [`Model::generate`], from token ids; `stop` says whether an end-of-text token ends it.
    ///
    /// # Errors
    /// As [`Model::generate`].
    pub fn generate_ids(
        &self,
        mut ids: Vec<u32>,
        max_new: usize,
        strategy: Strategy,
        stop: bool,
    ) -> Result<Generation, AskError> {
        let prompt_tokens = ids.len();
        let mut session = self.session(&[prompt_tokens]);
        let mut cache = KvCache::default();
        let mut chooser = Chooser::new(strategy);
        let batch = TokenBatch::new(std::slice::from_ref(&ids), self.spec())?;
        let mut input = ForwardInput::tokens(&batch, self.device()).keeping(&mut cache);
        for _ in 0..max_new {
            let Some(hidden) = self.net().forward(input, &mut session) else { break };
            let [_, tokens, width] = hidden.dims();
            let last = hidden.narrow(1, tokens - 1, 1).reshape([1, width]);
            let log_probs = host(&activation::log_softmax(self.net().unembed(last), 1));
            let next = chooser.choose(&log_probs);
            if stop && self.spec().eos.contains(&next) {
                break;
            }
            ids.push(next);
            if ids.len() == self.spec().context {
                break;
            }
            let held = std::mem::take(&mut cache);
            if self.net().forgets_at().is_some_and(|length| held.len() <= length && ids.len() > length) {
                // Keys turn otherwise from here on: all of them are computed anew.
                let batch = TokenBatch::new(std::slice::from_ref(&ids), self.spec())?;
                input = ForwardInput::tokens(&batch, self.device()).keeping(&mut cache);
                continue;
            }
            let past = Past { cache: held, lengths: None };
            input = ForwardInput {
                source: Source::Tokens(upload_ints(vec![next.cast_signed()], [1, 1], self.device())),
                positions: Positions::From(ids.len() - 1),
                past: Some(past),
                keep: Some(&mut cache),
                only: None,
            };
        }
        let text = self.tokenizer().decode_after(&ids, prompt_tokens)?;
        Ok(Generation { ids, prompt_tokens, text })
    }
}

struct Chooser {
    strategy: Strategy,
    rng: ChaCha8Rng,
}

impl Chooser {
    fn new(strategy: Strategy) -> Self {
        let seed = if let Strategy::Sample { seed, .. } = strategy { seed } else { 0 };
        Self { strategy, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    fn choose(&mut self, log_probs: &[f32]) -> u32 {
        let mut order: Vec<u32> = (0..log_probs.len() as u32).collect();
        order.sort_by(|&a, &b| log_probs[b as usize].total_cmp(&log_probs[a as usize]).then(a.cmp(&b)));
        let Strategy::Sample { top_k, temperature, .. } = self.strategy else {
            return order.first().copied().unwrap_or(0);
        };
        if top_k > 0 {
            order.truncate(top_k);
        }
        // The sum runs in a fixed order, so a seed draws the same tokens on every run.
        let weight = |id: &u32| f64::from(log_probs[*id as usize] / temperature).exp();
        let total: f64 = order.iter().map(weight).sum();
        let mut rest = self.rng.random::<f64>() * total;
        for id in &order {
            rest -= weight(id);
            if rest <= 0.0 {
                return *id;
            }
        }
        order.last().copied().unwrap_or(0)
    }
}
