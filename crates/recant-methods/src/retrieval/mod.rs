//! A retrieval memory: keys and residuals behind a similarity gate (NeuralDB, arXiv 2507.18028).
//!
//! ```math
//! v(k) = W k + r_j\, [\cos(k, k_j) > \gamma], \quad j = \arg\max_j \cos(k, k_j)
//! ```
//!
//! The pairs are ROME's: k* is the mean key of the subject's last token (or nearer the bare prompt's, so that a fact's own
//! prompt always opens its gate), r = v* − W k* what its search found.
//! The same (k, r) written as weights is a rank-one edit; here it stays a row that can be listed, inserted and
//! deleted. `PAPER.md` beside this file says what differs from the paper.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Tensor;
use recant_backend::{Device, host, upload_f32};
use recant_core::{AdapterState, Point};
use recant_edit::{Contexts, EditError, Fact, Request, Watch, Work};
use recant_model::{Adapter, Hook, Model};

use crate::inputs::MethodInputs;
use crate::lifelong::places::{Answer, PlaceHook, Progress, Table, Where};
use crate::lifelong::{Pair, PairRule, Pairs, settings_of};
use crate::lookup::{FactRows, fact_rows};
use crate::region::block;
use crate::search::{Base, Reading, SearchSettings, norm, search, tail::Tail};
use crate::settings::{Param, Setting, Tunable, field, one_layer};
use crate::spec::{LayerRule, Make, MethodSpec};

/// Settings of the retrieval memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrievalSettings {
    /// The block.
    pub layer: usize,
    /// A key answers when its cosine with a stored one is above this.
    pub gamma: f64,
    /// The v* search.
    pub search: SearchSettings,
}

impl RetrievalSettings {
    /// Defaults at a block: the paper's gate and ROME's search.
    #[must_use]
    pub fn new(layer: usize) -> Self {
        Self { layer, gamma: 0.65, search: SearchSettings::published() }
    }

    /// Sets one hyper-parameter.
    ///
    /// # Errors
    /// [`EditError::Setting`] when it is unknown or out of range.
    pub fn set(&mut self, setting: &Setting) -> Result<(), EditError> {
        self.tune("memory", setting)
    }
}

impl Tunable for RetrievalSettings {
    fn params() -> Vec<Param<Self>> {
        let mut params = vec![
            one_layer(|s: &mut Self| &mut s.layer, |s| s.layer),
            field!("gamma", "a key answers when its cosine is above this", gamma, cosine()),
        ];
        params.extend(
            SearchSettings::params().into_iter().map(|p| p.of(|s: &Self| &s.search, |s| &mut s.search)),
        );
        params
    }
}

/// How the retrieval memory finds its pairs, and when they answer.
#[derive(Debug, Clone)]
pub struct Retrieval {
    settings: RetrievalSettings,
    contexts: Contexts,
}

/// The settings' name of the context templates in a state.
const CONTEXTS: &str = "contexts";

impl Retrieval {
    /// A memory that knows nothing yet.
    ///
    /// # Errors
    /// [`EditError::Layer`].
    pub fn begin(base: Model, settings: RetrievalSettings, contexts: Contexts) -> Result<Pairs, EditError> {
        Pairs::new(base, Box::new(Self { settings, contexts }))
    }

    /// The memory as it stands in a state.
    ///
    /// # Errors
    /// [`EditError::State`] when the state is another model's or method's.
    pub fn open(base: Model, state: &AdapterState) -> Result<Pairs, EditError> {
        let mut settings = RetrievalSettings::new(state.layer());
        let mut contexts = Contexts::bare();
        for setting in settings_of(state) {
            match setting.key.as_str() {
                CONTEXTS => contexts = crate::lifelong::read_contexts(&setting)?,
                _ => settings.set(&setting)?,
            }
        }
        Pairs::open(base, Box::new(Self { settings, contexts }), state)
    }
}

/// k*: the mean key over the contexts of a fact.
pub(crate) fn mean_key(observed: &Base, rows: &FactRows) -> Vec<f32> {
    let keys = &observed.keys[..rows.rewriting.len()];
    let width = keys.first().map_or(0, Vec::len);
    let mean = |i: usize| keys.iter().map(|key| f64::from(key[i])).sum::<f64>() / keys.len() as f64;
    #[expect(clippy::cast_possible_truncation, reason = "keys are f32")]
    let narrow = (0..width).map(|i| mean(i) as f32).collect();
    narrow
}

/// The key of a fact that its own bare prompt opens: the mean over its contexts; where that is too far from the bare prompt's
/// (a name at the very beginning of a text has another key than behind a sentence), half way between the bare prompt's
/// direction and that of the others; and where a strict gate does not open at that either, the bare prompt's own.
fn opened_key(observed: &Base, rows: &FactRows, gamma: f64) -> Vec<f32> {
    let keys = &observed.keys[..rows.rewriting.len()];
    let mean = mean_key(observed, rows);
    let Some((bare, others)) = keys.split_first().filter(|(bare, _)| cosine(bare, &mean) <= gamma) else {
        return mean;
    };
    let half = half_way(bare, others);
    if cosine(bare, &half) > gamma { half } else { bare.clone() }
}

