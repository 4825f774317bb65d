//! The plain evaluator: the whole model at every step.

use burn::tensor::{Tensor, activation};
use recant_backend::upload_f32;
use recant_core::{Point, Site};
use recant_model::{Flow, ForwardInput, Hook, Model, gather_rows};

use super::{Base, Evaluator, places};
use crate::lookup::FactRows;

/// Runs every layer over every position. The definition that [`super::tail`] is held to.
pub struct Full<'a> {
    model: &'a Model,
    base: &'a Base,
    places: Vec<(usize, usize)>,
    /// 1 at each row's mentions, `[rows, tokens, 1]`.
    at_lookup: Tensor<3>,
}

impl<'a> Full<'a> {
    /// The evaluator for a fact's rows.
    #[must_use]
    pub fn new(model: &'a Model, base: &'a Base, rows: &FactRows) -> Self {
        let (count, tokens) = (base.rows.len(), base.seen.batch.width());
        let one_at = |row: usize, token: usize| {
            if base.rows[row].mentions().any(|end| end == token) { 1.0 } else { 0.0 }
        };
        let numbers = (0..count).flat_map(|row| (0..tokens).map(move |token| one_at(row, token))).collect();
        Self {
            model,
            base,
            places: places(rows),
            at_lookup: upload_f32(numbers, [count, tokens, 1], model.device()),
        }
    }
}

struct AddDelta<'a> {
    site: Site,
    delta: Tensor<1>,
    at_lookup: &'a Tensor<3>,
}

impl Hook for AddDelta<'_> {
    fn wants(&self, site: Site) -> bool {
        site == self.site
    }

    fn visit(&mut self, _: Site, x: Tensor<3>) -> Flow {
        Flow::Continue(x + self.at_lookup.clone() * self.delta.clone().unsqueeze::<3>())
    }
}

impl Evaluator for Full<'_> {
    fn log_probs(&self, delta: Tensor<1>) -> Tensor<2> {
        let site = Site::Block(self.base.seen.layer as u16, Point::MlpOut);
        let mut hook = AddDelta { site, delta, at_lookup: &self.at_lookup };
        let input = ForwardInput::tokens(&self.base.seen.batch, self.model.device());
        match self.model.net().forward(input, &mut hook) {
            Some(hidden) => {
                let rows = gather_rows(hidden, &self.places, self.model.device());
                activation::log_softmax(self.model.net().unembed(rows), 1)
            }
            // `AddDelta` never stops a pass.
            None => {
                Tensor::zeros([self.places.len(), self.model.spec().vocab], self.model.device().tensors())
            }
        }
    }
}
