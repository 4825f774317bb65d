//! The cached evaluator: layers above the edit, positions from the lookup token on.

use burn::tensor::{Bool, Tensor};
use recant_backend::{upload_bools, upload_f32};
use recant_model::{ForwardInput, Model, NoHook, Past, Positions, Source, gather_rows};

use super::{Base, Evaluator, log_probs_of, places};
use crate::lookup::FactRows;

/// Runs only what δ can change.
///
/// Every row is cut at its lookup token and moved to the left, so that the lookup token is column 0; the
/// keys and values before it come from the unedited pass. Rows have prefixes of different lengths; what a
/// shorter row does not have is masked.
pub struct Tail<'a> {
    model: &'a Model,
    /// First layer to run.
    block: usize,
    /// Residual stream leaving the edited layer from each lookup token on, `[rows, width, d_model]`.
    resid: Tensor<3>,
    /// 1 in column 0, `[1, width, 1]`.
    first_column: Tensor<3>,
    past: Past,
    lookups: Vec<usize>,
    /// What the loss reads, in tail columns.
    places: Vec<(usize, usize)>,
}

impl<'a> Tail<'a> {
    /// The evaluator for a fact's rows.
    #[must_use]
    pub fn new(model: &'a Model, base: &'a Base, rows: &FactRows) -> Self {
        let device = model.device();
        let lookups: Vec<usize> = base.rows.iter().map(|row| row.lookup).collect();
        let places: Vec<(usize, usize)> =
            places(rows).into_iter().map(|(row, token)| (row, token - lookups[row])).collect();
        let width = places.iter().map(|(_, column)| column + 1).max().unwrap_or(1);
        let prefix = lookups.iter().copied().max().unwrap_or(0);
        let count = base.rows.len();

        // Columns behind a row's end repeat its last token; nothing reads them.
        let source: Vec<(usize, usize)> = (0..count)
            .flat_map(|row| {
                let last = base.rows[row].ids.len() - 1;
                let from = lookups[row];
                (0..width).map(move |column| (row, (from + column).min(last)))
            })
            .collect();
        let d_model = model.spec().d_model;
        let resid = gather_rows(base.resid_post.clone(), &source, device).reshape([count, width, d_model]);
        let first_column = (0..width).map(|column| if column == 0 { 1.0 } else { 0.0 }).collect();
        let past = Past {
            cache: base.cache.prefix(prefix, base.layer + 1),
            mask: Some(mask(&lookups, prefix, width, model)),
        };
        Self {
            model,
            block: base.layer + 1,
            resid,
            first_column: upload_f32(first_column, [1, width, 1], device),
            past,
            lookups,
            places,
        }
    }
}

/// True where a token must not look, `[rows, 1, width, prefix + width]`.
fn mask(lookups: &[usize], prefix: usize, width: usize, model: &Model) -> Tensor<4, Bool> {
    let hidden = |row: usize, column: usize, position: usize| match position.checked_sub(prefix) {
        None => position >= lookups[row],
        Some(other) => other > column,
    };
    let total = prefix + width;
    let numbers: Vec<bool> = (0..lookups.len())
        .flat_map(|row| (0..width).flat_map(move |column| (0..total).map(move |p| hidden(row, column, p))))
        .collect();
    upload_bools(numbers, [lookups.len(), 1, width, total], model.device())
}

impl Evaluator for Tail<'_> {
    fn log_probs(&self, delta: Tensor<1>) -> Tensor<2> {
        let x = self.resid.clone() + self.first_column.clone() * delta.unsqueeze::<3>();
        let input = ForwardInput {
            source: Source::Residual { block: self.block, x },
            positions: Positions::Rows(self.lookups.clone()),
            past: Some(self.past.clone()),
            keep: None,
        };
        match self.model.net().forward(input, &mut NoHook) {
            Some(hidden) => log_probs_of(self.model, hidden, &self.places),
            // `NoHook` never stops a pass.
            None => {
                Tensor::zeros([self.places.len(), self.model.spec().vocab], self.model.device().tensors())
            }
        }
    }
}
