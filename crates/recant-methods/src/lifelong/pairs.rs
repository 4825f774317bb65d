//! Memories that are a list of (key, value) pairs, one a fact, each found without looking at the others.
//!
//! GRACE and the retrieval memory differ in what a pair is and when it answers. They share everything else: a
//! pair is a function of the base model and its fact, so learning appends, going back truncates, and taking out
//! one edit removes its pair and folds the rest again, exactly and without any search.

use std::collections::BTreeMap;
use std::sync::Arc;

use recant_core::{AdapterState, Matrix, ParamPath};
use recant_edit::{EditError, Fact, Lifelong, Memory, Request, StoredStateError, Watch, refuse_adapters};
use recant_model::{Adapter, Model};

use super::{Lessons, check_state};

/// What one fact became.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Where it is looked up, `[d_mlp]`; at a mixture of experts `[d_model]`.
    pub key: Vec<f32>,
    /// What it says there, `[d_model]`.
    pub value: Vec<f32>,
    /// Tokens of the target.
    pub target: Vec<u32>,
}

/// What pairs mean: how one is found, and when it answers.
pub trait PairRule: Send + Sync {
    /// The method's name, such as `grace`.
    fn name(&self) -> &str;

    /// The block that the pairs belong to.
    fn layer(&self) -> usize;

    /// Every setting that decides the result.
    fn settings(&self) -> BTreeMap<String, String>;

    /// The context templates that finding a pair uses; none where only the prompt itself is read.
    fn contexts(&self) -> &[String] {
        &[]
    }

    /// The pair of a fact, and the loss at which its search ended: a function of the base model, the fact and the
    /// settings, and of nothing else.
    ///
    /// # Errors
    /// [`EditError`].
    fn find(&self, base: &Model, fact: &Fact, watch: &dyn Watch) -> Result<(Pair, f32), EditError>;

    /// The adapter that pairs make, in the order in which they were learned.
    fn adapter(&self, base: &Model, pairs: &[Pair]) -> Arc<dyn Adapter>;

    /// Things to know about the pairs as they stand.
    fn notes(&self, pairs: &[Pair]) -> Vec<String>;
}

/// A lifelong model whose memory is a list of pairs.
pub struct Pairs {
    rule: Box<dyn PairRule>,
    base: Model,
    now: Model,
    lessons: Lessons,
    pairs: Vec<Pair>,
    /// Where the last search ended.
    loss: Option<f32>,
}

impl Pairs {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// [`EditError::Layer`].
    pub fn new(base: Model, rule: Box<dyn PairRule>) -> Result<Self, EditError> {
        refuse_adapters(rule.name(), &base)?;
        crate::region::block(&base, rule.layer())?;
        Ok(Self { rule, now: base.clone(), base, lessons: Lessons::default(), pairs: Vec::new(), loss: None })
    }

    /// Goes on from a state. `rule` must have the state's settings.
    ///
    /// # Errors
    /// [`EditError::State`] when the state belongs to another model or method, or is incomplete.
    pub fn open(base: Model, rule: Box<dyn PairRule>, state: &AdapterState) -> Result<Self, EditError> {
        check_state(state, rule.name(), &base)?;
        let mut this = Self::new(base, rule)?;
        this.lessons = Lessons::from_stored(state.facts())?;
        let count = this.lessons.facts().len();
        if count > 0 {
            let spec = this.base.spec();
            let keys = rows(state, "keys", count, spec.key_width(this.rule.layer()))?;
            let values = rows(state, "values", count, spec.d_model)?;
            for (i, fact) in this.lessons.facts().iter().enumerate() {
                let target = Request::to_edit(&this.base, fact)?.target;
                this.pairs.push(Pair { key: keys.row(i).to_vec(), value: values.row(i).to_vec(), target });
            }
        }
        this.rebuild();
        Ok(this)
    }

    /// The model in front of which the pairs stand.
    #[must_use]
    pub fn base(&self) -> &Model {
        &self.base
    }

    /// The block that the pairs belong to.
    #[must_use]
    pub fn layer(&self) -> usize {
        self.rule.layer()
    }

