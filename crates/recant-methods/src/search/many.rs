//! The search for many facts in one graph.
//!
//! Facts are independent: the δ of one touches no row of another, and the gradient of the sum of their losses
//! holds each fact's own. So rows of many facts share every forward and backward pass, and a fact that is
//! done keeps its δ while the others go on.
//!
//! How facts are grouped must not decide what is found. Rows are padded to widths that depend on the fact
//! alone, and only facts of one width share a pass; a matrix product computes each row from that row, so on a
//! CPU a fact's δ is the same, bit for bit, in whatever company it is searched (a test holds this for `flex`;
//! other devices, and kernels chosen by the number of rows, are held to 1e-4).

use std::collections::BTreeMap;

use burn::optim::{AdamConfig, Optimizer};
use burn::tensor::Tensor;
use recant_backend::{host, upload_f32};
use recant_edit::{EditError, LossStep, Watch, Work};
use recant_model::{Model, ModelSpec, gather_rows};

use super::tail::{Frame, Tail};
use super::{Base, Found, Loss, SearchSettings, clamp, norm, places};
use crate::lookup::{FactRows, Row};

/// What δ is added to, and so what its length is measured by. The residual stream behind the layer is the
/// same either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inject {
    /// The MLP's output (ROME).
    MlpOut,
    /// The block's output (MEMIT and its relatives).
    ResidPost,
}

/// Prefixes and rows are padded to a multiple of this many tokens.
const PREFIX_STEP: usize = 8;
/// What follows the lookup token is padded to a multiple of this many tokens.
const TAIL_STEP: usize = 4;

/// Searches a δ for every fact at `layer`, in groups whose graphs stay below `max_bytes` by estimate, but of
/// at least one fact. `watch` hears at each step how many facts are done.
///
/// # Errors
/// [`EditError::Layer`], [`EditError::Input`]; [`EditError::NonFinite`] when a loss stops being a number;
/// [`EditError::Cancelled`].
pub fn search_many(
    settings: SearchSettings,
    model: &Model,
    layer: usize,
    facts: &[FactRows],
    inject: Inject,
    max_bytes: usize,
    watch: &dyn Watch,
) -> Result<Vec<Found>, EditError> {
    let mut groups: BTreeMap<(Frame, usize, usize), Vec<usize>> = BTreeMap::new();
    for (at, rows) in facts.iter().enumerate() {
        let (frame, tokens) = frame(rows, model.spec());
        groups.entry((frame, tokens, rows.all().count())).or_default().push(at);
    }
    let mut found: BTreeMap<usize, Found> = BTreeMap::new();
    for ((frame, tokens, rows), members) in groups {
        let targets = members.iter().map(|&at| facts[at].target.len()).max().unwrap_or(1);
        let a_row = row_bytes(model.spec(), layer, frame, targets);
        let together = (max_bytes / a_row.saturating_mul(rows).max(1)).max(1);
        for chunk in members.chunks(together) {
            let rows: Vec<&FactRows> = chunk.iter().map(|&at| &facts[at]).collect();
            let group = Group::observe(model, layer, rows, tokens, inject)?;
            let step = || watch.tell(Work::Values, found.len(), facts.len());
            let of_group = group.search(settings, model, frame, &step)?;
            found.extend(chunk.iter().copied().zip(of_group));
        }
    }
    watch.tell(Work::Values, found.len(), facts.len())?;
    Ok(found.into_values().collect())
}

/// The frame of a fact's rows and their padded length, from the fact alone.
fn frame(rows: &FactRows, spec: &ModelSpec) -> (Frame, usize) {
    let all: Vec<Row> = rows.all().cloned().collect();
    let Frame { prefix, width } = Frame::around(&all, &places(rows));
    let tokens = all.iter().map(|row| row.ids.len()).max().unwrap_or(1);
    // A prefix is cut from rows of `tokens` tokens and cannot be longer.
    let tokens = tokens.next_multiple_of(PREFIX_STEP).min(spec.context);
    let frame = Frame {
        prefix: prefix.next_multiple_of(PREFIX_STEP).min(tokens),
        width: width.next_multiple_of(TAIL_STEP),
    };
    (frame, tokens)
}

