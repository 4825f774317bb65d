//! Greedy and sampled generation with a key-value cache.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

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

/// What one row of a generation begins with, and how it goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Largest number of new tokens.
    pub max_new: usize,
    /// How the next token is chosen.
    pub strategy: Strategy,
}

/// Hears the ids of every row.
type Told<'a> = dyn FnMut(&[Vec<u32>]) -> Result<(), AskError> + 'a;

/// Rows that go through a model together.
const AT_ONCE: usize = 32;

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
        self.generate_told(prompt, max_new, strategy, &mut |_| ControlFlow::Continue(()))
    }

    /// As [`Model::generate`]; `told` hears each piece of the text as soon as it is whole, and may break off there.
    ///
    /// # Errors
    /// As [`Model::generate`], and [`AskError::Cancelled`].
    pub fn generate_told(
        &self,
        prompt: &str,
        max_new: usize,
        strategy: Strategy,
        told: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, AskError> {
        let ids = self.tokenizer().encode(prompt)?;
        let prompt_tokens = ids.len();
        let mut shown = String::new();
        let mut tell = |text: &str| {
            let Some(new) = text.strip_prefix(&shown).filter(|new| !new.is_empty()) else { return Ok(()) };
            let goes_on = told(new);
            text.clone_into(&mut shown);
            if goes_on.is_break() { Err(AskError::Cancelled) } else { Ok(()) }
        };
        let row = Row { prompt: ids, max_new, strategy };
        let generation = self.extended(vec![row], true, &mut |rows| {
            let text = self.tokenizer().decode_after(&rows[0], prompt_tokens)?;
            // A character of several tokens may not be whole yet.
            if text.ends_with(char::REPLACEMENT_CHARACTER) { Ok(()) } else { tell(&text) }
        })?;
        let generation = Self::alone(generation);
        tell(&generation.text)?;
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
        let row = Row { prompt: ids, max_new, strategy };
        Ok(Self::alone(self.extended(vec![row], stop, &mut |_| Ok(()))?))
    }

    /// As [`Model::generate_ids`] for several rows. Those whose prompts have one length go through the model together, up to
    /// 32 at once: its weights are read once for all of them.
    ///
    /// # Errors
    /// As [`Model::generate`].
    pub fn generate_rows(&self, rows: &[Row], stop: bool) -> Result<Vec<Generation>, AskError> {
        self.generate_rows_watched(rows, stop, &mut || ControlFlow::Continue(()))
    }

    /// As [`Model::generate_rows`]; `goes_on` is asked after each token, and may break off there.
    ///
    /// # Errors
    /// As [`Model::generate`], and [`AskError::Cancelled`].
    pub fn generate_rows_watched(
        &self,
        rows: &[Row],
        stop: bool,
        goes_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Generation>, AskError> {
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            by_length.entry(row.prompt.len()).or_default().push(at);
        }
        let mut written: Vec<Option<Generation>> = vec![None; rows.len()];
        for places in by_length.values().flat_map(|places| places.chunks(AT_ONCE)) {
            let together: Vec<Row> = places.iter().map(|&at| rows[at].clone()).collect();
            let together = self.extended(together, stop, &mut |_| match goes_on() {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(AskError::Cancelled),
            })?;
            places.iter().zip(together).for_each(|(&at, one)| written[at] = Some(one));
        }
        Ok(written.into_iter().flatten().collect())
    }

    /// Of rows whose prompts have one length. `told` hears the ids of every row after each new token.
    fn extended(
        &self,
        requests: Vec<Row>,
        stop: bool,
        told: &mut Told<'_>,
    ) -> Result<Vec<Generation>, AskError> {
        let limits: Vec<usize> =
            requests.iter().map(|row| row.prompt.len().saturating_add(row.max_new)).collect();
        let mut choosers: Vec<Chooser> = requests.iter().map(|row| Chooser::new(row.strategy)).collect();
        let mut rows: Vec<Vec<u32>> = requests.into_iter().map(|row| row.prompt).collect();
        let batch = TokenBatch::new(&rows, self.spec())?;
        let (count, prompt_tokens) = (rows.len(), batch.width());
        let mut session = self.session(&vec![prompt_tokens; count]);
        let mut cache = KvCache::default();
        // Where each row has ended; it is computed further with the others.
        let mut ends: Vec<Option<usize>> =
            limits.iter().map(|&limit| (limit == prompt_tokens).then_some(limit)).collect();
        let mut input = ForwardInput::tokens(&batch, self.device()).keeping(&mut cache);
        while ends.iter().any(Option::is_none) {
            let Some(hidden) = self.net().forward(input, &mut session) else { break };
            let [_, tokens, width] = hidden.dims();
            let last = hidden.narrow(1, tokens - 1, 1).reshape([count, width]);
            let log_probs = host(&activation::log_softmax(self.net().unembed(last), 1));
            let log_probs = log_probs.chunks_exact(log_probs.len() / count);
            let next: Vec<u32> =
                choosers.iter_mut().zip(log_probs).map(|(chooser, row)| chooser.choose(row)).collect();
            for (at, (row, &next)) in rows.iter_mut().zip(&next).enumerate() {
                let is_end = stop && self.spec().eos.contains(&next);
                row.push(next);
                let end = if is_end {
                    Some(row.len() - 1)
                } else {
                    Some(row.len()).filter(|&end| end == limits[at])
                };
                ends[at] = ends[at].or(end);
            }
            if ends.iter().zip(&rows).any(|(end, row)| end.is_none_or(|end| end == row.len())) {
                told(&rows)?;
            }
            let length = rows.first().map_or(0, Vec::len);
            // A prompt may fill the context by itself.
            if length >= self.spec().context {
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