    /// The pairs, one a fact, in order.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Takes a fact in with a pair that was found elsewhere, as one step: moving an edit here from a ledger
    /// needs no new search.
    ///
    /// # Errors
    /// [`EditError::State`] when the pair's lengths are not this model's.
    pub fn insert(&mut self, fact: &Fact, pair: Pair) -> Result<(), EditError> {
        let spec = self.base.spec();
        let expected = (spec.key_width(self.layer()), spec.d_model);
        let found = (pair.key.len(), pair.value.len());
        if found != expected {
            return Err(StoredStateError::Pair { expected, found }.into());
        }
        self.lessons.push(std::slice::from_ref(fact));
        self.pairs.push(pair);
        self.rebuild();
        Ok(())
    }

    fn rebuild(&mut self) {
        self.now = match self.pairs.is_empty() {
            true => self.base.clone(),
            false => self.base.with_adapter(self.rule.adapter(&self.base, &self.pairs)),
        };
    }
}

fn rows<'s>(state: &'s AdapterState, name: &str, rows: usize, cols: usize) -> Result<&'s Matrix, EditError> {
    let matrix = state.tensor(name).ok_or_else(|| StoredStateError::NoTensor { name: name.to_owned() })?;
    let (expected, found) = ((rows, cols), (matrix.rows(), matrix.cols()));
    if found != expected {
        return Err(StoredStateError::Shape { name: name.to_owned(), expected, found }.into());
    }
    Ok(matrix)
}

impl Lifelong for Pairs {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn settings(&self) -> BTreeMap<String, String> {
        self.rule.settings()
    }

    fn contexts(&self) -> &[String] {
        self.rule.contexts()
    }

    fn learn_watched(&mut self, facts: &[Fact], watch: &dyn Watch) -> Result<Vec<String>, EditError> {
        // All of them before any of them: a fact that cannot be learned leaves the state as it was.
        let find = |fact| self.rule.find(&self.base, fact, watch);
        let found = facts.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        self.lessons.push(facts);
        self.loss = found.last().map(|(_, loss)| *loss);
        self.pairs.extend(found.into_iter().map(|(pair, _)| pair));
        self.rebuild();
        Ok(self.rule.notes(&self.pairs))
    }

    fn model(&self) -> &Model {
        &self.now
    }

    fn steps(&self) -> usize {
        self.lessons.steps()
    }

    fn roll_back(&mut self, steps: usize) -> Result<(), EditError> {
        let kept = self.lessons.within(steps);
        self.lessons.truncate(kept);
        self.pairs.truncate(kept);
        self.rebuild();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.state().map_or(0, |state| state.encode().len())
    }

    fn loss(&self) -> Option<f32> {
        self.loss
    }
}

impl Memory for Pairs {
    fn state(&self) -> Result<AdapterState, EditError> {
        let mut tensors = BTreeMap::new();
        if let Some(first) = self.pairs.first() {
            let (count, key, value) = (self.pairs.len(), first.key.len(), first.value.len());
            let keys = self.pairs.iter().flat_map(|pair| pair.key.iter().copied()).collect();
            let values = self.pairs.iter().flat_map(|pair| pair.value.iter().copied()).collect();
            for (name, cols, data) in [("keys", key, keys), ("values", value, values)] {
                let name = ParamPath::new(name).map_err(StoredStateError::from)?;
                tensors.insert(name, Matrix::new(count, cols, data).map_err(StoredStateError::from)?);
            }
        }
        let layer = u32::try_from(self.rule.layer()).unwrap_or(u32::MAX);
        let (settings, facts) = (self.rule.settings(), self.lessons.stored());
        Ok(AdapterState::new(self.name(), self.base.digest(), layer, settings, facts, tensors)?)
    }

    fn facts(&self) -> &[Fact] {
        self.lessons.facts()
    }

    fn forget(&mut self, index: usize) -> Result<(), EditError> {
        self.lessons.check(index)?;
        self.lessons.remove(index);
        self.pairs.remove(index);
        self.rebuild();
        Ok(())
    }
}
