//! Many facts in tokens, and what a model has at their subjects.

use std::collections::BTreeMap;

use recant_backend::host;
use recant_core::{Point, Site};
use recant_edit::{Contexts, EditError, Fact, Request};
use recant_linalg::Rows;
use recant_model::{ForwardInput, Model, Observer, TokenBatch, gather_rows};

use super::BatchSettings;
use crate::lookup::{FactRows, Row, fact_rows};
use crate::mean::{context_weights, weighted};
use crate::region::block;
use crate::search::Found;

/// Facts of a batch, checked and laid out.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The rows of each fact.
    pub rows: Vec<FactRows>,
}

/// Keys of one layer and the state of another, a row a fact.
#[derive(Debug, Clone)]
pub struct Seen {
    /// k: the input of the layer's down-projection at the subject, over contexts.
    pub keys: Rows,
    /// h: the residual stream behind the goal layer at the subject.
    pub hidden: Rows,
}

/// Tokens to which rows are padded, so that a row's bits do not depend on its company.
const STEP: usize = 8;

impl Prepared {
    /// Tokenises facts and refuses what a batch cannot hold: none at all, the same fact twice, and two facts
    /// that contradict each other.
    ///
    /// # Errors
    /// [`EditError::Fact`] names the fact; [`EditError::GivenTwice`] and [`EditError::FactsContradict`] name those that clash.
    pub fn new(model: &Model, facts: &[Fact], contexts: &Contexts) -> Result<Self, EditError> {
        no_clash(facts)?;
        Self::laid_out(model, facts, contexts)
    }

    /// Tokenises facts that may contradict each other.
    ///
    /// # Errors
    /// [`EditError::Fact`] names the fact; [`EditError::NormBehind`].
    pub fn laid_out(model: &Model, facts: &[Fact], contexts: &Contexts) -> Result<Self, EditError> {
        if model.spec().norm_behind_mlp {
            return Err(EditError::NormBehind { architecture: model.spec().architecture });
        }
        let lay_out = |fact: &Fact| {
            let request = Request::to_edit(model, fact)?;
            fact_rows(model, &request, contexts).map_err(EditError::about(fact))
        };
        Ok(Self { rows: facts.iter().map(lay_out).collect::<Result<_, _>>()? })
    }

    /// z at the rule's contexts: what the search found, or, with consistent keys, the same displacement of the
    /// mean state over contexts.
    pub(super) fn targets(
        &self,
        model: &Model,
        goal: usize,
        found: &[Found],
        settings: &BatchSettings,
    ) -> Result<Rows, EditError> {
        let damaged = || EditError::Misfit { what: "the values found" };
        if !settings.consistent_keys {
            return Rows::of(&found.iter().map(Found::v_star).collect::<Vec<_>>()).ok_or_else(damaged);
        }
        let hidden = self.see(model, goal, goal, settings)?.hidden;
        let deltas = Rows::of(&found.iter().map(|found| found.delta.clone()).collect::<Vec<_>>());
        deltas.and_then(|deltas| hidden.minus(&deltas.scaled(-1.0))).ok_or_else(damaged)
    }

    /// Keys at `layer` and states behind `goal`, as `model` has them now.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn see(
        &self,
        model: &Model,
        layer: usize,
        goal: usize,
        settings: &BatchSettings,
    ) -> Result<Seen, EditError> {
        model.spec().check_matrix(layer)?;
        let rows: Vec<&Row> = self.rows.iter().flat_map(|fact| &fact.rewriting).collect();
        let sites = [(layer, Point::MlpKey), (goal, Point::ResidPost)];
        let [keys, hidden] = at_lookups(model, &rows, sites, settings.rows_at_once(model))?;
        let mut first = 0;
        let (mut key_rows, mut hidden_rows) = (Vec::new(), Vec::new());
        for fact in &self.rows {
            let count = fact.rewriting.len();
            let weights = context_weights(Some(settings.bare_weight), count);
            key_rows.extend(weighted(&keys[first..first + count], &weights));
            // The reference measures what is missing at the bare prompt alone.
            let bare: Vec<f64> = (0..count).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect();
            let rule = if settings.consistent_keys { &weights } else { &bare };
            hidden_rows.extend(weighted(&hidden[first..first + count], rule));
            first += count;
        }
        let spec = model.spec();
        let rows = |width, numbers| Rows::new(width, numbers);
        let empty = || no_facts();
        Ok(Seen {
            keys: rows(spec.d_mlp, key_rows).ok_or_else(empty)?,
            hidden: rows(spec.d_model, hidden_rows).ok_or_else(empty)?,
        })
    }
}

/// Refuses no facts at all, the same fact twice, and two facts that contradict each other.
///
/// # Errors
/// [`EditError::FactCount`], [`EditError::GivenTwice`], [`EditError::FactsContradict`].
pub(crate) fn no_clash(facts: &[Fact]) -> Result<(), EditError> {
    let mut told: BTreeMap<(String, String), &Fact> = BTreeMap::new();
    for fact in facts {
        if let Some(earlier) = told.insert(fact.statement().question(), fact) {
            return Err(if earlier.statement().same(&fact.statement()) {
                EditError::GivenTwice { fact: fact.text(), target: fact.target.clone() }
            } else {
                EditError::FactsContradict {
                    fact: fact.text(),
                    target: fact.target.clone(),
                    other: earlier.target.clone(),
                }
            });
        }
    }
    match facts.is_empty() {
        true => Err(no_facts()),
        false => Ok(()),
    }
}

fn no_facts() -> EditError {
    EditError::FactCount { method: "a batch method".to_owned(), count: 0 }
}

/// Activations of two sites at every row's lookup token. Rows of one padded length share a pass.
fn at_lookups(
    model: &Model,
    rows: &[&Row],
    sites: [(usize, Point); 2],
    at_once: usize,
) -> Result<[Vec<Vec<f32>>; 2], EditError> {
    let device = model.device();
    let site = |(layer, point)| block(model, layer).map(|block| Site::Block(block, point));
    let sites = [site(sites[0])?, site(sites[1])?];
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        groups.entry(row.ids.len().next_multiple_of(STEP)).or_default().push(at);
    }
    let mut found = [vec![Vec::new(); rows.len()], vec![Vec::new(); rows.len()]];
    for (width, members) in groups {
        for chunk in members.chunks(at_once.max(1)) {
            let ids: Vec<Vec<u32>> = chunk.iter().map(|&at| rows[at].ids.clone()).collect();
            let batch = TokenBatch::new(&ids, model.spec())?.at_least(width, model.spec());
            let mut observer = Observer::up_to(sites);
            let _stopped = model.net().forward(ForwardInput::tokens(&batch, device), &mut observer);
            let places: Vec<(usize, usize)> = chunk.iter().map(|&at| rows[at].lookup).enumerate().collect();
            for (site, found) in sites.into_iter().zip(&mut found) {
                let Some(seen) = observer.take(site) else { continue };
                let numbers = host(&gather_rows(seen, &places, device));
                let each = numbers.chunks_exact(numbers.len() / chunk.len().max(1));
                chunk.iter().zip(each).for_each(|(&at, vector)| found[at] = vector.to_vec());
            }
        }
    }
    Ok(found)
}
