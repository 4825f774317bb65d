//! The descent of every search for values: Adam over one row a fact, each within its bound, until its loss is small
//! enough.

use burn::tensor::Tensor;
use recant_backend::{Device, host, upload_f32};
use recant_edit::{EditError, LossStep};

use super::{Found, LossParts, SearchSettings, clamp, norm};
use crate::descent::Descent;

/// Searches a δ for each of some facts, whose values before are `inits`. `losses` gives the loss of each fact at `deltas`
/// `[facts, d_model]`, which may track gradients, as step number `step` reads it: steps take `turns` turns at reading a
/// part of a fact's contexts, and a fact is done when a whole round found it so. `goes_on` is asked before each step.
///
/// The gradient is not computed where nothing follows from it: at the last step, and when every fact is done.
///
/// # Errors
/// [`EditError::NonFinite`] when a loss stops being a number; what `goes_on` says.
pub(super) fn descend(
    settings: SearchSettings,
    inits: &[Vec<f32>],
    device: &Device,
    turns: usize,
    goes_on: &dyn Fn(usize) -> Result<(), EditError>,
    losses: &dyn Fn(usize, &Tensor<2>) -> Vec<LossParts>,
) -> Result<Vec<Found>, EditError> {
    let mut walk = Walk::new(settings, inits, turns);
    let shape = [inits.len(), walk.width];
    let mut descent = Descent::from(upload_f32(walk.deltas.clone(), shape, device));
    for step in 0..settings.v_num_grad_steps {
        goes_on(step)?;
        let last = step + 1 == settings.v_num_grad_steps;
        let leaf = if last { descent.value().clone() } else { descent.leaf() };
        let parts = losses(step, &leaf);
        let told = Tensor::cat(parts.iter().flat_map(LossParts::told).collect(), 0);
        if walk.record(step, host(&told).as_chunks::<4>().0)? || last {
            break;
        }
        let totals = parts.into_iter().map(|parts| parts.total).collect();
        let grads = Tensor::cat(totals, 0).sum().backward();
        let gradient = leaf.grad(&grads).map(|grad| host(&grad)).unwrap_or_default();
        let gradient: Tensor<2> = upload_f32(walk.masked(gradient), shape, device);
        descent.step(settings.v_lr, gradient);
        walk.step(&host(descent.value()));
        descent.put(upload_f32(walk.deltas.clone(), shape, device));
    }
    Ok(walk.found(inits))
}

/// Where every fact's δ is, and which facts are done.
struct Walk {
    settings: SearchSettings,
    width: usize,
    deltas: Vec<f32>,
    done: Vec<bool>,
    /// How many of a fact's last losses have to be small enough.
    turns: usize,
    losses: Vec<Vec<LossStep>>,
    bounds: Vec<f64>,
}

impl Walk {
    fn new(settings: SearchSettings, inits: &[Vec<f32>], turns: usize) -> Self {
        let width = inits.first().map_or(0, Vec::len);
        Self {
            settings,
            width,
            deltas: vec![0.0; inits.len() * width],
            done: vec![false; inits.len()],
            turns,
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
            let mut round = past.iter().rev().take(self.turns);
            *done =
                past.len() >= self.turns && round.all(|loss| f64::from(loss[0]) < self.settings.early_stop);
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
