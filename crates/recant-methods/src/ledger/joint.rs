//! Joint values: the residuals of all facts, searched together through the model.
//!
//! With keys fixed, ΔW = R (I + G)⁻¹ Kᵀ B⁻¹ is linear in R. Searched one by one, values are right for a model
//! with one edit; written together they meet each other at every token that looks like two subjects. So R is
//! searched as a whole, at all layers of the ledger at once, under
//!
//! ```math
//! L(R) = \frac1N\sum_i \mathrm{NLL}_i + w_e \mathrm{KL}_i + w_p \sum_l
//! \frac{\mathrm{tr}(\Delta W_l C_l \Delta W_l^\top)}{\mathrm{tr}(W_l C_l W_l^\top)}
//! ```
//!
//! where ΔW acts on every token of every row, as it will, and the last term is how much ordinary answers of
//! the layer move; with `preserve`, [`super::preserve`] adds a term on ordinary text. It starts at the values that the facts have alone, shared out over the layers, and takes facts
//! in canonical order on the base model, so the result is a function of the set.

use burn::tensor::{Tensor, activation};
use recant_backend::{Device, host, upload_f32, upload_ints};
use recant_core::{Point, Site};
use recant_edit::{EditError, LossStep, StatisticsError, Watch, Work};
use recant_linalg::Rows;
use recant_model::{Flow, ForwardInput, Hook, Model, Slot, TokenBatch, gather_rows};

use super::LedgerEditor;
use super::gram::Gram;
use super::preserve::Kept;
use super::settings::LedgerSettings;
use crate::descent::Descent;
use crate::lookup::{FactRows, Row};
use crate::region::no_matrix;
use crate::rome::Covariance;
use crate::search::places;

/// What stays constant at one layer while R moves.
pub(super) struct LayerForm {
    layer: usize,
    /// Kᵀ B⁻¹ turned: `[d_mlp, n]`.
    images: Tensor<2>,
    /// (I + G)⁻¹, `[n, n]`.
    inverse: Tensor<2>,
    /// (Kᵀ B⁻¹) C (B⁻¹ K) / tr(W C Wᵀ), `[n, n]`: the penalty as a quadratic form of (I + G)⁻¹R.
    spread: Tensor<2>,
}

/// Adds ΔW k to the MLP's output wherever k is its input.
struct AddForms<'a> {
    forms: &'a [LayerForm],
    /// (I + G)⁻¹ R of each layer, `[n, d_model]`.
    left: &'a [Tensor<2>],
    key: Option<Tensor<3>>,
}

impl AddForms<'_> {
    fn at(&self, site: Site) -> Option<(usize, Point)> {
        let Site::Block(block, point @ (Point::MlpKey | Point::MlpOut)) = site else { return None };
        let at = self.forms.iter().position(|form| form.layer == usize::from(block))?;
        Some((at, point))
    }
}

impl Hook for AddForms<'_> {
    fn wants(&self, site: Site) -> bool {
        self.at(site).is_some()
    }

    fn visit(&mut self, site: Site, x: Tensor<3>) -> Flow {
        match (self.at(site), self.key.take()) {
            (Some((_, Point::MlpKey)), _) => {
                self.key = Some(x.clone());
                Flow::Continue(x)
            }
            (Some((at, _)), Some(key)) => {
                let [rows, tokens, width] = key.dims();
                let seen = key.reshape([rows * tokens, width]).matmul(self.forms[at].images.clone());
                let added = seen.matmul(self.left[at].clone());
                let shape = x.dims();
                Flow::Continue(x + added.reshape(shape))
            }
            _ => Flow::Continue(x),
        }
    }
}

/// Rows that share a pass.
struct Chunk {
    batch: TokenBatch,
    /// Places that predict targets, then the essence places.
    places: Vec<(usize, usize)>,
    /// Target token and weight of every predicting place.
    targets: Vec<(u32, f32)>,
    /// Log-probabilities at the essence places before the edit, `[essences, vocab]`.
    essence_before: Option<Tensor<2>>,
}

