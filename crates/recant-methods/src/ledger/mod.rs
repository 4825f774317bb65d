//! The edit ledger: a model as a function of a *set* of facts.
//!
//! Keys and residuals are measured on the base model, never on an edited one. Then
//!
//! ```math
//! \Delta W(S) = R\,(I + K^\top C_0^{-1} K)^{-1} K^\top C_0^{-1}
//! ```
//!
//! depends on the set S alone: not on the order in which facts came, nor on which were added and taken out
//! again on the way. Adding, removing, replacing and merging are set operations, and each result is, to the
//! byte, what editing the final set in one go gives. Subtracting an old update is wrong by several per cent as
//! soon as keys overlap; here nothing is ever subtracted.
//!
//! `PAPER.md` beside this file says where the idea comes from and what it costs.

pub mod conflict;
mod gram;
mod joint;
mod preserve;
mod sequence;
mod settings;

use std::collections::BTreeMap;

use recant_core::{OnConflict, WeightPatch};
use recant_edit::{Carry, Contexts, EditError, Editor, Fact, LossStep, Plan, Trace, Watch, refuse_adapters};
use recant_linalg::Rows;
use recant_model::Model;
use recant_records::seal;

pub use gram::Gram;
use recant_files::FileKind;
pub use recant_records::ledger::{
    Entry, Ground, Ledger, LedgerDecodeError, LedgerError, Part, Recipe, Statistics,
};
pub use sequence::LedgerSequence;
pub use settings::{LedgerSettings, Values, on_conflict_named};

use self::preserve::Kept;
use crate::batch::{self, Metric, Prepared};
use crate::inputs::MethodInputs;
use crate::moments::Sample;
use crate::region::block_with_matrix;
use crate::rome::Covariance;
use crate::settings::{Setting, Tunable};
use crate::spec::{LayerRule, Make, MethodSpec};

/// The file of a ledger.
pub const LEDGER: FileKind =
    FileKind { name: "ledger", recognises: |head| seal::begins(head, b"recant-ledger-") };

/// The ledger editor.
#[derive(Debug, Clone)]
pub struct LedgerEditor {
    settings: LedgerSettings,
    contexts: Contexts,
    covariance: Covariance,
}

impl LedgerEditor {
    /// An editor. A measured covariance must hold the settings' layers.
    #[must_use]
    pub fn new(settings: LedgerSettings, contexts: Contexts, covariance: Covariance) -> Self {
        Self { settings, contexts, covariance }
    }

    /// Defaults at some layers, and the user's hyper-parameters.
    ///
    /// # Errors
    /// [`EditError::Setting`].
    pub fn settings_of(layers: Vec<usize>, given: &[Setting]) -> Result<LedgerSettings, EditError> {
        let mut settings = LedgerSettings::new(layers);
        given.iter().try_for_each(|setting| settings.set(setting))?;
        Ok(settings)
    }

    /// What is done about contradictions.
    #[must_use]
    pub fn on_conflict(&self) -> OnConflict {
        self.settings.on_conflict
    }

