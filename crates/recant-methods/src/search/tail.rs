//! The cached evaluator: layers above the edit, positions from the lookup token on.

use burn::tensor::Tensor;
use recant_backend::{upload_f32, upload_ints};
use recant_model::{Model, Past, Positions, gather_rows};

use super::{Base, Evaluator, places};
use crate::lookup::{FactRows, Row};
use crate::region::Region;

/// Runs only what δ can change.
///
/// Every row is cut at its lookup token and moved to the left, so that the lookup token is column 0; the
/// keys and values before it come from the unedited pass. Rows have prefixes of different lengths; what a
/// shorter row does not have is masked.
pub struct Tail<'a> {
    model: &'a Model,
    /// The layers above the edited one, from each lookup token on, `width` tokens.
    region: Region,
    /// 1 where a mention of the subject ends, which is in column 0 and perhaps in others, `[rows, width, 1]`.
    mentions: Tensor<3>,
    /// What the loss reads, in tail columns.
    places: Vec<(usize, usize)>,
    /// Which fact each row belongs to.
    owner: Vec<usize>,
}

/// The shape that rows are brought to. Wider than needed is allowed: what is added is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Frame {
    /// Tokens before the lookup token.
    pub(super) prefix: usize,
    /// Tokens from it on.
    pub(super) width: usize,
}

impl<'a> Tail<'a> {
    /// The evaluator for a fact's rows.
    #[must_use]
    pub fn new(model: &'a Model, base: &'a Base, rows: &FactRows) -> Self {
        let places = places(rows);
        let frame = Frame::around(&base.rows, &places);
        Self::framed(model, base, &places, frame, vec![0; base.rows.len()])
    }

    /// The evaluator for rows of several facts: `places` are what the loss reads, in tokens of the rows.
    pub(super) fn framed(
        model: &'a Model,
        base: &'a Base,
        places: &[(usize, usize)],
        frame: Frame,
        owner: Vec<usize>,
    ) -> Self {
        let device = model.device();
        let lookups: Vec<usize> = base.rows.iter().map(|row| row.lookup).collect();
        let places = places.iter().map(|&(row, token)| (row, token - lookups[row])).collect();
        let Frame { prefix, width } = frame;
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
        let cut = |x: &Tensor<3>| gather_rows(x.clone(), &source, device).reshape([count, width, d_model]);
        let layer = base.seen.layer;
        let region = Region {
            layer,
            outputs: cut(&base.seen.outputs),
            resid: cut(&base.seen.resid),
            past: Some(Past { cache: base.cache.prefix(prefix, layer + 1), lengths: Some(lookups.clone()) }),
            positions: Positions::Rows(lookups),
        };
        let ends = |row: &Row, column: usize| row.mentions().any(|end| end == row.lookup + column);
        let mentions = base
            .rows
            .iter()
            .flat_map(|row| (0..width).map(move |column| if ends(row, column) { 1.0 } else { 0.0 }));
        let mentions = upload_f32(mentions.collect(), [count, width, 1], device);
        Self { model, region, mentions, places, owner }
    }

    /// Log-probabilities at the places with a δ a fact, `deltas` `[facts, d_model]`.
    pub(super) fn log_probs_each(&self, deltas: Tensor<2>) -> Tensor<2> {
        let width = deltas.dims()[1];
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "far below 2^31")]
        let owner = self.owner.iter().map(|&fact| fact as i32).collect();
        let owner = upload_ints(owner, [self.owner.len()], self.model.device());
        self.run(deltas.select(0, owner).reshape([self.owner.len(), 1, width]))
    }

    /// Log-probabilities with `added` `[rows or 1, 1, d_model]` at each row's mentions.
    fn run(&self, added: Tensor<3>) -> Tensor<2> {
        self.region.log_probs(self.model, self.mentions.clone() * added, &self.places)
    }
}

impl Frame {
    /// The smallest frame around rows and the places that are read in them.
    pub(super) fn around(rows: &[Row], places: &[(usize, usize)]) -> Self {
        let column = |&(row, token): &(usize, usize)| Some(token - rows.get(row)?.lookup);
        Self {
            prefix: rows.iter().map(|row| row.lookup).max().unwrap_or(0),
            width: places.iter().filter_map(column).max().map_or(1, |last| last + 1),
        }
    }
}

impl Evaluator for Tail<'_> {
    fn log_probs(&self, delta: Tensor<1>) -> Tensor<2> {
        self.run(delta.unsqueeze::<3>())
    }
}