/// The residuals of every layer, a row a fact in the order of `facts`, and the loss at each step.
///
/// # Errors
/// [`EditError`]; [`EditError::NonFinite`] when the loss stops being a number.
pub(super) fn search(
    editor: &LedgerEditor,
    model: &Model,
    facts: &[FactRows],
    grams: &[(usize, &Gram)],
    start: &[Rows],
    mut kept: Vec<Kept>,
    watch: &dyn Watch,
) -> Result<(Vec<Rows>, Vec<LossStep>), EditError> {
    let LedgerEditor { settings, covariance, .. } = editor;
    let (device, width) = (model.device(), model.spec().d_model);
    let forms = grams
        .iter()
        .map(|(layer, gram)| form(model, *layer, gram, covariance, settings))
        .collect::<Result<Vec<_>, _>>()?;
    let mut chunks = chunks(model, facts, settings)?;
    let nothing = zero_left(&forms, facts.len(), width, device);
    kept.iter_mut().for_each(|kept| kept.look(model, &forms, &nothing));
    for chunk in &mut chunks {
        let before = read_at(model, &chunk.batch, &chunk.places, &forms, &nothing);
        let essences = chunk.places.len() - chunk.targets.len();
        chunk.essence_before = (essences > 0).then(|| before.narrow(0, chunk.targets.len(), essences));
    }
    let count = facts.len();
    let shape = [count, width];
    #[expect(clippy::cast_possible_truncation, reason = "the device computes in f32")]
    let up = |rows: &Rows| upload_f32(rows.data().iter().map(|&x| x as f32).collect(), shape, device);
    let mut values: Vec<Descent<2>> = start.iter().map(|rows| Descent::from(up(rows))).collect();
    let mut losses = Vec::with_capacity(settings.joint_steps);
    let passes = chunks.len() + kept.len() + 1;
    for step in 0..settings.joint_steps {
        let mut sums = vec![vec![0.0f32; count * width]; forms.len()];
        let mut told = [0.0f32; 4];
        for at in 0..passes {
            watch.tell(Work::Joint, step * passes + at, settings.joint_steps * passes)?;
            let leaves: Vec<Tensor<2>> = values.iter().map(Descent::leaf).collect();
            let left: Vec<Tensor<2>> = forms
                .iter()
                .zip(&leaves)
                .map(|(form, leaf)| form.inverse.clone().matmul(leaf.clone()))
                .collect();
            // What is to be kept and the penalty are more parts of the sum, behind those of the rows.
            let (loss, parts) = match (chunks.get(at), at.checked_sub(chunks.len())) {
                (Some(chunk), _) => rows_loss(model, chunk, &forms, &left, settings, count),
                (None, Some(at)) if at < kept.len() => kept[at].loss(model, &forms, &left),
                _ => penalty(&forms, &left, settings),
            };
            let now = host(&parts);
            told.iter_mut().zip(&now).for_each(|(total, part)| *total += part);
            if !now.iter().all(|x| x.is_finite()) {
                return Err(EditError::NonFinite { step, loss: now[0] });
            }
            let grads = loss.backward();
            for (leaf, sum) in leaves.iter().zip(&mut sums) {
                let gradient = leaf.grad(&grads).map(|grad| host(&grad)).unwrap_or_default();
                sum.iter_mut().zip(gradient).for_each(|(total, part)| *total += part);
            }
        }
        losses.push(told);
        let rate = settings.joint_lr * schedule(step, settings.joint_steps);
        for (value, sum) in values.iter_mut().zip(sums) {
            value.step(rate, upload_f32(sum, shape, device));
        }
    }
    let rows = |value: &Tensor<2>| Rows::new(width, host(value).into_iter().map(f64::from).collect());
    let empty = || EditError::FactCount { method: "ledger".to_owned(), count: 0 };
    let values =
        values.iter().map(|value| rows(value.value()).ok_or_else(empty)).collect::<Result<_, _>>()?;
    Ok((values, losses))
}

/// The rate falls linearly to a tenth over the second half: what is found should not swing at the end.
fn schedule(step: usize, steps: usize) -> f64 {
    let past = (step as f64 / steps.max(1) as f64 - 0.5).max(0.0);
    1.0 - 1.8 * past
}

fn zero_left(forms: &[LayerForm], count: usize, width: usize, device: &Device) -> Vec<Tensor<2>> {
    forms.iter().map(|_| upload_f32(vec![0.0; count * width], [count, width], device)).collect()
}

fn form(
    model: &Model,
    layer: usize,
    gram: &Gram,
    covariance: &Covariance,
    settings: &LedgerSettings,
) -> Result<LayerForm, EditError> {
    let device = model.device();
    let refuse = || EditError::FactCount { method: "ledger".to_owned(), count: 0 };
    let images = gram.images().ok_or_else(refuse)?;
    let n = images.count();
    let inverse = gram.factor()?.inverse();
    let weight = model.weight(Slot::MlpDown(layer)).ok_or_else(|| no_matrix(model, layer))?;
    let ordinary = ordinary_answers(&host(&weight), layer, covariance)?;
    // B⁻¹CB⁻¹ = B⁻¹/λ for B = λC, so the form is G/λ; with λₙ in B it is a little less, and G/λ bounds it.
    let scale = 1.0 / (settings.batch.mom2_update_weight * ordinary);
    #[expect(clippy::cast_possible_truncation, reason = "the device computes in f32")]
    let narrow = |x: &[f64], by: f64| x.iter().map(|x| (x * by) as f32).collect::<Vec<f32>>();
    Ok(LayerForm {
        layer,
        images: upload_f32(images.columns_f32(), [images.width(), n], device),
        inverse: upload_f32(narrow(&inverse, 1.0), [n, n], device),
        spread: upload_f32(narrow(&gram.matrix(), scale), [n, n], device),
    })
}

