//! ROME and R-ROME: a rank-one rewrite of one MLP's down-projection.
//!
//! Meng et al., "Locating and Editing Factual Associations in GPT" (arXiv 2202.05262); Gupta, Baskaran and
//! Anumanchipalli, "Rebuilding ROME" (arXiv 2403.07175). `PAPER.md` beside this file maps every symbol.
//!
//! ```math
//! \hat W = W + \Lambda (C^{-1} k_*)^\top, \qquad
//! \Lambda = \frac{v_* - W k'}{k'^\top C^{-1} k_*}
//! ```
//!
//! The two differ in k' alone: R-ROME takes k' = k_*, the mean key over all contexts; ROME's code takes the
//! key of the bare prompt, which can be nearly orthogonal to C⁻¹k_* and then disables the model with one
//! edit. Where it is not, the bare prompt gets v_* exactly, and a real model holds more facts for it; so an edit of a user's
//! model takes the bare key, and the mean key where the bare one has too little of its direction ([`RomeSettings::least_bare`]).

mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use recant_core::{Addend, Matrix, ModelDigest, WeightPatch};
use recant_edit::{
    Carry, Contexts, EditError, Editor, Fact, Plan, Request, RequestError, StatisticsError, Trace, Watch,
    Work,
};
use recant_model::{Model, Slot};

pub use settings::{KeyRule, RomeSettings};

use crate::inputs::MethodInputs;
use crate::lookup::{FactRows, fact_rows};
use crate::mean::{context_weights, weighted};
use crate::moments::Moments;
use crate::names::ChatForm;
use crate::region::{block_with_matrix, no_matrix};
use crate::search::Found;
use crate::search::turns::Turns;
use crate::settings::Tunable;
use crate::spec::{LayerRule, Make, MethodSpec};

/// Where C⁻¹ comes from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Covariance {
    /// Second moments of the layer's keys over a corpus. Made by [`Covariance::measured`], which checks whose
    /// they are; later edits of that model go on using them, as is usual.
    Measured(BaseMoments),
    /// C = I: the user said so, and every plan's notes say so too.
    Identity,
}

/// Second moments that were checked against the model that is edited.
#[derive(Debug, Clone)]
pub struct BaseMoments(Arc<Moments>);

impl BaseMoments {
    /// The moments.
    #[must_use]
    pub fn moments(&self) -> &Moments {
        &self.0
    }
}

impl Covariance {
    /// The second moments of this very model.
    ///
    /// # Errors
    /// [`StatisticsError::Model`] names both digests when they were made for another one.
    pub fn measured(moments: Arc<Moments>, base: &Model) -> Result<Self, StatisticsError> {
        Self::of_base(moments, base.digest())
    }

    /// The second moments of the model with this digest, for later edits of that model: they stay the base's,
    /// as is usual.
    ///
    /// # Errors
    /// [`StatisticsError::Model`] names both digests when they were made for another one.
    pub fn of_base(moments: Arc<Moments>, base: ModelDigest) -> Result<Self, StatisticsError> {
        moments.belongs_to(base)?;
        Ok(Self::Measured(BaseMoments(moments)))
    }
}

/// Told where the bare prompt's key gave way.
const GAVE_WAY: &str = "the bare prompt's key has little of the mean key's direction: the mean key stands in the divisor, as in \
                      R-ROME (least_bare)";

/// The ROME family of editors.
#[derive(Debug, Clone)]
pub struct Rome {
    settings: RomeSettings,
    contexts: Contexts,
    covariance: Covariance,
}

/// The closed form's quantities for one fact.
#[derive(Debug, Clone, PartialEq)]
pub struct RankOne {
    /// k*: mean key over all contexts, `[d_mlp]`.
    pub k_star: Vec<f32>,
    /// u = C⁻¹k* / ‖C⁻¹k*‖, `[d_mlp]`.
    pub u: Vec<f64>,
    /// Which key k' is.
    pub keys: KeyRule,
    /// k', the key of the divisor, `[d_mlp]`.
    pub k_prime: Vec<f32>,
    /// W k' with the bias: what the MLP answers to k' now, `[d_model]`.
    pub output: Vec<f32>,
    /// Λ = (v* − W k') / (k'ᵀ u), `[d_model]`.
    pub lambda: Vec<f64>,
    /// k'ᵀ u.
    pub divisor: f64,
}