/// Bytes that one row adds to a search's graph, by counting what autodiff keeps: about sixteen vectors of the
/// residual stream's width and six of the MLP's for each token and layer, three attention matrices for each
/// head, the cached prefix, and four rows of logits for every place that is read.
#[must_use]
fn row_bytes(spec: &ModelSpec, layer: usize, frame: Frame, targets: usize) -> usize {
    let Frame { prefix, width } = frame;
    let above = spec.layers - layer.min(spec.layers);
    let a_layer = width * (16 * spec.d_model + 6 * spec.hidden_width())
        + 3 * spec.heads * width * (prefix + width)
        + 2 * prefix * spec.kv_heads * spec.head_dim;
    4 * (above * a_layer + 4 * targets * spec.vocab)
}

/// Facts that share a pass.
struct Group<'a> {
    facts: Vec<&'a FactRows>,
    base: Base,
    /// First row and first place of each fact.
    starts: Vec<(usize, usize)>,
    places: Vec<(usize, usize)>,
    owner: Vec<usize>,
    /// What δ is added to at each fact's first row.
    inits: Vec<Vec<f32>>,
}

impl<'a> Group<'a> {
    fn observe(
        model: &Model,
        layer: usize,
        facts: Vec<&'a FactRows>,
        tokens: usize,
        inject: Inject,
    ) -> Result<Self, EditError> {
        let (mut rows, mut all_places, mut owner) = (Vec::new(), Vec::new(), Vec::new());
        let mut starts = Vec::with_capacity(facts.len());
        for (at, fact) in facts.iter().enumerate() {
            let first = rows.len();
            starts.push((first, all_places.len()));
            all_places.extend(places(fact).into_iter().map(|(row, token)| (first + row, token)));
            rows.extend(fact.all().cloned());
            owner.resize(rows.len(), at);
        }
        let base = Base::over(model, layer, rows, tokens)?;
        let first_rows = starts.iter().map(|&(row, _)| row);
        let inits = match inject {
            Inject::MlpOut => first_rows.map(|row| base.outputs[row].clone()).collect(),
            Inject::ResidPost => {
                let at: Vec<(usize, usize)> = first_rows.map(|row| (row, base.rows[row].lookup)).collect();
                let hidden = host(&gather_rows(base.resid_post.clone(), &at, model.device()));
                hidden.chunks_exact(model.spec().d_model).map(<[f32]>::to_vec).collect()
            }
        };
        Ok(Self { facts, base, starts, places: all_places, owner, inits })
    }

    /// The places of one fact among all.
    fn span(&self, fact: usize) -> (usize, usize) {
        let first = self.starts[fact].1;
        let end = self.starts.get(fact + 1).map_or(self.places.len(), |&(_, place)| place);
        (first, end - first)
    }

