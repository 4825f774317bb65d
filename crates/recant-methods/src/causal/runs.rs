//! The clean run, the corrupted one, and those in which something clean is put back.
//!
//! A restored state at token `i` moves nothing before `i` and nothing below its block: a restored run begins at the
//! block and at the token, and looks back at the corrupted run's keys and values.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{Tensor, activation};
use recant_backend::{host, upload_ints};
use recant_core::{Point, Site};
use recant_edit::RequestError;
use recant_model::{
    Flow, ForwardInput, Hook, KvCache, Model, Observer, Past, Positions, Source, TokenBatch, gather_rows,
};

use super::CausalError;
use super::corrupt::Corrupt;

fn site(block: usize, point: Point) -> Site {
    Site::Block(block as u16, point)
}

/// Tensors of each block, in order.
fn take(observer: &mut Observer, layers: usize, point: Point) -> Option<Vec<Tensor<3>>> {
    (0..layers).map(|block| observer.take(site(block, point))).collect()
}

/// The run on the prompt as it is.
pub(super) struct Clean {
    /// The prompt, followed by the target without its last token.
    pub(super) ids: Vec<u32>,
    /// The target's tokens.
    pub(super) target: Vec<u32>,
    /// Where the prompt's last token is: the model's answer stands behind it.
    last: usize,
    /// Probability of the target.
    pub(super) probability: f64,
    /// What leaves each block, what its MLP adds and what attention adds, each `[1, tokens, d_model]`.
    states: Vec<Tensor<3>>,
    mlp: Vec<Tensor<3>>,
    attention: Vec<Tensor<3>>,
}

impl Clean {
    /// Without a target that is the most probable next token, the lowest of equals. `None` when the model's numbers are
    /// not finite.
    pub(super) fn run(
        model: &Model,
        prompt: &[u32],
        target: Option<Vec<u32>>,
    ) -> Result<Option<Self>, CausalError> {
        let (layers, context) = (model.spec().layers, model.spec().context);
        let behind = target.as_deref().and_then(<[u32]>::split_last).map_or(&[][..], |(_, others)| others);
        let ids = [prompt, behind].concat();
        if ids.len() > context {
            return Err(RequestError::TooLong { tokens: ids.len(), context }.into());
        }
        let batch = TokenBatch::new(std::slice::from_ref(&ids), model.spec())?;
        let points = [Point::ResidPost, Point::MlpAdd, Point::AttnOut];
        let sites = (0..layers).flat_map(|block| points.map(|point| site(block, point)));
        let mut observer = Observer::of(sites);
        let hidden = model.net().forward(ForwardInput::tokens(&batch, model.device()), &mut observer);
        let last = prompt.len() - 1;
        let parts = points.map(|point| take(&mut observer, layers, point));
        let (Some(hidden), [Some(states), Some(mlp), Some(attention)]) = (hidden, parts) else {
            return Ok(None);
        };
        let Some(target) = target.or_else(|| best(model, hidden.clone(), last)) else { return Ok(None) };
        let Some(probability) = probability(model, hidden, last, &target) else { return Ok(None) };
        Ok(Some(Self { ids, target, last, probability, states, mlp, attention }))
    }
}

/// The most probable token behind a place.
fn best(model: &Model, hidden: Tensor<3>, place: usize) -> Option<Vec<u32>> {
    let logits = host(&model.net().unembed(gather_rows(hidden, &[(0, place)], model.device())));
    let best = logits.iter().enumerate().filter(|(_, x)| !x.is_nan());
    let best = best.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    Some(vec![best.0 as u32])
}

/// The probability of a target whose first token is asked for behind `place`, mean over the rows of
/// `hidden` `[rows, tokens, d_model]`. `None` when it is not finite.
fn probability(model: &Model, hidden: Tensor<3>, place: usize, target: &[u32]) -> Option<f64> {
    let each = probabilities(model, hidden, place, target);
    let mean = each.iter().sum::<f64>() / each.len() as f64;
    mean.is_finite().then_some(mean)
}