impl Rome {
    /// An editor. A measured covariance must hold the settings' layer.
    #[must_use]
    pub fn new(settings: RomeSettings, contexts: Contexts, covariance: Covariance) -> Self {
        Self { settings, contexts, covariance }
    }

    /// u = C⁻¹k* / ‖C⁻¹k*‖ in f64.
    fn direction(&self, k_star: &[f32]) -> Result<Vec<f64>, EditError> {
        let k_star: Vec<f64> = k_star.iter().map(|&x| f64::from(x)).collect();
        let u = match &self.covariance {
            Covariance::Identity => k_star,
            Covariance::Measured(BaseMoments(moments)) => moments.solve(self.settings.layer, &k_star)?,
        };
        let length = u.iter().map(|x| x * x).sum::<f64>().sqrt();
        Ok(u.into_iter().map(|x| x / length).collect())
    }

    /// The closed form, given v*.
    fn rank_one(&self, seen: &Turns, v_star: &[f32]) -> Result<RankOne, EditError> {
        let weights = context_weights(self.settings.bare_weight, seen.keys.len());
        let k_star = mean(&seen.keys, &weights);
        let u = self.direction(&k_star)?;
        let along = |key: &[f32]| key.iter().zip(&u).map(|(&k, u)| f64::from(k) * u).sum::<f64>();
        let (bare, mean_key) = (along(&seen.keys[0]), along(&k_star));
        let keys = self.settings.keys.for_divisor(self.settings.least_bare, bare, mean_key);
        let (k_prime, output) = match keys {
            KeyRule::Mean => (k_star.clone(), mean(&seen.outputs, &weights)),
            KeyRule::Bare => (seen.keys[0].clone(), seen.outputs[0].clone()),
        };
        let divisor = along(&k_prime);
        let residual = v_star.iter().zip(&output).map(|(&v, &wk)| f64::from(v) - f64::from(wk));
        let lambda: Vec<f64> = residual.map(|r| r / divisor).collect();
        if lambda.iter().any(|x| !x.is_finite()) {
            return Err(EditError::Divisor { divisor });
        }
        Ok(RankOne { k_star, u, keys, k_prime, output, lambda, divisor })
    }

    fn plan_one(&self, model: &Model, fact: &Fact, watch: &dyn Watch) -> Result<Plan, EditError> {
        let layer = self.settings.layer;
        block_with_matrix(model, layer)?;
        let mut request = Request::to_edit(model, fact)?;
        if self.settings.full_stop {
            request = request.with_stop(model).map_err(EditError::about(fact))?;
        }
        // Observing takes seconds too.
        watch.tell(Work::Search, 0, self.settings.search.v_num_grad_steps)?;
        let (chat, unused) = self.chat(model);
        let rows = self.rows(model, &request, chat.as_ref()).map_err(EditError::about(fact))?;
        let seen = Turns::observe(model, layer, &rows, self.settings.contexts_per_step)?;
        let found = seen.search(self.settings.search, model, watch)?;
        let form = self.rank_one(&seen, &found.v_star())?;
        let mut plan = Plan::new(express(model, layer, &form)?);
        plan.traces.push(trace(model, &rows, &seen, &found, &form));
        plan.notes.extend(self.notes().into_iter().chain(unused));
        plan.notes.extend((form.keys != self.settings.keys).then(|| GAVE_WAY.to_owned()));
        Ok(plan)
    }

    /// The model's chat template, where the settings ask for it; a note where there is one that cannot be used.
    fn chat(&self, model: &Model) -> (Option<ChatForm>, Option<String>) {
        if !self.settings.chat_context && self.settings.search.name_factor == 0.0 {
            return (None, None);
        }
        match ChatForm::of(model) {
            Ok(chat) => (chat, None),
            Err(error) => {
                (None, Some(format!("the search read no chat, and no name that is said again: {error}")))
            }
        }
    }

    fn rows(
        &self,
        model: &Model,
        request: &Request,
        chat: Option<&ChatForm>,
    ) -> Result<FactRows, RequestError> {
        let mut rows = fact_rows(model, request, &self.contexts)?;
        // A model without a chat template goes on with a text, and is not asked for an answer that repeats a name.
        let Some(chat) = chat else { return Ok(rows) };
        if self.settings.chat_context {
            rows = rows.with_chat(model, request, chat)?;
        }
        if self.settings.search.name_factor > 0.0 {
            rows = rows.with_names(model, request, Some(chat))?;
        }
        Ok(rows)
    }