/// tr(W C Wᵀ) = E‖W k‖² of W `[d_model, d_mlp]`.
fn ordinary_answers(weight: &[f32], layer: usize, covariance: &Covariance) -> Result<f64, EditError> {
    let Covariance::Measured(base) = covariance else {
        return Ok(weight.iter().map(|&x| f64::from(x) * f64::from(x)).sum());
    };
    let moments = base.moments();
    let c = moments
        .mean(layer)
        .ok_or_else(|| StatisticsError::Layer { layer, known: moments.layers().collect() })?;
    let d = c.len().isqrt();
    let of_row = |row: &[f32]| -> f64 {
        let wide: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        let dot = recant_linalg::canonical::dot;
        c.chunks_exact(d).zip(&wide).map(|(c_row, w)| w * dot(c_row, &wide)).sum()
    };
    Ok(weight.chunks_exact(d).map(of_row).sum())
}

fn chunks(model: &Model, facts: &[FactRows], settings: &LedgerSettings) -> Result<Vec<Chunk>, EditError> {
    let spec = model.spec();
    let all = |fact: &FactRows| fact.rewriting.iter().chain([&fact.essence]).cloned().collect::<Vec<Row>>();
    let tokens = facts.iter().flat_map(&all).map(|row| row.ids.len()).max().unwrap_or(1);
    let rows_a_fact = facts.iter().map(|fact| fact.rewriting.len() + 1).max().unwrap_or(1);
    let together = (settings.rows_together(spec, tokens, 1) / rows_a_fact).max(1);
    let chunk = |facts: &[FactRows]| {
        let (mut rows, mut predicting, mut essences) = (Vec::new(), Vec::new(), Vec::new());
        let mut targets = Vec::new();
        for fact in facts {
            let first = rows.len();
            let mut read = places(fact);
            essences.extend(read.pop().map(|(row, token)| (first + row, token)));
            let share = 1.0 / read.len().max(1) as f32;
            targets.extend(fact.rewriting.iter().flat_map(|_| fact.target.iter().map(|&id| (id, share))));
            predicting.extend(read.into_iter().map(|(row, token)| (first + row, token)));
            rows.extend(all(fact).into_iter().map(|row| row.ids));
        }
        predicting.extend(essences);
        let batch = TokenBatch::new(&rows, spec)?;
        Ok(Chunk { batch, places: predicting, targets, essence_before: None })
    };
    facts.chunks(together).map(chunk).collect()
}

/// Log-probabilities at places of a batch with the forms added, `[places, vocab]`.
pub(super) fn read_at(
    model: &Model,
    batch: &TokenBatch,
    places: &[(usize, usize)],
    forms: &[LayerForm],
    left: &[Tensor<2>],
) -> Tensor<2> {
    let device = model.device();
    let mut hook = AddForms { forms, left, key: None };
    match model.net().forward(ForwardInput::tokens(batch, device), &mut hook) {
        Some(hidden) => activation::log_softmax(model.net().unembed(gather_rows(hidden, places, device)), 1),
        // `AddForms` never stops a pass.
        None => Tensor::zeros([places.len(), model.spec().vocab], device.tensors()),
    }
}

/// Loss of the rows of a chunk, and `[total, nll, kl, 0]`.
fn rows_loss(
    model: &Model,
    chunk: &Chunk,
    forms: &[LayerForm],
    left: &[Tensor<2>],
    settings: &LedgerSettings,
    facts: usize,
) -> (Tensor<1>, Tensor<1>) {
    let device = model.device();
    let read = read_at(model, &chunk.batch, &chunk.places, forms, left);
    let count = chunk.targets.len();
    let ids = upload_ints(chunk.targets.iter().map(|(id, _)| id.cast_signed()).collect(), [count, 1], device);
    let shares = chunk.targets.iter().map(|(_, share)| share / facts as f32).collect();
    let shares: Tensor<2> = upload_f32(shares, [count, 1], device);
    let nll = -(read.clone().narrow(0, 0, count).gather(1, ids) * shares).sum();
    let kl = match &chunk.essence_before {
        Some(before) => {
            let essences = chunk.places.len() - count;
            let now = read.narrow(0, count, essences);
            (now.clone().exp() * (now - before.clone())).sum() * (settings.essence / facts as f64)
        }
        None => nll.clone() * 0.0,
    };
    let total = nll.clone() + kl.clone();
    let none = nll.clone() * 0.0;
    (total.clone(), Tensor::cat(vec![total, nll, kl, none], 0))
}

/// The penalty on what ordinary keys get, and `[total, 0, 0, penalty]`.
fn penalty(forms: &[LayerForm], left: &[Tensor<2>], settings: &LedgerSettings) -> (Tensor<1>, Tensor<1>) {
    let moved = |(form, left): (&LayerForm, &Tensor<2>)| {
        (form.spread.clone().matmul(left.clone()) * left.clone()).sum()
    };
    let parts: Vec<Tensor<1>> = forms.iter().zip(left).map(moved).collect();
    let total = Tensor::cat(parts, 0).sum() * settings.penalty;
    let none = total.clone() * 0.0;
    (total.clone(), Tensor::cat(vec![total.clone(), none.clone(), none, total], 0))
}