    /// `goes_on` is asked before each step.
    fn search(
        &self,
        settings: SearchSettings,
        model: &Model,
        frame: Frame,
        goes_on: &dyn Fn() -> Result<(), EditError>,
    ) -> Result<Vec<Found>, EditError> {
        let device = model.device();
        let tail = Tail::framed(model, &self.base, &self.places, frame, self.owner.clone());
        let (count, width) = (self.facts.len(), model.spec().d_model);
        let start = upload_f32(vec![0.0; count * width], [count, width], device);
        let before = tail.log_probs_each(start);
        let loss = |fact: usize| {
            let (first, len) = self.span(fact);
            let before = before.clone().narrow(0, first, len);
            Loss::given(settings, self.facts[fact], &self.inits[fact], before, device)
        };
        let losses: Vec<Loss> = (0..count).map(loss).collect();
        let mut walk = Walk::new(settings, &self.inits);
        let adam = AdamConfig::new().with_epsilon(1e-8).build();
        let mut state = None;
        for step in 0..settings.v_num_grad_steps {
            goes_on()?;
            let last = step + 1 == settings.v_num_grad_steps;
            let place: Tensor<2> = upload_f32(walk.deltas.clone(), [count, width], device);
            let leaf = if last { place.clone() } else { place.clone().autodiff().require_grad() };
            let log_probs = tail.log_probs_each(leaf.clone());
            let parts = |(fact, loss): (usize, &Loss)| {
                let (first, len) = self.span(fact);
                let delta = leaf.clone().narrow(0, fact, 1).reshape([width]);
                let parts = loss.of(delta, log_probs.clone().narrow(0, first, len));
                let [nll, kl, decay] = parts.parts;
                (parts.total.clone(), Tensor::cat(vec![parts.total, nll, kl, decay], 0))
            };
            let (totals, steps): (Vec<_>, Vec<_>) = losses.iter().enumerate().map(parts).unzip();
            let now = host(&Tensor::cat(steps, 0));
            if walk.record(step, now.as_chunks::<4>().0)? || last {
                break;
            }
            let grads = Tensor::cat(totals, 0).sum().backward();
            let gradient = leaf.grad(&grads).map(|grad| host(&grad)).unwrap_or_default();
            let gradient: Tensor<2> = upload_f32(walk.masked(gradient), [count, width], device);
            let (moved, next) = adam.step(settings.v_lr, place, gradient, state);
            state = next;
            walk.step(&host(&moved));
        }
        Ok(walk.found(&self.inits))
    }
}

/// Where every fact's δ is, and which facts are done.
struct Walk {
    settings: SearchSettings,
    width: usize,
    deltas: Vec<f32>,
    done: Vec<bool>,
    losses: Vec<Vec<LossStep>>,
    bounds: Vec<f64>,
}

impl Walk {
    fn new(settings: SearchSettings, inits: &[Vec<f32>]) -> Self {
        let width = inits.first().map_or(0, Vec::len);
        Self {
            settings,
            width,
            deltas: vec![0.0; inits.len() * width],
            done: vec![false; inits.len()],
            losses: vec![Vec::new(); inits.len()],
            bounds: inits.iter().map(|init| settings.clamp_norm_factor * norm(init)).collect(),
        }
    }

    /// Takes down the losses of the facts that are still on their way; true when none is left.
    fn record(&mut self, step: usize, now: &[LossStep]) -> Result<bool, EditError> {
        for ((loss, done), past) in now.iter().zip(&mut self.done).zip(&mut self.losses) {
            if *done {
                continue;
            }
            if !loss[0].is_finite() {
                return Err(EditError::NonFinite { step, loss: loss[0] });
            }
            past.push(*loss);
            *done = f64::from(loss[0]) < self.settings.early_stop;
        }
        Ok(self.done.iter().all(|&done| done))
    }

    /// The gradient without the facts that are done.
    fn masked(&self, mut gradient: Vec<f32>) -> Vec<f32> {
        gradient.resize(self.deltas.len(), 0.0);
        for (part, _) in gradient.chunks_exact_mut(self.width).zip(&self.done).filter(|(_, done)| **done) {
            part.fill(0.0);
        }
        gradient
    }

    /// Moves the facts that are not done, within their bounds.
    fn step(&mut self, moved: &[f32]) {
        let facts = self.deltas.chunks_exact_mut(self.width).zip(moved.chunks_exact(self.width));
        for (((delta, moved), done), &bound) in facts.zip(&self.done).zip(&self.bounds) {
            if *done {
                continue;
            }
            delta.copy_from_slice(moved);
            clamp(delta, bound);
        }
    }

    fn found(self, inits: &[Vec<f32>]) -> Vec<Found> {
        let deltas = self.deltas.chunks_exact(self.width.max(1));
        let each = deltas.zip(inits).zip(self.losses);
        each.map(|((delta, init), losses)| Found { delta: delta.to_vec(), init: init.clone(), losses })
            .collect()
    }
}