    fn notes(&self) -> Option<String> {
        match self.covariance {
            Covariance::Measured(_) => None,
            Covariance::Identity => Some(
                "C = I: the covariance of keys was left out on request (mom2_adjustment=false)".to_owned(),
            ),
        }
    }
}

impl Editor for Rome {
    fn name(&self) -> &str {
        match self.settings.keys {
            KeyRule::Mean => "r-rome",
            KeyRule::Bare => "rome",
        }
    }

    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError> {
        match facts {
            [fact] => {
                let mut plan = self.plan_one(model, fact, watch)?;
                plan.carry = carry.clone();
                Ok(plan)
            }
            _ => Err(EditError::FactCount { method: self.name().to_owned(), count: facts.len() }),
        }
    }

    fn contexts(&self) -> &[String] {
        self.contexts.templates()
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.settings.told();
        let adjusted = matches!(self.covariance, Covariance::Measured(_));
        settings.insert("mom2_adjustment".to_owned(), adjusted.to_string());
        settings.insert("contexts".to_owned(), self.contexts.templates().len().to_string());
        settings
    }
}

/// ΔW = Λ uᵀ as a patch.
fn express(model: &Model, layer: usize, form: &RankOne) -> Result<WeightPatch, EditError> {
    #[expect(clippy::cast_possible_truncation, reason = "factors are stored in f32")]
    let column = |x: &[f64]| Matrix::column(x.iter().map(|&x| x as f32).collect());
    let addend = Addend::low_rank(column(&form.lambda), column(&form.u))
        .map_err(|_| EditError::Divisor { divisor: form.divisor })?;
    model.express(Slot::MlpDown(layer), addend).ok_or_else(|| no_matrix(model, layer))
}

fn trace(model: &Model, rows: &FactRows, seen: &Turns, found: &Found, form: &RankOne) -> Trace {
    #[expect(clippy::cast_possible_truncation, reason = "for looking at")]
    let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    let vector = |x: Vec<f32>| (vec![x.len()], x);
    let (contexts, keys) = (seen.keys.len(), seen.keys.concat());
    let tensors = [
        ("k_each", (vec![contexts, form.k_star.len()], keys)),
        ("k_star", vector(form.k_star.clone())),
        ("u", vector(narrow(&form.u))),
        ("k_prime", vector(form.k_prime.clone())),
        ("target_init", vector(found.init.clone())),
        ("delta", vector(found.delta.clone())),
        ("v_star", vector(found.v_star())),
        ("cur_output", vector(form.output.clone())),
        ("lambda", vector(narrow(&form.lambda))),
    ];
    let subject_token = rows.rewriting.first().and_then(|row| row.ids.get(row.lookup)).copied();
    let subject_token = subject_token.and_then(|id| model.tokenizer().decode(&[id]).ok());
    Trace {
        tensors: tensors.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        losses: found.losses.clone(),
        texts: subject_token.into_iter().map(|text| ("lookup_token".to_owned(), text)).collect(),
    }
}

/// The weighted mean of vectors, in f64 in order, as f32.
fn mean(vectors: &[Vec<f32>], weights: &[f64]) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "keys are f32")]
    let narrow = weighted(vectors, weights).into_iter().map(|x| x as f32).collect();
    narrow
}

/// How the method is declared.
pub(crate) const R_ROME: MethodSpec = MethodSpec {
    name: "r-rome",
    summary: "rank-one rewrite of one MLP, the same mean key throughout",
    paper: Some("2403.07175"),
    needs_moments: true,
    needs_matrix: true,
    many: false,
    layers: LayerRule::One,
    settings: || RomeSettings::standard(0, KeyRule::Mean).infos(),
    make: Make::Editor(|inputs| make(KeyRule::Mean, inputs)),
};

/// How the method is declared.
pub(crate) const ROME: MethodSpec = MethodSpec {
    name: "rome",
    summary: "the original rank-one rewrite, bare-prompt key in the divisor",
    paper: Some("2202.05262"),
    needs_moments: true,
    needs_matrix: true,
    many: false,
    layers: LayerRule::One,
    settings: || RomeSettings::standard(0, KeyRule::Bare).infos(),
    make: Make::Editor(|inputs| make(KeyRule::Bare, inputs)),
};

fn make(keys: KeyRule, inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let mut settings = RomeSettings::standard(inputs.layer, keys);
    inputs.set(|setting| settings.set(setting))?;
    let covariance = inputs.covariance(settings.mom2_adjustment)?;
    Ok(Box::new(Rome::new(settings, inputs.contexts.clone(), covariance)))
}
