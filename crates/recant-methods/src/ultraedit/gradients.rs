//! Keys and gradients of some facts' tokens, at several layers, from one forward and one backward pass.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, activation};
use recant_backend::{host, upload_f32, upload_ints};
use recant_core::{Point, Site};
use recant_edit::{EditError, Request};
use recant_linalg::Rows;
use recant_model::{Flow, ForwardInput, Hook, Model, Observer, TokenBatch, gather_rows};

use crate::lesson::dictated;
use crate::region::block;

/// One fact as it is read: its tokens but the last, and what should stand behind which.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    ids: Vec<u32>,
    target: Vec<u32>,
}

impl Reading {
    /// # Errors
    /// [`EditError::Text`].
    pub(super) fn of(model: &Model, request: &Request) -> Result<Self, EditError> {
        Ok(Self { ids: dictated(model, request)?, target: request.target.clone() })
    }

    /// Where its target's tokens are asked for.
    fn places(&self, row: usize) -> impl Iterator<Item = (usize, usize)> {
        let first = self.ids.len().saturating_sub(self.target.len());
        (0..self.target.len()).map(move |at| (row, first + at))
    }
}

/// What one layer had at a fact's tokens: a row a token.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    /// h: inputs of the down-projection.
    pub(super) keys: Rows,
    /// g: gradients of the fact's loss by the down-projection's output.
    pub(super) gradients: Rows,
}

/// What was read of a fact.
#[derive(Debug, Clone)]
pub(super) struct Read {
    /// Its mean negative log-likelihood.
    pub(super) loss: f32,
    /// By layer.
    pub(super) layers: BTreeMap<usize, Tokens>,
}

/// Rows that share a pass, and tokens to which they are padded, so that a row's bits do not depend on its company.
const AT_ONCE: usize = 8;
const STEP: usize = 8;

/// Reads facts at some layers; `goes_on` hears how many are read.
///
/// # Errors
/// [`EditError::Input`], [`EditError::Layer`]; [`EditError::NonFinite`]; what `goes_on` says.
pub(super) fn read(
    model: &Model,
    layers: &[usize],
    facts: &[Reading],
    goes_on: &dyn Fn(usize) -> Result<(), EditError>,
) -> Result<Vec<Read>, EditError> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, fact) in facts.iter().enumerate() {
        groups.entry(fact.ids.len().next_multiple_of(STEP)).or_default().push(at);
    }
    let mut all: BTreeMap<usize, Read> = BTreeMap::new();
    for (width, members) in groups {
        for chunk in members.chunks(AT_ONCE) {
            goes_on(all.len())?;
            let facts: Vec<&Reading> = chunk.iter().map(|&at| &facts[at]).collect();
            all.extend(chunk.iter().copied().zip(together(model, layers, &facts, width)?));
        }
    }
    Ok(all.into_values().collect())
}

/// Adds a zero to the output of some MLPs, by which the loss is differentiated, and keeps the keys.
struct Taps {
    zeros: BTreeMap<Site, Tensor<3>>,
    keys: Observer,
}

impl Hook for Taps {
    fn wants(&self, site: Site) -> bool {
        self.zeros.contains_key(&site) || self.keys.wants(site)
    }

    fn visit(&mut self, site: Site, x: Tensor<3>) -> Flow {
        match self.zeros.get(&site) {
            Some(zero) => Flow::Continue(x + zero.clone()),
            None => self.keys.visit(site, x),
        }
    }
}