    /// B = λC + λₙI.
    #[must_use]
    pub fn metric(&self) -> Metric<'_> {
        Metric {
            covariance: &self.covariance,
            weight: self.settings.batch.mom2_update_weight,
            norm: self.settings.batch.norm_weight,
        }
    }

    /// Whether ordinary text has a say in the values.
    fn preserves(&self) -> bool {
        self.settings.values == Values::Joint && self.settings.preserve > 0.0
    }

    fn notes(&self) -> Vec<String> {
        self.metric().notes().into_iter().collect()
    }

    /// The settings that decide keys and values, as stored ledgers have them in their recipes.
    fn deciding(&self) -> BTreeMap<String, String> {
        let of_joint = ["joint_steps", "joint_lr", "penalty", "essence", "preserve", "preserve_texts"];
        let joint = self.settings.values == Values::Joint;
        let mut deciding = self.settings();
        deciding.retain(|key, _| key != "on_conflict" && (joint || !of_joint.contains(&key.as_str())));
        deciding
    }

    /// What decides a ledger of this editor, beside its model.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        let statistics = match &self.covariance {
            Covariance::Measured(base) => {
                let moments = base.moments();
                let sample = self.preserves().then(|| moments.sample().digest());
                Some(Statistics { corpus: moments.corpus, tokens: moments.tokens, sample })
            }
            Covariance::Identity => None,
        };
        let contexts = self.contexts.templates().to_vec();
        Recipe { settings: self.deciding(), since: &settings::SINCE, contexts, statistics }
    }

    /// What a ledger of this editor stands on.
    #[must_use]
    pub fn ground(&self, base: &Model) -> Ground {
        let spec = base.spec();
        Ground {
            base: base.digest(),
            layers: self.settings.held(),
            d_mlp: spec.d_mlp,
            d_model: spec.d_model,
            recipe: self.recipe().digest(),
        }
    }

    /// Whether a ledger was made on this model by an editor like this one. It may carry the digest of then.
    ///
    /// # Errors
    /// [`LedgerError::Ground`] says in what they differ.
    pub fn check(&self, base: &Model, ledger: &Ledger) -> Result<(), LedgerError> {
        let mut ground = self.ground(base);
        if self.recipe().former_digest() == Some(ledger.ground().recipe) {
            ground.recipe = ledger.ground().recipe;
        }
        ledger.ground().matches(&ground)
    }

    /// Measures facts on the base model: a key and a residual a layer.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn entries(
        &self,
        base: &Model,
        facts: &[Fact],
        watch: &dyn Watch,
    ) -> Result<Vec<(Fact, Entry)>, EditError> {
        refuse_adapters(self.name(), base)?;
        self.settings.held().iter().try_for_each(|&layer| block_with_matrix(base, layer).map(drop))?;
        let settings = &self.settings.batch;
        let prepared = Prepared::new(base, facts, &self.contexts)?;
        let mut entries: Vec<(Fact, Entry)> = facts.iter().map(|fact| (fact.clone(), Vec::new())).collect();
        let layers = self.settings.held();
        // The value is searched where the last layer writes, and each layer brings an equal share of it.
        let last = layers.last().copied().unwrap_or(0);
        let found = batch::find_z(base, &prepared, last, settings, watch)?;
        let share = 1.0 / layers.len() as f32;
        for layer in layers {
            let keys = prepared.see(base, layer, layer, settings)?.keys;
            #[expect(clippy::cast_possible_truncation, reason = "keys are f32")]
            let narrow = |key: &[f64]| key.iter().map(|&x| x as f32).collect::<Vec<f32>>();
            for ((entry, key), found) in entries.iter_mut().zip(keys.iter()).zip(&found) {
                let residual = found.delta.iter().map(|x| x * share).collect();
                entry.1.push(Part { key: narrow(key), residual });
            }
        }
        Ok(entries)
    }

    /// A ledger of some facts in one go.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn ledger(&self, base: &Model, facts: &[Fact]) -> Result<Ledger, EditError> {
        self.ledger_watched(base, facts, &())
    }

    fn ledger_watched(&self, base: &Model, facts: &[Fact], watch: &dyn Watch) -> Result<Ledger, EditError> {
        let mut ledger = Ledger::new(self.ground(base));
        for (fact, entry) in self.entries(base, facts, watch)? {
            ledger.add(fact, entry)?;
        }
        Ok(ledger)
    }

    /// ΔW(S) of every layer as a patch of the base model, and the losses of a joint search. `grams` holds a
    /// cache a layer, which is brought up to the ledger; an empty one gives the same bytes. `watch` hears what takes
    /// long.
    ///
    /// # Errors
    /// [`EditError::Ledger`] when the ledger is another model's or was made with other settings.
    pub fn materialise(
        &self,
        base: &Model,
        ledger: &Ledger,
        grams: &mut Vec<Gram>,
        watch: &dyn Watch,
    ) -> Result<(WeightPatch, Trace), EditError> {
        self.check(base, ledger)?;
        let ground = ledger.ground();
        let mut trace = Trace::default();
        if ledger.is_empty() {
            return Ok((WeightPatch::identity(), trace));
        }
        grams.resize_with(ground.layers.len(), Gram::default);
        for (at, gram) in grams.iter_mut().enumerate() {
            gram.follow(ledger, at, self.metric())?;
        }
        let kept = kept_residuals(ledger).ok_or_else(misfit)?;
        let residuals = match self.settings.values {
            Values::Independent => kept,
            Values::Joint => {
                let (values, losses) = self.joint(base, ledger, grams, &kept, watch)?;
                trace.losses = losses;
                values
            }
        };
        let mut patch = WeightPatch::identity();
        for ((&layer, gram), residuals) in ground.layers.iter().zip(&*grams).zip(residuals) {
            let form = gram.update(&residuals)?.ok_or_else(misfit)?;
            let step = batch::express(base, layer, &form)?;
            patch = patch.then(&step)?;
        }
        Ok((patch, trace))
    }

    /// Joint values, a matrix a layer, and the loss at each step.
    fn joint(
        &self,
        base: &Model,
        ledger: &Ledger,
        grams: &[Gram],
        kept: &[Rows],
        watch: &dyn Watch,
    ) -> Result<(Vec<Rows>, Vec<LossStep>), EditError> {
        let facts: Vec<Fact> = ledger.facts().cloned().collect();
        let rows = Prepared::laid_out(base, &facts, &self.contexts)?.rows;
        let layers: Vec<_> = ledger.ground().layers.iter().copied().zip(grams).collect();
        let sample = match &self.covariance {
            Covariance::Measured(moments) => moments.moments().sample(),
            Covariance::Identity => &Sample::default(),
        };
        let texts = Kept::of(base, sample, &facts, &self.settings)?;
        joint::search(self, base, &rows, &layers, kept, texts, watch)
    }
}

