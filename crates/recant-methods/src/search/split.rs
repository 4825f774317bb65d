//! The cached evaluator for rows of very different lengths.
//!
//! A pass costs rows times the widest row. Rows that say the subject a second time go on long after their lookup
//! token, the others for a few tokens; so each kind has a pass of its own.

use burn::tensor::Tensor;
use recant_backend::upload_ints;
use recant_edit::EditError;
use recant_model::Model;

use super::tail::{Frame, Tail};
use super::{Base, Evaluator, places};
use crate::lookup::{FactRows, Row};

/// The rows of a fact by kind, observed.
#[derive(Debug)]
pub struct Parts {
    bases: Vec<Base>,
    /// What the loss reads in each part, by the part's own rows.
    places: Vec<Vec<(usize, usize)>>,
    /// For each place of the loss, where it is among the places of all parts.
    order: Vec<usize>,
    /// Key at each rewriting row's lookup token, `[contexts, d_mlp]`.
    pub keys: Vec<Vec<f32>>,
    /// Output of the MLP there, `[contexts, d_model]`.
    pub outputs: Vec<Vec<f32>>,
}

impl Parts {
    /// Runs the model once over each kind of rows.
    ///
    /// # Errors
    /// [`EditError::Layer`], [`EditError::Input`].
    pub fn observe(model: &Model, layer: usize, rows: &FactRows) -> Result<Self, EditError> {
        let all: Vec<&Row> = rows.all().collect();
        let of_kind = |again: bool| -> Vec<usize> {
            (0..all.len()).filter(|&at| all[at].again.is_empty() != again).collect()
        };
        let kinds: Vec<Vec<usize>> =
            [false, true].map(of_kind).into_iter().filter(|kind| !kind.is_empty()).collect();
        let wanted = places(rows);
        let contexts = rows.rewriting.len();
        let mut parts = Self {
            bases: Vec::new(),
            places: Vec::new(),
            order: vec![0; wanted.len()],
            keys: vec![Vec::new(); contexts],
            outputs: vec![Vec::new(); contexts],
        };
        let mut read = 0;
        for kind in kinds {
            let mut own = Vec::new();
            for (place, &(row, token)) in wanted.iter().enumerate() {
                let Some(at) = kind.iter().position(|&of| of == row) else { continue };
                parts.order[place] = read;
                own.push((at, token));
                read += 1;
            }
            let rows = kind.iter().map(|&at| all[at].clone()).collect();
            let base = Base::over(model, layer, rows, 0)?;
            for (at, &row) in kind.iter().enumerate().filter(|(_, row)| **row < contexts) {
                parts.keys[row].clone_from(&base.keys[at]);
                parts.outputs[row].clone_from(&base.outputs[at]);
            }
            parts.bases.push(base);
            parts.places.push(own);
        }
        Ok(parts)
    }
}

/// A [`Tail`] for each kind of rows.
pub struct Split<'a> {
    model: &'a Model,
    tails: Vec<Tail<'a>>,
    order: &'a [usize],
}

impl<'a> Split<'a> {
    /// The evaluator for a fact's parts.
    #[must_use]
    pub fn new(model: &'a Model, parts: &'a Parts) -> Self {
        let tail = |(base, places): (&'a Base, &Vec<(usize, usize)>)| {
            let frame = Frame::around(&base.rows, places);
            Tail::framed(model, base, places, frame, vec![0; base.rows.len()])
        };
        Self { model, tails: parts.bases.iter().zip(&parts.places).map(tail).collect(), order: &parts.order }
    }
}

impl Evaluator for Split<'_> {
    fn log_probs(&self, delta: Tensor<1>) -> Tensor<2> {
        let read: Vec<Tensor<2>> = self.tails.iter().map(|tail| tail.log_probs(delta.clone())).collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "far below 2^31")]
        let order = self.order.iter().map(|&place| place as i32).collect();
        Tensor::cat(read, 0).select(0, upload_ints(order, [self.order.len()], self.model.device()))
    }
}