/// Facts whose rows share a pass.
fn together(
    model: &Model,
    layers: &[usize],
    facts: &[&Reading],
    width: usize,
) -> Result<Vec<Read>, EditError> {
    let (spec, device) = (model.spec(), model.device());
    let rows: Vec<Vec<u32>> = facts.iter().map(|fact| fact.ids.clone()).collect();
    let batch = TokenBatch::new(&rows, spec)?.at_least(width, spec);
    let tokens = batch.width();
    let sites = |point: Point| {
        let site = |&layer: &usize| block(model, layer).map(|block| Site::Block(block, point));
        layers.iter().map(site).collect::<Result<Vec<_>, _>>()
    };
    let (outs, keys) = (sites(Point::MlpOut)?, sites(Point::MlpKey)?);
    let zero = || {
        let zeros = Tensor::<3>::zeros([facts.len(), tokens, spec.d_model], device.tensors());
        zeros.autodiff().require_grad()
    };
    let mut taps = Taps {
        zeros: outs.iter().map(|&site| (site, zero())).collect(),
        keys: Observer::of(keys.iter().copied()),
    };
    let places: Vec<(usize, usize)> =
        facts.iter().enumerate().flat_map(|(row, fact)| fact.places(row)).collect();
    let missing = || EditError::Misfit { what: "the layers and the model" };
    let hidden = model.net().forward(ForwardInput::tokens(&batch, device), &mut taps).ok_or_else(missing)?;
    // The last block too is run at every token: it may be one that is written.
    let logits = model.net().unembed(gather_rows(hidden, &places, device));
    let wanted = facts.iter().flat_map(|fact| fact.target.iter().map(|id| id.cast_signed())).collect();
    let wanted = upload_ints(wanted, [places.len(), 1], device);
    let each = activation::log_softmax(logits, 1).gather(1, wanted);
    // Each fact's mean alone, so that its gradient is not its company's.
    let shares = facts.iter().flat_map(|fact| fact.target.iter().map(|_| -1.0 / fact.target.len() as f32));
    let shares: Vec<f32> = shares.collect();
    let losses = losses(facts, &host(&each), &shares)?;
    let weighted = each * upload_f32(shares, [places.len(), 1], device);
    let gradients = weighted.sum().backward();
    let mut read: Vec<Read> = losses.into_iter().map(|loss| Read { loss, layers: BTreeMap::new() }).collect();
    for ((&layer, out), key) in layers.iter().zip(&outs).zip(keys) {
        let gradient = taps.zeros.get(out).and_then(|zero| zero.grad(&gradients));
        let (gradient, keys) = gradient.zip(taps.keys.take(key)).ok_or_else(missing)?;
        let (gradient, keys) = (of_rows(facts, &gradient), of_rows(facts, &keys));
        for ((fact, keys), gradients) in read.iter_mut().zip(keys).zip(gradient) {
            let (keys, gradients) = keys.zip(gradients).ok_or_else(missing)?;
            fact.layers.insert(layer, Tokens { keys, gradients });
        }
    }
    Ok(read)
}

/// Each fact's mean negative log-likelihood.
fn losses(facts: &[&Reading], each: &[f32], shares: &[f32]) -> Result<Vec<f32>, EditError> {
    let mut parts = each.iter().zip(shares).map(|(each, share)| each * share);
    let loss = |fact: &&Reading| {
        let loss: f32 = parts.by_ref().take(fact.target.len()).sum();
        if loss.is_finite() { Ok(loss) } else { Err(EditError::NonFinite { step: 0, loss }) }
    };
    facts.iter().map(loss).collect()
}

