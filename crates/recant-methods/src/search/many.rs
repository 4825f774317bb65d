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

use burn::tensor::Tensor;
use recant_backend::{host, upload_f32};
use recant_edit::{EditError, Watch, Work};
use recant_model::{Model, ModelSpec, gather_rows};

use super::descent::descend;
use super::tail::{Frame, Tail};
use super::{Base, Found, Loss, SearchSettings, places};
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
            watch.tell(Work::Values, found.len(), facts.len())?;
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
                let hidden = host(&gather_rows(base.seen.resid.clone(), &at, model.device()));
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
        let at = |_, deltas: &Tensor<2>| {
            let log_probs = tail.log_probs_each(deltas.clone());
            let parts = |(fact, loss): (usize, &Loss)| {
                let (first, len) = self.span(fact);
                let delta = deltas.clone().narrow(0, fact, 1).reshape([width]);
                loss.of(delta, log_probs.clone().narrow(0, first, len))
            };
            losses.iter().enumerate().map(parts).collect()
        };
        descend(settings, &self.inits, device, 1, &|_| goes_on(), &at)
    }
}
