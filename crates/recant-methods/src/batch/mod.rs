//! What the methods for many facts share: rows of many facts, keys and hidden states at their subjects, and the
//! climb over the layers of MEMIT.
//!
//! MEMIT, EMMET and AlphaEdit differ in one equation, the closed form that turns keys K and residuals R of a
//! layer into ΔW. Everything around it is here: z, the value that the last layer should have at the subject,
//! searched for all facts at once; and [`climb`], which goes up the layers and gives each a share of what is
//! still missing.

mod metric;
mod rows;
mod settings;

use std::collections::BTreeMap;

use recant_core::{Addend, Blobs, Matrix, WeightPatch};
use recant_edit::{Carry, Contexts, EditError, Fact, Plan, Trace, Watch};
use recant_linalg::{LowRank, Rows, UpdateError};
use recant_model::{Model, Slot};

pub use metric::Metric;
pub(crate) use rows::no_clash;
pub use rows::{Prepared, Seen};
pub use settings::BatchSettings;
pub(crate) use settings::shared;

use crate::region::no_matrix;
use crate::search::Found;
use crate::search::many::{Inject, search_many};

/// A closed form: from a layer's keys and residuals, a row a fact, to ΔW.
pub type ClosedForm<'a> = dyn FnMut(usize, &Rows, &Rows) -> Result<LowRank, EditError> + 'a;

/// z for every fact: the block output at the subject's last token that makes the model state the fact. `watch` hears
/// how many facts are done.
///
/// # Errors
/// [`EditError`].
pub fn find_z(
    model: &Model,
    facts: &Prepared,
    layer: usize,
    settings: &BatchSettings,
    watch: &dyn Watch,
) -> Result<Vec<Found>, EditError> {
    let max_bytes = settings.max_mb.saturating_mul(1 << 20);
    search_many(settings.search, model, layer, &facts.rows, Inject::ResidPost, max_bytes, watch)
}

/// MEMIT's climb: for every layer from the lowest to the highest, the keys and the state of the last layer as
/// they are *now*, the share of the residual that falls to this layer, its closed form, and the edited matrix.
///
/// With [`BatchSettings::blue`] only the first and the last layer are written, each with a value of its own
/// and its whole residual.
///
/// # Errors
/// [`EditError`].
pub fn climb(
    model: &Model,
    facts: &[Fact],
    contexts: &Contexts,
    settings: &BatchSettings,
    closed_form: &mut ClosedForm<'_>,
    watch: &dyn Watch,
) -> Result<Plan, EditError> {
    let prepared = Prepared::new(model, facts, contexts)?;
    let layers = settings.written(model)?;
    let last = layers[layers.len() - 1];
    let mut now = model.clone();
    let mut patch = WeightPatch::identity();
    let mut traces = vec![Trace::default(); facts.len()];
    let mut targets: Option<Rows> = None;
    for (at, &layer) in layers.iter().enumerate() {
        let goal = if settings.blue { layer } else { last };
        let z = match targets.take() {
            Some(z) => z,
            None => {
                let found = find_z(&now, &prepared, goal, settings, watch)?;
                found.iter().zip(&mut traces).for_each(|(found, trace)| note(trace, goal, found));
                prepared.targets(&now, goal, &found, settings)?
            }
        };
        let seen = prepared.see(&now, layer, goal, settings)?;
        // r = (z − h) / (layers that are still to come, this one included)
        let share = if settings.blue { 1.0 } else { 1.0 / (layers.len() - at) as f64 };
        let residuals = residual(&z, &seen.hidden)?.scaled(share);
        targets = (!settings.blue).then_some(z);
        let form = closed_form(layer, &seen.keys, &residuals)?;
        let step = express(&now, layer, &form)?;
        now = now.apply(&step, &Blobs::new())?.0;
        // No two layers share a matrix, so the parts never meet on one parameter.
        patch = patch.then(&step)?;
    }
    let mut plan = Plan::new(patch);
    plan.traces = traces;
    Ok(plan)
}

