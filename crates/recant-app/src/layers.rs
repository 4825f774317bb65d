//! Which layer to edit: each is tried on the same facts, each edit alone and taken back.

use std::path::PathBuf;

use recant_edit::{EditError, StatisticsError};
use recant_eval::report::Failure;
use recant_eval::{
    CaseScores, Contest, Dataset, DatasetError, Exam, Metrics, Run, RunOptions, ScoreError, Standing,
    attach_locality, contest, evaluate, unedited,
};
use recant_methods::region::block_with_matrix;
use recant_methods::{LayerRule, MethodSpec, method};
use recant_model::Model;
use serde::Serialize;

use crate::bar::Bar;
use crate::eval::EvalFailure;
use crate::observer::{Observer, Unit, phase};
use crate::resources::{MethodSources, ResourceError, Resources};

/// Bytes of second moments and their factors that are held at once.
const AT_ONCE: usize = 1 << 30;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct LayersRequest {
    /// The data set.
    pub data: PathBuf,
    /// Only the first so many cases.
    pub limit: Option<usize>,
    /// Leave out cases that cannot be used, instead of refusing the file.
    pub skip_bad: bool,
    /// Name of a method that edits one layer.
    pub method: String,
    /// The layers to try; `None`: all that can be edited, or those that a file of second moments has.
    pub layers: Option<Vec<usize>>,
    /// What the method is made from. Its wishes name no layer.
    pub sources: MethodSources,
}

/// Layers cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayersFailure {
    /// The facts cannot be edited or scored.
    #[error(transparent)]
    Eval(#[from] EvalFailure),
    /// The method does not edit one layer of the weights.
    #[error("{method} edits {}; a layer is chosen with a method that edits one", edited(.memory))]
    Method {
        /// The method.
        method: String,
        /// Whether it keeps a memory beside the weights.
        memory: bool,
    },
    /// There is no layer to try.
    #[error("there is no layer to try")]
    None,
}

fn edited(memory: &bool) -> &'static str {
    if *memory { "no weights" } else { "several layers together" }
}

/// Errors that an evaluation passes on.
macro_rules! passed_on {
    ($($error:ty),*) => {
        $(impl From<$error> for LayersFailure {
            fn from(error: $error) -> Self {
                Self::Eval(error.into())
            }
        })*
    };
}
passed_on!(ResourceError, EditError, DatasetError, ScoreError);

/// What came of one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerOutcome {
    /// The layer.
    pub layer: usize,
    /// The scores.
    pub metrics: Metrics,
    /// Mean seconds to plan and apply one edit.
    pub seconds_per_edit: Option<f64>,
    /// Its place in the comparison.
    pub standing: Standing,
    /// Cases that could not be edited or scored, and count as not written.
    pub failures: Vec<Failure>,
    /// Cases after which a weight was not the former one, which is a defect.
    pub not_taken_back: usize,
}

/// What the comparison says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayersOutcome {
    /// The method.
    pub method: String,
    /// Cases that each layer was tried on.
    pub cases: usize,
    /// Seed of everything that was drawn.
    pub seed: u64,
    /// Every layer, ascending.
    pub layers: Vec<LayerOutcome>,
    /// The layer with the highest score.
    pub best: usize,
    /// The layer with the next highest.
    pub next: Option<usize>,
    /// Share of the draws of the bootstrap in which no layer scores higher.
    pub first: f64,
    /// The first and the last of the layers around the best that these cases do not tell apart from it.
    pub range: (usize, usize),
    /// Things to know, such as a covariance that was left out.
    pub notes: Vec<String>,
}

impl LayersOutcome {
    /// That of a layer.
    #[must_use]
    pub fn layer(&self, layer: usize) -> Option<&LayerOutcome> {
        self.layers.iter().find(|outcome| outcome.layer == layer)
    }
}

impl LayersRequest {
    /// Reads the data set, before minutes of work.
    ///
    /// # Errors
    /// [`LayersFailure::Eval`]; [`LayersFailure::Method`].
    pub fn read(&self) -> Result<Dataset, LayersFailure> {
        let spec = MethodSpec::find(&self.method)?;
        if spec.layers != LayerRule::One || spec.is_memory() {
            return Err(LayersFailure::Method { method: self.method.clone(), memory: spec.is_memory() });
        }
        self.usable(Dataset::read(&self.data, self.limit)?)
    }

    fn usable(&self, data: Dataset) -> Result<Dataset, LayersFailure> {
        let data = data.usable(self.skip_bad)?;
        if data.cases.is_empty() { Err(EvalFailure::NoCases.into()) } else { Ok(data) }
    }

    /// The layers to try, ascending. All of them can be edited.
    fn layers(&self, model: &Model) -> Result<Vec<usize>, EditError> {
        let Some(layers) = &self.layers else { return Ok(model.spec().blocks_with_matrix()) };
        layers.iter().try_for_each(|&layer| block_with_matrix(model, layer).map(|_| ()))?;
        Ok(layers.clone())
    }

    /// How many layers' second moments are measured and held together.
    fn together(&self, model: &Model, layers: usize) -> usize {
        match self.sources.stats.is_none() && !self.sources.corpus.is_empty() {
            // The moments of a layer and their factor, in f64.
            true => (AT_ONCE / (16 * model.spec().d_mlp.pow(2)).max(1)).clamp(1, layers.max(1)),
            false => layers.max(1),
        }
    }
}

