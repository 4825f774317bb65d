//! Why an edit cannot be planned.

use recant_core::{ComposeError, MatrixError, ModelDigest, ParamPathError, StateError};
use recant_model::{InputError, MixtureError, ParamError, PatchError, TokenizerError};
use recant_records::ledger::LedgerError;
use recant_records::{Fact, FactError};

use crate::contexts::ContextError;
use crate::fact::RequestError;

/// An error of a crate that this one does not know.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An edit cannot be planned. The model is as it was: planning never touches it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Whoever watched broke it off.
    #[error("the edit was broken off")]
    Cancelled,
    /// A fact cannot be used.
    #[error("{text:?}: {source}")]
    Fact {
        /// The fact's prompt.
        text: String,
        /// What is wrong.
        source: RequestError,
    },
    /// The method writes one fact at a time, or was given none.
    #[error("{method} writes {}, but {count} were given", written(.count))]
    FactCount {
        /// The method.
        method: String,
        /// How many facts.
        count: usize,
    },
    /// The model carries adapters, which the method would not see.
    #[error(
        "{method} plans on a model's weights, and this model carries {count} adapters beside them, which it would \
         ignore"
    )]
    Adapters {
        /// The method.
        method: String,
        /// How many.
        count: usize,
    },
    /// The method shares out a displacement of the residual stream, and between that and the MLPs stands a norm.
    #[error(
        "in a {architecture} model a norm stands between the MLP and the residual stream, so what is missing there \
         cannot be shared out over layers; the methods of one fact (rome, r-rome, ft-m) and the memories work"
    )]
    NormBehind {
        /// `model_type` of the model.
        architecture: &'static str,
    },
    /// The block is a mixture of experts, and the method edits a matrix.
    #[error(transparent)]
    Mixture(#[from] MixtureError),
    /// Quantities that belong together have other shapes.
    #[error("{what} has the shape {found:?}, where {expected:?} is expected; this is a defect of recant")]
    Shape {
        /// What it is.
        what: &'static str,
        /// Rows and width expected.
        expected: [usize; 2],
        /// Rows and width found.
        found: [usize; 2],
    },
    /// The model has no such layer.
    #[error("there is no layer {layer}; this model has {layers}, counted from 0")]
    Layer {
        /// The layer asked for.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
    /// A setting is unknown or out of its range.
    #[error("setting {key} = {value}: {reason}")]
    Setting {
        /// Its name.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two things that were asked for cannot both be.
    #[error("{one} and {other} contradict each other; say one of them")]
    Contradiction {
        /// The one, as it was said.
        one: String,
        /// The other.
        other: String,
    },
    /// The same fact is given twice.
    #[error("the fact \"{fact} {target}\" is given twice")]
    GivenTwice {
        /// The fact's text.
        fact: String,
        /// Its target.
        target: String,
    },
    /// Two facts that are given continue one prompt in different ways.
    #[error(
        "the facts contradict each other: {fact:?} goes on with {target:?} in one and with {other:?} in another"
    )]
    FactsContradict {
        /// The text of both.
        fact: String,
        /// The target of one.
        target: String,
        /// The target of the other.
        other: String,
    },
    /// A fact contradicts one that the ledger holds, and its policy is to refuse such facts.
    #[error(
        "the ledger says {held:?} to {fact:?}, and {target:?} contradicts it; choose on_conflict=replace or keep-both"
    )]
    LedgerContradicts {
        /// The fact's text.
        fact: String,
        /// Its target.
        target: String,
        /// The target that the ledger holds.
        held: String,
    },
    /// A ledger does not take a fact, or is another model's or other settings'.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Second moments are needed and are missing, or are no use here.
    #[error(transparent)]
    Statistics(#[from] StatisticsError),
    /// The linear system of the keys has no solution.
    #[error("the system of the {keys} keys cannot be solved: {source}")]
    System {
        /// How many keys.
        keys: usize,
        /// What is wrong: an error of the factorisation.
        source: BoxError,
    },
    /// The update of a key is NaN or infinite.
    #[error("the update of key {key} is not finite")]
    NonFiniteUpdate {
        /// The first such key.
        key: usize,
    },
    /// Quantities from different places do not fit each other.
    #[error("{what} do not fit each other")]
    Misfit {
        /// What they are.
        what: &'static str,
    },
    /// The changes of two layers do not compose.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// What the method wants to remember cannot be kept.
    #[error("{name} cannot be kept for the next edit: {source}")]
    Carry {
        /// The quantity.
        name: String,
        /// What is wrong with it.
        source: MatrixError,
    },
    /// The search met NaN or infinity.
    #[error("the search for v* met a loss of {loss} at step {step}; lower v_lr")]
    NonFinite {
        /// The step.
        step: usize,
        /// The loss.
        loss: f32,
    },
    /// The update is not finite: the key is (nearly) orthogonal to itself under C⁻¹.
    #[error("the update is not finite: the divisor k'ᵀu is {divisor:e}")]
    Divisor {
        /// The divisor.
        divisor: f64,
    },
    /// The method learns from prompts that must be left alone, and the fact has none.
    #[error(
        "{text:?} comes without a locality prompt, which this method learns from; give one, or take the embedded \
         neutral texts with neutral=true"
    )]
    Locality {
        /// The fact's prompt.
        text: String,
    },
    /// There is no room for another edit.
    #[error("the memory is full: it holds {capacity} edits; {hint}")]
    Full {
        /// Edits it can hold.
        capacity: usize,
        /// What to do.
        hint: &'static str,
    },
    /// There is no such edit.
    #[error("there is no edit {index}; {count} were learned, counted from 0")]
    NoEdit {
        /// The edit asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A stored state does not belong to this model or method, or is incomplete.
    #[error("the stored state cannot be used: {source}")]
    State {
        /// What is wrong.
        source: StoredStateError,
    },
    /// The numbers that were learned do not make a state.
    #[error(transparent)]
    BadState(#[from] StateError),
    /// Tokens cannot be fed to the model.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A text cannot be tokenised.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Context templates cannot be used.
    #[error(transparent)]
    Contexts(#[from] ContextError),
    /// The model cannot be rebuilt around a changed matrix.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// The plan cannot be applied.
    #[error(transparent)]
    Apply(#[from] PatchError),
}

impl From<StoredStateError> for EditError {
    fn from(source: StoredStateError) -> Self {
        Self::State { source }
    }
}

fn written(count: &usize) -> &'static str {
    if *count == 0 { "facts" } else { "one fact at a time" }
}

impl EditError {
    /// Says which fact an error is about.
    pub fn about(fact: &Fact) -> impl FnOnce(RequestError) -> Self {
        let text = fact.prompt.clone();
        move |source| Self::Fact { text, source }
    }
}

/// Second moments of keys cannot be used for an edit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatisticsError {
    /// There are none.
    #[error(
        "this method needs the second moments of the layer's keys, or mom2_adjustment=false to leave them out on \
         purpose (C = I, usually worse)"
    )]
    Missing,
    /// They belong to another model.
    #[error("these statistics were made for model {made_for}, but the model at hand is {found}")]
    Model {
        /// Digest of the model they were made for.
        made_for: ModelDigest,
        /// Digest of the model at hand.
        found: ModelDigest,
    },
    /// The layer was not measured.
    #[error("these statistics hold layers {known:?}, not {layer}")]
    Layer {
        /// The layer asked for.
        layer: usize,
        /// The layers that are there.
        known: Vec<usize>,
    },
    /// The moment cannot be factored.
    #[error("the second moment of layer {layer} cannot be used: {source}; measure it over more tokens")]
    Factor {
        /// The layer.
        layer: usize,
        /// What is wrong: an error of the factorisation.
        source: BoxError,
    },
    /// The moment has no null space to write into.
    #[error("the second moment of layer {layer} has no null space: {source}; raise nullspace_threshold")]
    NullSpace {
        /// The layer.
        layer: usize,
        /// What is wrong: an error of the decomposition.
        source: BoxError,
    },
    /// Keys have another length than the moment.
    #[error("the statistics of layer {layer} are for keys of length {dim}, not {found}")]
    Length {
        /// The layer.
        layer: usize,
        /// Length that was measured.
        dim: usize,
        /// Length of the keys at hand.
        found: usize,
    },
    /// Answers on the corpus are to be preserved, and no sample of it was kept.
    #[error(
        "preserve = {preserve} needs a sample of the corpus, and these statistics hold none; measure them anew, or set \
         preserve=0"
    )]
    NoSample {
        /// The setting.
        preserve: f64,
    },
    /// The sample of the corpus does not decode.
    #[error("the statistics' sample of their corpus is no text: {source}")]
    Sample {
        /// What is wrong.
        source: TokenizerError,
    },
}