/// The tokens of each row that are no padding, in f64.
fn of_rows(facts: &[&Reading], x: &Tensor<3>) -> Vec<Option<Rows>> {
    let [_, tokens, width] = x.dims();
    let numbers = host(x);
    let row = |(fact, row): (&&Reading, &[f32])| {
        let own = &row[..fact.ids.len() * width];
        Rows::new(width, own.iter().map(|&x| f64::from(x)).collect())
    };
    facts.iter().zip(numbers.chunks_exact(tokens * width)).map(row).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::path::Path;

    use recant_backend::{Device, DeviceSpec};
    use recant_edit::Fact;

    use super::*;

    fn model(name: &str) -> Model {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name);
        Model::open(&dir, &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
    }

    fn reading(model: &Model, subject: &str, target: &str) -> Reading {
        let fact = Fact::new(subject, "We saw that {} was", target).unwrap();
        Reading::of(model, &Request::new(model, &fact).unwrap()).unwrap()
    }

    /// Adds something to one number of an MLP's output.
    struct Nudge {
        site: Site,
        by: Tensor<3>,
    }

    impl Hook for Nudge {
        fn wants(&self, site: Site) -> bool {
            site == self.site
        }

        fn visit(&mut self, _: Site, x: Tensor<3>) -> Flow {
            Flow::Continue(x + self.by.clone())
        }
    }

    /// The loss of one fact, with a number of one token's output moved.
    fn loss(model: &Model, fact: &Reading, layer: u16, (token, number): (usize, usize), by: f32) -> f64 {
        let spec = model.spec();
        let batch = TokenBatch::new(std::slice::from_ref(&fact.ids), spec).unwrap();
        let mut nudge = vec![0.0; batch.width() * spec.d_model];
        nudge[token * spec.d_model + number] = by;
        let by = upload_f32(nudge, [1, batch.width(), spec.d_model], model.device());
        let mut hook = Nudge { site: Site::Block(layer, Point::MlpOut), by };
        let hidden = model.net().forward(ForwardInput::tokens(&batch, model.device()), &mut hook).unwrap();
        let logits = host(&model.net().unembed(hidden.reshape([batch.width(), spec.d_model])));
        let nll = |((_, place), &id): ((usize, usize), &u32)| {
            let row: Vec<f64> =
                logits[place * spec.vocab..(place + 1) * spec.vocab].iter().map(|&x| f64::from(x)).collect();
            let most = row.iter().copied().fold(f64::MIN, f64::max);
            row.iter().map(|x| (x - most).exp()).sum::<f64>().ln() + most - row[id as usize]
        };
        fact.places(0).zip(&fact.target).map(nll).sum::<f64>() / fact.target.len() as f64
    }

    /// Loss and gradients at two layers against the loss computed on the host and its slopes, on plain and on gated MLPs
    /// and where a norm stands behind them.
    #[test]
    fn gradients_are_slopes() {
        for name in ["gpt2-tiny", "llama-tiny-gqa", "gemma2-tiny"] {
            let model = model(name);
            let fact = reading(&model, "the cat", "old and tired");
            let read = read(&model, &[0, 1], std::slice::from_ref(&fact), &|_| Ok(())).unwrap().remove(0);
            let here = loss(&model, &fact, 0, (0, 0), 0.0);
            assert!((f64::from(read.loss) - here).abs() < 1e-4, "{name}: {} {here}", read.loss);
            for (layer, tokens) in &read.layers {
                assert_eq!(tokens.keys.count(), fact.ids.len());
                assert_eq!(tokens.gradients.count(), fact.ids.len());
                let largest =
                    |row: &[f64]| (0..row.len()).max_by(|&a, &b| row[a].abs().total_cmp(&row[b].abs()));
                for token in [1, fact.ids.len() - 1] {
                    let row = tokens.gradients.row(token);
                    let number = largest(row).unwrap();
                    let at = |by| loss(&model, &fact, *layer as u16, (token, number), by);
                    let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
                    assert!(
                        (slope - row[number]).abs() < 2e-2 * row[number].abs() + 1e-5,
                        "{name}, layer {layer}, token {token}: {slope} {}",
                        row[number]
                    );
                }
            }
        }
    }

    /// On a CPU what is read of a fact is the same bits in whatever company.
    #[test]
    fn company_does_not_matter() {
        let model = model("llama-tiny-gqa");
        let facts: Vec<Reading> = (0..11)
            .map(|i| reading(&model, &"the old cat ".repeat(1 + i % 3), ["cold", "old and tired"][i % 2]))
            .collect();
        let together = read(&model, &[0, 1], &facts, &|_| Ok(())).unwrap();
        for (fact, all) in facts.iter().zip(&together) {
            let alone = read(&model, &[0, 1], std::slice::from_ref(fact), &|_| Ok(())).unwrap().remove(0);
            assert_eq!(alone.loss.to_bits(), all.loss.to_bits());
            for (one, other) in alone.layers.values().zip(all.layers.values()) {
                assert_eq!((&one.keys, &one.gradients), (&other.keys, &other.gradients));
            }
        }
    }
}
