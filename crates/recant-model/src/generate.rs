//! Greedy and sampled generation with a key-value cache.

use std::collections::BTreeSet;

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
        self.generate_told(prompt, max_new, strategy, &mut |_| ())
    }

    /// As [`Model::generate`]; `told` hears each piece of the text as soon as it is whole.
    ///
    /// # Errors
    /// As [`Model::generate`].
    pub fn generate_told(
        &self,
        prompt: &str,
        max_new: usize,
        strategy: Strategy,
        told: &mut dyn FnMut(&str),
    ) -> Result<Generation, AskError> {
        let ids = self.tokenizer().encode(prompt)?;
        let prompt_tokens = ids.len();
        let mut shown = String::new();
        let mut tell = |text: &str| {
            if let Some(new) = text.strip_prefix(&shown).filter(|new| !new.is_empty()) {
                told(new);
                text.clone_into(&mut shown);
            }
        };
        let generation = self.extended(vec![ids], max_new, &[strategy], true, &mut |rows| {
            let text = self.tokenizer().decode_after(&rows[0], prompt_tokens)?;
            // A character of several tokens may not be whole yet.
            if !text.ends_with(char::REPLACEMENT_CHARACTER) {
                tell(&text);
            }
            Ok(())
        })?;
        let generation = Self::alone(generation);
        tell(&generation.text);
        Ok(generation)
    }

    /// As [`Model::generate`], from token ids; `stop` says whether an end-of-text token ends it.
    ///
    /// # Errors
    /// As [`Model::generate`].
    pub fn generate_ids(
        &self,
        ids: Vec<u32>,
        max_new: usize,
        strategy: Strategy,
        stop: bool,
    ) -> Result<Generation, AskError> {
        Ok(Self::alone(self.generate_rows(&[ids], max_new, &[strategy], stop)?))
    }

    /// As [`Model::generate_ids`] for several prompts, each with a strategy of its own. Those of one length go through the
    /// model together: its weights are read once for all of them.
    ///
    /// # Errors
    /// As [`Model::generate`].
    pub fn generate_rows(
        &self,
        prompts: &[Vec<u32>],
        max_new: usize,
        strategies: &[Strategy],
        stop: bool,
    ) -> Result<Vec<Generation>, AskError> {
        let mut written: Vec<Option<Generation>> = vec![None; prompts.len()];
        let lengths: BTreeSet<usize> = prompts.iter().map(Vec::len).collect();
        for length in lengths {
            let places: Vec<usize> = (0..prompts.len()).filter(|&at| prompts[at].len() == length).collect();
            let rows = places.iter().map(|&at| prompts[at].clone()).collect();
            let strategies: Vec<Strategy> = places.iter().map(|&at| strategies[at]).collect();
            let together = self.extended(rows, max_new, &strategies, stop, &mut |_| Ok(()))?;
            places.into_iter().zip(together).for_each(|(at, one)| written[at] = Some(one));
        }
        Ok(written.into_iter().flatten().collect())
    }

    /// Of prompts of one length. `told` hears the ids of every row after each new token.
    fn extended(
        &self,
        mut rows: Vec<Vec<u32>>,
        max_new: usize,
        strategies: &[Strategy],
        stop: bool,
        told: &mut dyn FnMut(&[Vec<u32>]) -> Result<(), AskError>,
    ) -> Result<Vec<Generation>, AskError> {
        let batch = TokenBatch::new(&rows, self.spec())?;
        let (count, prompt_tokens) = (rows.len(), batch.width());
        let mut session = self.session(&vec![prompt_tokens; count]);
        let mut cache = KvCache::default();
        let mut choosers: Vec<Chooser> = strategies.iter().map(|&strategy| Chooser::new(strategy)).collect();
        // What a row wrote ends where it ended by itself; it is computed further with the others.
        let mut ends: Vec<Option<usize>> = vec![None; count];
        let mut input = ForwardInput::tokens(&batch, self.device()).keeping(&mut cache);
        for _ in 0..max_new {
            let Some(hidden) = self.net().forward(input, &mut session) else { break };
            let [_, tokens, width] = hidden.dims();
            let last = hidden.narrow(1, tokens - 1, 1).reshape([count, width]);
            let log_probs = host(&activation::log_softmax(self.net().unembed(last), 1));
            let log_probs = log_probs.chunks_exact(log_probs.len() / count);
            let next: Vec<u32> =
                choosers.iter_mut().zip(log_probs).map(|(chooser, row)| chooser.choose(row)).collect();
            for ((row, &next), end) in rows.iter_mut().zip(&next).zip(&mut ends) {
                if stop && end.is_none() && self.spec().eos.contains(&next) {
                    *end = Some(row.len());
                }
                row.push(next);
            }
            if ends.iter().all(Option::is_some) {
                break;
            }
            told(&rows)?;
            let length = rows.first().map_or(0, Vec::len);
            if length == self.spec().context {
                break;
            }
            let held = std::mem::take(&mut cache);
            if self.net().forgets_at().is_some_and(|at| held.len() <= at && length > at) {
                // Keys turn otherwise from here on: all of them are computed anew.
                let batch = TokenBatch::new(&rows, self.spec())?;
                input = ForwardInput::tokens(&batch, self.device()).keeping(&mut cache);
                continue;
            }
            let past = Past { cache: held, lengths: None };
            let next = next.into_iter().map(u32::cast_signed).collect();
            input = ForwardInput {
                source: Source::Tokens(upload_ints(next, [count, 1], self.device())),
                positions: Positions::From(length - 1),
                past: Some(past),
                keep: Some(&mut cache),
                only: None,
            };
        }
        let written = |(mut ids, end): (Vec<u32>, Option<usize>)| {
            ids.truncate(end.unwrap_or(ids.len()));
            let text = self.tokenizer().decode_after(&ids, prompt_tokens)?;
            Ok(Generation { ids, prompt_tokens, text })
        };
        rows.into_iter().zip(ends).map(written).collect()
    }

    /// The only row of a generation.
    fn alone(mut rows: Vec<Generation>) -> Generation {
        rows.pop().unwrap_or(Generation { ids: Vec::new(), prompt_tokens: 0, text: String::new() })
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
        let better =
            |&a: &u32, &b: &u32| log_probs[b as usize].total_cmp(&log_probs[a as usize]).then(a.cmp(&b));
        let mut order: Vec<u32> = (0..log_probs.len() as u32).collect();
        let Strategy::Sample { top_k, temperature, .. } = self.strategy else {
            return order.into_iter().min_by(better).unwrap_or(0);
        };
        order.sort_by(better);
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