/// What the values still lack: z − h.
///
/// # Errors
/// [`EditError::Shape`] when there is not one state a value, each as wide as it.
pub fn residual(z: &Rows, hidden: &Rows) -> Result<Rows, EditError> {
    z.clone().minus(hidden).ok_or_else(|| EditError::Shape {
        what: "the block's output at the subjects",
        expected: [z.count(), z.width()],
        found: [hidden.count(), hidden.width()],
    })
}

/// A closed form as a patch of the model's own layout.
///
/// # Errors
/// [`EditError::Layer`], [`EditError::Mixture`]; [`EditError::Divisor`] when a factor is beyond f32.
pub fn express(model: &Model, layer: usize, form: &LowRank) -> Result<WeightPatch, EditError> {
    let factor = |rows: &Rows| Matrix::new(rows.width(), rows.count(), rows.columns_f32());
    let factors = factor(&form.left).and_then(|left| Addend::low_rank(left, factor(&form.right)?));
    let addend = factors.map_err(|_| EditError::Divisor { divisor: f64::NAN })?;
    model.express(Slot::MlpDown(layer), addend).ok_or_else(|| no_matrix(model, layer))
}

/// What went wrong in a closed form, as an error of the edit.
#[must_use]
pub fn unsolved(error: UpdateError) -> EditError {
    match error {
        UpdateError::Shape { keys, images, residuals, .. } => EditError::Shape {
            what: "the images and residuals of the keys",
            expected: [keys, keys],
            found: [images, residuals],
        },
        UpdateError::System { keys, source } => EditError::System { keys, source: source.into() },
        UpdateError::NonFinite { key } => EditError::NonFiniteUpdate { key },
        _ => EditError::Misfit { what: "the keys, their images and the residuals" },
    }
}

fn note(trace: &mut Trace, layer: usize, found: &Found) {
    let vector = |x: &[f32]| (vec![x.len()], x.to_vec());
    let z = found.v_star();
    for (name, x) in [("z_init", &found.init), ("delta", &found.delta), ("z", &z)] {
        trace.tensors.insert(format!("layers.{layer}.{name}"), vector(x));
    }
    trace.losses.extend(&found.losses);
}

/// Rows of f64 as a matrix of a carry.
///
/// # Errors
/// [`EditError::Carry`] when a number is beyond f32.
pub fn remember(name: &str, rows: &Rows) -> Result<(String, Matrix), EditError> {
    #[expect(clippy::cast_possible_truncation, reason = "keys are f32")]
    let numbers = rows.data().iter().map(|&x| x as f32).collect();
    let matrix = Matrix::new(rows.count(), rows.width(), numbers);
    let named = |source| EditError::Carry { name: name.to_owned(), source };
    matrix.map(|matrix| (name.to_owned(), matrix)).map_err(named)
}

/// A matrix of a carry as rows.
#[must_use]
pub fn remembered(carry: &Carry, name: &str) -> Option<Rows> {
    let matrix = carry.matrices.get(name)?;
    Rows::new(matrix.cols(), matrix.data().iter().map(|&x| f64::from(x)).collect())
}

/// What every method of the family reports: its settings, and what it was given.
pub(crate) fn reported(
    mut told: BTreeMap<String, String>,
    contexts: &Contexts,
    measured: bool,
) -> BTreeMap<String, String> {
    told.insert("mom2_adjustment".to_owned(), measured.to_string());
    told.insert("contexts".to_owned(), contexts.templates().len().to_string());
    told
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn states_of_another_shape_are_an_error_and_no_residual() {
        let z = Rows::new(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        let hidden = Rows::new(2, vec![1.0, 1.0, 1.0, 1.0]).unwrap();
        assert_eq!(residual(&z, &hidden).unwrap().data(), [0.0, 1.0, 2.0, 3.0]);
        let fewer = Rows::new(2, vec![1.0, 1.0]).unwrap();
        let error = residual(&z, &fewer).unwrap_err();
        assert!(matches!(error, EditError::Shape { expected: [2, 2], found: [1, 2], .. }), "{error}");
    }
}
