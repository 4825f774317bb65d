//! A search whose steps read some of a fact's contexts in turn.
//!
//! A pass costs as many rows as it reads. So each step reads the bare prompt, some of the other contexts and some of the
//! names, and the next one reads the next; the mean key and the mean output are still those of all contexts. It is the
//! cheaper search and not the better one: in as many steps it holds fewer paraphrases (docs/results.md).

use recant_edit::{EditError, Watch};
use recant_model::Model;

use super::split::{Parts, Split};
use super::{Found, Reading, SearchSettings, search};
use crate::lookup::FactRows;

/// The rows of a fact, observed in the parts that steps take turns at.
#[derive(Debug)]
pub struct Turns {
    /// Rows of each part, and what was observed of them.
    parts: Vec<(FactRows, Parts)>,
    /// Key at each rewriting row's lookup token, in the order of the contexts, `[contexts, d_mlp]`.
    pub keys: Vec<Vec<f32>>,
    /// Output of the MLP there, `[contexts, d_model]`.
    pub outputs: Vec<Vec<f32>>,
}

impl Turns {
    /// Runs the model once over every row, `contexts` of them a part beside the bare prompt; 0: all in one part.
    ///
    /// # Errors
    /// [`EditError::Layer`], [`EditError::Input`].
    pub fn observe(model: &Model, layer: usize, rows: &FactRows, contexts: usize) -> Result<Self, EditError> {
        let observe = |rows: FactRows| {
            let seen = Parts::observe(model, layer, &rows)?;
            Ok((rows, seen))
        };
        let parts =
            rows.in_turns(contexts).into_iter().map(observe).collect::<Result<Vec<_>, EditError>>()?;
        let of_contexts = |of: fn(&Parts) -> &Vec<Vec<f32>>| {
            let context = |at: usize| {
                let (turn, row) = FactRows::turn(at, parts.len());
                of(&parts[turn].1)[row].clone()
            };
            (0..rows.rewriting.len()).map(context).collect::<Vec<_>>()
        };
        let (keys, outputs) = (of_contexts(|seen| &seen.keys), of_contexts(|seen| &seen.outputs));
        Ok(Self { parts, keys, outputs })
    }

    /// Searches δ at the bare prompt's value; `watch` hears each step.
    ///
    /// # Errors
    /// As [`search`].
    pub fn search(
        &self,
        settings: SearchSettings,
        model: &Model,
        watch: &dyn Watch,
    ) -> Result<Found, EditError> {
        let (init, device) = (&self.outputs[0], model.device());
        let evaluators: Vec<Split<'_>> = self.parts.iter().map(|(_, seen)| Split::new(model, seen)).collect();
        let readings: Vec<Reading<'_>> = self
            .parts
            .iter()
            .zip(&evaluators)
            .map(|((rows, _), evaluator)| Reading::new(settings, rows, init, evaluator, device))
            .collect();
        search(settings, init, &readings, device, watch)
    }
}