/// The same of each row.
fn probabilities(model: &Model, hidden: Tensor<3>, place: usize, target: &[u32]) -> Vec<f64> {
    let (rows, device) = (hidden.dims()[0], model.device());
    let places: Vec<(usize, usize)> =
        (0..rows).flat_map(|row| (0..target.len()).map(move |at| (row, place + at))).collect();
    let logits = model.net().unembed(gather_rows(hidden, &places, device));
    let ids = target.iter().cycle().take(places.len()).map(|id| id.cast_signed()).collect();
    let own = activation::log_softmax(logits, 1).gather(1, upload_ints(ids, [places.len(), 1], device));
    let whole = |row: &[f32]| row.iter().map(|&x| f64::from(x)).sum::<f64>().exp();
    host(&own).chunks_exact(target.len()).map(whole).collect()
}

/// Adds to the embeddings, and keeps what enters and leaves the blocks.
struct Shifted<'a> {
    shift: &'a Tensor<3>,
    observer: Observer,
}

impl Hook for Shifted<'_> {
    fn wants(&self, site: Site) -> bool {
        site == Site::Embed || self.observer.wants(site)
    }

    fn visit(&mut self, site: Site, x: Tensor<3>) -> Flow {
        match site {
            Site::Embed => Flow::Continue(x + self.shift.clone()),
            site => self.observer.visit(site, x),
        }
    }
}

/// The runs on the corrupted prompt, a row a sample.
pub(super) struct Corrupted {
    /// What enters each block, `[samples, tokens, d_model]`, and what leaves the last one.
    entering: Vec<Tensor<3>>,
    cache: KvCache,
    samples: usize,
    /// Probability of the target, mean over the samples.
    pub(super) probability: f64,
}

impl Corrupted {
    /// `None` when the model's numbers are not finite.
    pub(super) fn run(model: &Model, clean: &Clean, corrupt: &Corrupt) -> Option<Self> {
        let Corrupt { shift, samples } = corrupt;
        let (layers, samples) = (model.spec().layers, *samples);
        let batch = TokenBatch::new(&vec![clean.ids.clone(); samples], model.spec()).ok()?;
        let last = site(layers.checked_sub(1)?, Point::ResidPost);
        let entering = (0..layers).map(|block| site(block, Point::ResidPre));
        let mut hook = Shifted { shift, observer: Observer::of(entering.chain([last])) };
        let mut cache = KvCache::default();
        let input = ForwardInput::tokens(&batch, model.device()).keeping(&mut cache);
        let hidden = model.net().forward(input, &mut hook)?;
        let mut entering = take(&mut hook.observer, layers, Point::ResidPre)?;
        entering.push(hook.observer.take(last)?);
        let probability = probability(model, hidden, clean.last, &clean.target)?;
        Some(Self { entering, cache, samples, probability })
    }

    /// The runs from a token on.
    pub(super) fn tail(&self, position: usize) -> Tail<'_> {
        let past = |twice: bool| {
            let cache = self.cache.prefix(position, 0);
            let cache = if twice { cache.repeated(2) } else { cache };
            (position > 0).then_some(Past { cache, lengths: None })
        };
        Tail { of: self, position, past: past(false), past_of_two: past(true) }
    }
}

/// The corrupted runs from a token on, in which something of that token is restored.
pub(super) struct Tail<'a> {
    of: &'a Corrupted,
    position: usize,
    past: Option<Past>,
    /// The same for two of each row.
    past_of_two: Option<Past>,
}