/// The state of a memory is not one of this model and method, or is incomplete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoredStateError {
    /// Another method made it.
    #[error("it was made by {made_by}, not by {method}")]
    Method {
        /// The method that made it.
        made_by: String,
        /// The method that opens it.
        method: String,
    },
    /// No method of this name is known.
    #[error("no method `{method}` is known")]
    UnknownMethod {
        /// The method that made it.
        method: String,
    },
    /// It belongs to another model.
    #[error("it was made for model {}, but this one is {}", made_for.short(), found.short())]
    Model {
        /// The model it was made for.
        made_for: ModelDigest,
        /// The model at hand.
        found: ModelDigest,
    },
    /// A tensor is missing.
    #[error("it has no tensor `{name}`")]
    NoTensor {
        /// Its name.
        name: String,
    },
    /// A tensor has another shape.
    #[error("`{name}` is {found:?}, but {expected:?} is expected")]
    Shape {
        /// Its name.
        name: String,
        /// Rows and columns expected.
        expected: (usize, usize),
        /// Rows and columns found.
        found: (usize, usize),
    },
    /// The numbers of a shard are not as many as its mask has positions.
    #[error("`{name}` has {found} numbers, but its mask has {expected} positions")]
    Mask {
        /// Its name.
        name: String,
        /// Positions of the mask.
        expected: usize,
        /// Numbers found.
        found: usize,
    },
    /// A pair of key and value has other lengths than the model.
    #[error("a pair of lengths {found:?} does not fit a model of {expected:?}")]
    Pair {
        /// Length of keys and of values expected.
        expected: (usize, usize),
        /// Lengths found.
        found: (usize, usize),
    },
    /// A fact in it is none.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// Numbers in it do not make a matrix.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// A tensor cannot be called so.
    #[error(transparent)]
    Name(#[from] ParamPathError),
    /// Its file cannot be written.
    #[error("{source}")]
    Write {
        /// What is wrong.
        source: BoxError,
    },
}