/// Tries every layer and compares them.
///
/// # Errors
/// [`LayersFailure`]. A case that fails alone counts as not written, and is told with its layer.
pub fn compare_layers(
    request: &LayersRequest,
    mut data: Dataset,
    mut model: Model,
    observer: &dyn Observer,
) -> Result<LayersOutcome, LayersFailure> {
    data.check(&model);
    let mut data = request.usable(data)?;
    attach_locality(&mut data.cases, &data.spare);
    let cases = &data.cases[..];
    let mut layers = request.layers(&model)?;
    let mut tried = Tried { layers: Vec::new(), runs: Vec::new(), notes: Vec::new() };
    let options = RunOptions::default();
    let mut bar = Bar::new(observer, "layers", Unit::Edits);
    let (base, _) = phase(observer, "unedited", || unedited(&model, cases, &[], options, &mut |_| ()))?;
    let exam = Exam { cases, retained: &[], base: &base, options };
    while !layers.is_empty() {
        let behind = layers.split_off(request.together(&model, layers.len()));
        let gather = || Resources::gather_at(&request.sources, &request.method, &layers, &model, observer);
        let resources = phase(observer, "resources", gather)?;
        if let Some((moments, _)) = resources.moments() {
            let known: Vec<usize> = moments.layers().collect();
            let unmeasured = layers.iter().copied().find(|layer| !known.contains(layer));
            match (unmeasured, &request.layers) {
                (Some(layer), Some(_)) => return Err(refused(StatisticsError::Layer { layer, known })),
                _ => layers.retain(|layer| known.contains(layer)),
            }
        }
        bar.expect(cases.len() * (tried.layers.len() + layers.len() + behind.len()));
        for &layer in &layers {
            if observer.cancelled() {
                return Err(EvalFailure::Cancelled.into());
            }
            bar.turn_to(&format!("layer {layer}"));
            let editor = method(&request.method, &resources.inputs_at(&request.method, layer)?)?;
            tried.runs.push(evaluate(&mut model, &*editor, exam, &mut |event| bar.hear(&event)));
            tried.layers.push(layer);
        }
        observer.idle();
        tried.note(resources.notes(&model));
        layers = behind;
    }
    tried.outcome(request, cases.len())
}

fn refused(error: StatisticsError) -> LayersFailure {
    EditError::from(error).into()
}

/// Layers with what came of them.
struct Tried {
    layers: Vec<usize>,
    runs: Vec<Run>,
    notes: Vec<String>,
}

impl Tried {
    fn note(&mut self, notes: Vec<String>) {
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    fn outcome(mut self, request: &LayersRequest, cases: usize) -> Result<LayersOutcome, LayersFailure> {
        let seed = request.sources.wishes.seed.unwrap_or(0);
        let told: Vec<String> = self.runs.iter_mut().flat_map(|run| std::mem::take(&mut run.notes)).collect();
        self.note(told);
        let Self { layers, runs, notes } = self;
        let scores: Vec<Vec<CaseScores>> =
            runs.iter().map(|run| run.results.iter().map(|result| result.scores).collect()).collect();
        let Contest { best, next, first, standings } = contest(&scores, seed).ok_or(LayersFailure::None)?;
        let range = around(&standings, best);
        let outcome = |((&layer, run), standing): ((&usize, Run), Standing)| LayerOutcome {
            layer,
            metrics: run.metrics,
            seconds_per_edit: run.seconds_per_edit,
            not_taken_back: run.results.iter().filter(|result| result.rollback_exact == Some(false)).count(),
            standing,
            failures: run.failures,
        };
        Ok(LayersOutcome {
            method: request.method.clone(),
            cases,
            seed,
            best: layers[best],
            next: next.map(|next| layers[next]),
            first,
            range: (layers[range.0], layers[range.1]),
            layers: layers.iter().zip(runs).zip(standings).map(outcome).collect(),
            notes,
        })
    }
}

/// The first and the last of the neighbours of the best one that are not told apart from it.
fn around(standings: &[Standing], best: usize) -> (usize, usize) {
    let near = |at: &usize| !standings[*at].behind.is_beyond_noise();
    let below = (0..best).rev().take_while(near).last();
    let above = (best + 1..standings.len()).take_while(near).last();
    (below.unwrap_or(best), above.unwrap_or(best))
}

#[cfg(test)]
mod tests {
    use recant_eval::{Difference, Interval};

    use super::*;

    /// A layer that is told apart ends the range, although one behind it is not.
    #[test]
    fn the_range_ends_where_a_layer_is_told_apart() {
        let standing = |told: bool| {
            let (low, high, cases) = (if told { 0.1 } else { -0.1 }, 0.3, 8);
            let behind = Difference { difference: 0.1, low, high, cases };
            Standing { score: 0.5, interval: Interval { low, high, cases }, behind }
        };
        let of = |told: [bool; 6]| told.map(standing);
        assert_eq!(around(&of([false, true, false, false, true, false]), 2), (2, 3));
        assert_eq!(around(&of([false; 6]), 0), (0, 5));
        assert_eq!(around(&of([true; 6]), 5), (5, 5));
    }
}