impl Tail<'_> {
    /// What enters a block from the token on, `[samples, tokens, d_model]`.
    fn entering(&self, block: usize) -> Tensor<3> {
        let x = self.of.entering[block].clone();
        let behind = x.dims()[1] - self.position;
        x.narrow(1, self.position, behind)
    }

    /// What the clean run has at the token, for so many rows.
    fn clean(&self, x: &Tensor<3>, rows: usize) -> Tensor<3> {
        let width = x.dims()[2];
        x.clone().narrow(1, self.position, 1).expand([rows, 1, width])
    }

    /// The probability of the target where what leaves a block at the token is the clean run's.
    pub(super) fn state(&self, model: &Model, clean: &Clean, layer: usize) -> Option<f64> {
        let put = self.clean(&clean.states[layer], self.of.samples);
        let x = with_first(self.entering(layer + 1), put);
        let hidden = self.forward(model, layer + 1, x, self.past.clone(), &mut recant_model::NoHook)?;
        probability(model, hidden, clean.last - self.position, &clean.target)
    }

    /// The same where what MLPs of some blocks add is the clean run's, and where what their attention adds is: the
    /// samples of both are rows of one pass.
    pub(super) fn windows(&self, model: &Model, clean: &Clean, blocks: Range<usize>) -> Option<[f64; 2]> {
        let (samples, from) = (self.of.samples, blocks.start);
        let half = |parts: &[Tensor<3>], point, first| {
            let block = |block: usize| {
                let put = self.clean(&parts[block], samples);
                (site(block, point), Put { rows: first..first + samples, x: put })
            };
            blocks.clone().map(block).collect::<Vec<_>>()
        };
        let mlp = half(&clean.mlp, Point::MlpAdd, 0);
        let attention = half(&clean.attention, Point::AttnOut, samples);
        let mut hook = Restore(mlp.into_iter().chain(attention).collect());
        let x = self.entering(from);
        let both = Tensor::cat(vec![x.clone(), x], 0);
        let hidden = self.forward(model, from, both, self.past_of_two.clone(), &mut hook)?;
        let each = probabilities(model, hidden, clean.last - self.position, &clean.target);
        let (mlp, attention) = each.split_at(samples);
        let mean = |each: &[f64]| each.iter().sum::<f64>() / samples as f64;
        let both = [mean(mlp), mean(attention)];
        both.iter().all(|x| x.is_finite()).then_some(both)
    }

    fn forward(
        &self,
        model: &Model,
        block: usize,
        x: Tensor<3>,
        past: Option<Past>,
        hook: &mut dyn Hook,
    ) -> Option<Tensor<3>> {
        let (source, positions) = (Source::Residual { block, x }, Positions::From(self.position));
        model.net().forward(ForwardInput { source, positions, past, keep: None, only: None }, hook)
    }
}

/// `x` `[rows, tokens, width]` with another first token `[rows, 1, width]`.
fn with_first(x: Tensor<3>, first: Tensor<3>) -> Tensor<3> {
    let tokens = x.dims()[1];
    match tokens {
        1 => first,
        _ => Tensor::cat(vec![first, x.narrow(1, 1, tokens - 1)], 1),
    }
}

/// What stands at the first token of some rows instead.
struct Put {
    rows: Range<usize>,
    /// `[rows, 1, d_model]`.
    x: Tensor<3>,
}

/// Puts clean activations into corrupted runs.
struct Restore(BTreeMap<Site, Put>);

impl Hook for Restore {
    fn wants(&self, site: Site) -> bool {
        self.0.contains_key(&site)
    }

    fn visit(&mut self, site: Site, x: Tensor<3>) -> Flow {
        let Some(Put { rows, x: put }) = self.0.remove(&site) else { return Flow::Continue(x) };
        let own = with_first(x.clone().narrow(0, rows.start, rows.len()), put);
        let others = [0..rows.start, rows.end..x.dims()[0]];
        let [before, behind] =
            others.map(|rows| (!rows.is_empty()).then(|| x.clone().narrow(0, rows.start, rows.len())));
        let parts: Vec<_> = [before, Some(own), behind].into_iter().flatten().collect();
        Flow::Continue(Tensor::cat(parts, 0))
    }
}