fn misfit() -> EditError {
    EditError::Misfit { what: "the ledger's values and its keys" }
}

/// The residuals that entries keep, a matrix a layer, in canonical order.
fn kept_residuals(ledger: &Ledger) -> Option<Vec<Rows>> {
    let of_layer = |at: usize| {
        let vectors: Vec<Vec<f32>> = ledger.iter().map(|(_, entry)| entry[at].residual.clone()).collect();
        Rows::of(&vectors)
    };
    (0..ledger.ground().layers.len()).map(of_layer).collect()
}

impl Editor for LedgerEditor {
    fn name(&self) -> &str {
        NAME
    }

    /// Plans the ledger of these facts with `model` as its base. A ledger that goes on is a
    /// [`LedgerSequence`], which keeps the base.
    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError> {
        let ledger = self.ledger_watched(model, facts, watch)?;
        let (patch, trace) = self.materialise(model, &ledger, &mut Vec::new(), watch)?;
        let mut plan = Plan::new(patch);
        plan.traces.push(trace);
        plan.notes = self.notes();
        plan.carry = carry.clone();
        Ok(plan)
    }

    fn contexts(&self) -> &[String] {
        self.contexts.templates()
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let measured = matches!(self.covariance, Covariance::Measured(_));
        batch::reported(self.settings.told(), &self.contexts, measured)
    }
}

/// The method's name.
pub const NAME: &str = "ledger";

/// How the method is declared.
pub(crate) const METHOD: MethodSpec = MethodSpec {
    name: NAME,
    summary: "many facts as a set: add, remove and merge at any time, exactly",
    paper: None,
    needs_moments: true,
    needs_matrix: true,
    many: true,
    layers: LayerRule::Several,
    settings: || LedgerSettings::new(vec![]).infos(),
    make: Make::EditorAnd(
        |inputs| Ok(Box::new(make_ledger(inputs)?)),
        |inputs, base| Ok(Box::new(LedgerSequence::new(base, make_ledger(inputs)?))),
    ),
};

/// The ledger editor.
///
/// # Errors
/// As [`crate::method`].
pub fn make_ledger(inputs: &MethodInputs) -> Result<LedgerEditor, EditError> {
    let settings = LedgerEditor::settings_of(inputs.layers(), &inputs.settings)?;
    let covariance = inputs.covariance(settings.batch.mom2_adjustment)?;
    Ok(LedgerEditor::new(settings, inputs.contexts.clone(), covariance))
}
