//! Facts as they are taught to one MLP: rows, and what is to be said where, with the blocks up to that MLP computed once.

use burn::tensor::{Int, Tensor};
use recant_backend::{host, upload_ints};
use recant_core::{Addend, Matrix};
use recant_edit::{Carry, EditError, Fact, LossStep, Plan, Request, Trace};
use recant_model::{Model, Slot};

use crate::region::{Observed, Region, no_matrix};

/// Which tokens are asked for where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Objective {
    /// All target tokens at the last prompt token (EasyEdit's `prompt_last`).
    PromptLast,
    /// Each target token behind its predecessors (`target_new`).
    TargetNew,
}

/// Some facts with everything below the taught MLP computed.
pub(crate) struct Lesson {
    /// What the taught block sees.
    pub(crate) seen: Observed,
    /// `(row, token)` of each prediction that is asked for.
    pub(crate) places: Vec<(usize, usize)>,
    region: Region,
    wanted: Tensor<2, Int>, // [places, 1]
}

impl Lesson {
    /// # Errors
    /// [`EditError::Layer`], [`EditError::Input`], [`EditError::Text`].
    pub(crate) fn new(
        model: &Model,
        layer: usize,
        requests: &[Request],
        objective: Objective,
    ) -> Result<Self, EditError> {
        let (mut rows, mut places, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        for (row, request) in requests.iter().enumerate() {
            let target = &request.target;
            let mut ids = dictated(model, request)?;
            let last = ids.len().saturating_sub(target.len());
            wanted.extend(target.iter().map(|id| id.cast_signed()));
            match objective {
                Objective::PromptLast => {
                    places.extend(target.iter().map(|_| (row, last)));
                    ids.truncate(last + 1);
                }
                Objective::TargetNew => places.extend((0..target.len()).map(|i| (row, last + i))),
            }
            rows.push(ids);
        }
        let count = wanted.len();
        let seen = Observed::of(model, layer, &rows)?;
        let region = seen.above();
        Ok(Self { seen, places, region, wanted: upload_ints(wanted, [count, 1], model.device()) })
    }

    /// No change yet of the taught down-projection, `[d_model, d_mlp]`.
    pub(crate) fn no_change(&self, model: &Model) -> Tensor<2> {
        let ([.., d_mlp], [.., d_model]) = (self.seen.keys.dims(), self.seen.outputs.dims());
        Tensor::zeros([d_model, d_mlp], model.device().tensors())
    }

    /// Mean negative log-likelihood of what is asked for, with `shift` `[rows, tokens, d_model]` added to the MLP's
    /// output.
    pub(crate) fn loss(&self, model: &Model, shift: Tensor<3>) -> Tensor<1> {
        -self.region.log_probs(model, shift, &self.places).gather(1, self.wanted.clone()).mean()
    }
}

/// A fact's prompt in tokens with its target dictated: all of it but the last token, which is only asked for.
///
/// # Errors
/// [`EditError::Text`].
pub(crate) fn dictated(model: &Model, request: &Request) -> Result<Vec<u32>, EditError> {
    let mut ids = model.tokenizer().encode(&request.fact.text())?;
    ids.extend(request.target.split_last().map_or(&[][..], |(_, before)| before));
    Ok(ids)
}

/// Facts in tokens.
///
/// # Errors
/// [`EditError::Fact`] about the fact that cannot be put so.
pub(crate) fn requests<'a>(
    model: &Model,
    facts: impl IntoIterator<Item = &'a Fact>,
) -> Result<Vec<Request>, EditError> {
    facts.into_iter().map(|fact| Request::to_edit(model, fact)).collect()
}

/// The plan that a trained change Δ `[d_model, d_mlp]` of the down-projection makes.
///
/// # Errors
/// [`EditError::NonFinite`] when Δ holds what is no number, [`EditError::Layer`].
pub(crate) fn trained(
    model: &Model,
    layer: usize,
    delta: &Tensor<2>,
    losses: Vec<LossStep>,
    carry: &Carry,
) -> Result<Plan, EditError> {
    let [rows, cols] = delta.dims();
    let matrix = Matrix::new(rows, cols, host(delta));
    let matrix = matrix.map_err(|_| EditError::NonFinite { step: losses.len(), loss: f32::NAN })?;
    let patch = model.express(Slot::MlpDown(layer), Addend::Dense(matrix));
    let mut plan = Plan::new(patch.ok_or_else(|| no_matrix(model, layer))?);
    plan.traces.push(Trace { losses, ..Trace::default() });
    plan.carry = carry.clone();
    Ok(plan)
}