/// Half way between the direction of one vector and the mean direction of others, as long as they are in the mean.
fn half_way(one: &[f32], others: &[Vec<f32>]) -> Vec<f32> {
    let mut mean = vec![0.0; one.len()];
    for other in others {
        mean.iter_mut().zip(unit(other)).for_each(|(mean, x)| *mean += x / others.len() as f64);
    }
    let apart = mean.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    let lengths = norm(one) + others.iter().map(|other| norm(other)).sum::<f64>();
    let long = lengths / (1 + others.len()) as f64;
    let between = unit(one).zip(mean).map(|(one, mean)| (one + mean / apart) / 2.0);
    #[expect(clippy::cast_possible_truncation, reason = "keys are f32")]
    let narrow = between.map(|x| (long * x) as f32).collect();
    narrow
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    unit(a).zip(unit(b)).map(|(a, b)| a * b).sum()
}

/// A vector of length 1 in its direction; 0 of 0.
fn unit(x: &[f32]) -> impl Iterator<Item = f64> {
    let length = norm(x).max(f64::MIN_POSITIVE);
    x.iter().map(move |&x| f64::from(x) / length)
}

impl PairRule for Retrieval {
    fn name(&self) -> &str {
        NAME
    }

    fn layer(&self) -> usize {
        self.settings.layer
    }

    fn contexts(&self) -> &[String] {
        self.contexts.templates()
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let mut told = self.settings.told();
        told.insert(CONTEXTS.to_owned(), crate::lifelong::write_contexts(&self.contexts));
        told
    }

    fn find(&self, base: &Model, fact: &Fact, watch: &dyn Watch) -> Result<(Pair, f32), EditError> {
        let request = Request::to_edit(base, fact)?;
        let rows = fact_rows(base, &request, &self.contexts).map_err(EditError::about(fact))?;
        watch.tell(Work::Search, 0, self.settings.search.v_num_grad_steps)?;
        let observed = Base::observe(base, self.settings.layer, &rows)?;
        let evaluator = Tail::new(base, &observed, &rows);
        let init = &observed.outputs[0];
        let (settings, device) = (self.settings.search, base.device());
        let reading = Reading::new(settings, &rows, init, &evaluator, device);
        let found = search(settings, init, &[reading], device, watch)?;
        // r = v* − W k* with both at the bare prompt, where v* was asked for: W k* + r = v* there exactly.
        let loss = found.losses.last().map_or(0.0, |losses| losses[0]);
        let key = opened_key(&observed, &rows, self.settings.gamma);
        Ok((Pair { key, value: found.delta, target: request.target }, loss))
    }

    fn adapter(&self, base: &Model, pairs: &[Pair]) -> Arc<dyn Adapter> {
        let device = base.device().clone();
        let width = base.spec().key_width(self.settings.layer);
        #[expect(clippy::cast_possible_truncation, reason = "keys are f32")]
        let units = pairs.iter().flat_map(|pair| unit(&pair.key).map(|x| x as f32));
        Arc::new(RetrievalAdapter {
            units: upload_f32(units.collect(), [pairs.len(), width], &device).transpose(),
            values: pairs.iter().map(|pair| pair.value.clone()).collect(),
            gamma: self.settings.gamma,
            // Checked when the memory was begun.
            layer: block(base, self.settings.layer).unwrap_or(u16::MAX),
            key: base.spec().key_point(self.settings.layer),
            device,
        })
    }

    fn notes(&self, _: &[Pair]) -> Vec<String> {
        Vec::new()
    }
}

struct RetrievalAdapter {
    /// Stored keys of length 1, `[key width, pairs]`.
    units: Tensor<2>,
    values: Vec<Vec<f32>>,
    gamma: f64,
    layer: u16,
    key: Point,
    device: Device,
}

impl Table for RetrievalAdapter {
    fn answer(&self, keys: Tensor<2>) -> Vec<Option<&[f32]>> {
        let [count, _] = keys.dims();
        if count == 0 {
            return Vec::new();
        }
        let lengths = (keys.clone() * keys.clone()).sum_dim(1).sqrt().clamp_min(1e-30);
        let cosines = host(&(keys / lengths).matmul(self.units.clone()));
        let nearest = |row: &[f32]| {
            // The newest of equal ones: a fact written twice says what it said last.
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(a.0.cmp(&b.0)));
            let (j, &cosine) = best?;
            (f64::from(cosine) > self.gamma).then(|| self.values[j].as_slice())
        };
        cosines.chunks(self.values.len()).map(nearest).collect()
    }
}

impl Adapter for RetrievalAdapter {
    fn begin(&self, prompts: &[usize]) -> Box<dyn Hook + '_> {
        Box::new(PlaceHook {
            table: self,
            layer: self.layer,
            key: self.key,
            places: Where::All,
            answer: Answer::Add,
            device: &self.device,
            prompts: prompts.to_vec(),
            state: Progress::Fresh,
        })
    }
}

/// The method's name, and the kind of its states.
pub const NAME: &str = "memory";

/// How the method is declared.
pub(crate) const METHOD: MethodSpec = MethodSpec {
    name: NAME,
    summary: "keys and residuals behind a similarity gate (NeuralDB)",
    paper: Some("2507.18028"),
    needs_moments: false,
    needs_matrix: false,
    many: true,
    layers: LayerRule::One,
    settings: || RetrievalSettings::new(0).infos(),
    make: Make::Memory(
        |inputs, base| Ok(Box::new(make_retrieval(inputs, base)?)),
        |state, base| Ok(Box::new(Retrieval::open(base, state)?)),
    ),
};

/// An empty retrieval memory in front of `base`.
///
/// # Errors
/// As [`crate::method`].
pub fn make_retrieval(inputs: &MethodInputs, base: Model) -> Result<Pairs, EditError> {
    let mut settings = RetrievalSettings::new(inputs.layer);
    inputs.set(|setting| settings.set(setting))?;
    let contexts = inputs.several_contexts(&base)?;
    Retrieval::begin(base, settings, contexts)
}
