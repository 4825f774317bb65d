//! Hyper-parameters of the ledger.

use recant_core::OnConflict;
use recant_edit::EditError;
use recant_model::ModelSpec;

use crate::batch::{self, BatchSettings};
use crate::settings::{Param, Setting, Tunable, choice, field};

/// How the values of a ledger's facts come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Values {
    /// Each fact's value is searched alone on the base model, as MEMIT does, and kept in its entry.
    Independent,
    /// All values are searched together through the model, whenever the set changes.
    Joint,
}

/// The names of what a ledger does with a fact that contradicts one in it. To leave the new one out has none: whoever
/// gives facts by name gives those that shall hold.
const ON_CONFLICT: [(&str, OnConflict); 3] =
    [("refuse", OnConflict::Refuse), ("replace", OnConflict::Theirs), ("keep-both", OnConflict::Both)];

/// What a ledger does with contradictions, by its name.
#[must_use]
pub fn on_conflict_named(name: &str) -> Option<OnConflict> {
    ON_CONFLICT.into_iter().find(|(known, _)| *known == name).map(|(_, policy)| policy)
}

impl Values {
    const NAMES: [(&'static str, Self); 2] = [("independent", Self::Independent), ("joint", Self::Joint)];
}

/// Settings of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerSettings {
    /// What the batch methods share. λ is the ridge of the closed form.
    pub batch: BatchSettings,
    /// How values come about.
    pub values: Values,
    /// Joint values: Adam steps.
    pub joint_steps: usize,
    /// Joint values: Adam's learning rate.
    pub joint_lr: f64,
    /// Joint values: weight of E‖ΔW k‖² / E‖W k‖² over ordinary keys, summed over layers.
    pub penalty: f64,
    /// Joint values: weight of the KL divergence at "{subject} is a".
    pub essence: f64,
    /// Joint values: weight of the KL divergence at places in ordinary text, of which the statistics hold a sample.
    pub preserve: f64,
    /// Joint values: texts of that sample that are read.
    pub preserve_texts: usize,
    /// Contradictions.
    pub on_conflict: OnConflict,
}

/// Settings that came after ledgers were first stored, each with the value that does what was done before it. A setting
/// that is added gets a line here, or no stored ledger can be continued; a line never changes.
pub(super) const SINCE: [(&str, &str); 0] = [];

impl LedgerSettings {
    /// Defaults at some layers.
    #[must_use]
    pub fn new(layers: Vec<usize>) -> Self {
        let mut batch = BatchSettings::new(layers);
        batch.mom2_update_weight = 20.0;
        Self {
            batch,
            values: Values::Joint,
            joint_steps: 15,
            joint_lr: 0.2,
            penalty: 1.0,
            essence: 0.0625,
            preserve: 0.0,
            preserve_texts: 128,
            on_conflict: OnConflict::Refuse,
        }
    }

    /// Sets one hyper-parameter.
    ///
    /// # Errors
    /// [`EditError::Setting`] when it is unknown or out of range.
    pub fn set(&mut self, setting: &Setting) -> Result<(), EditError> {
        self.tune("ledger", setting)
    }

    /// Rows of `tokens` tokens, of which `read` are read, that may share a graph of a joint search, by counting what
    /// autodiff keeps of a row, as in the search for one fact's value, over whole rows.
    pub(super) fn rows_together(&self, spec: &ModelSpec, tokens: usize, read: usize) -> usize {
        let a_layer =
            tokens * (16 * spec.d_model + 6 * spec.hidden_width()) + 3 * spec.heads * tokens * tokens;
        let a_row = 4 * (spec.layers * a_layer + 4 * read * spec.vocab);
        self.batch.max_mb.saturating_mul(1 << 20) / a_row.max(1)
    }

    /// The layers that hold the ledger's values, or with BLUE the first and the last of them.
    #[must_use]
    pub fn held(&self) -> Vec<usize> {
        match (&self.batch.layers[..], self.batch.blue) {
            ([first, .., last], true) => vec![*first, *last],
            (all, _) => all.to_vec(),
        }
    }
}

impl Tunable for LedgerSettings {
    fn params() -> Vec<Param<Self>> {
        let mut params = batch::shared(|s: &Self| &s.batch, |s| &mut s.batch, &[]);
        params.extend([
            choice("values", "how values come about", &Values::NAMES, |s: &Self| s.values, |s| &mut s.values),
            field!("joint_steps", "joint values: steps of the search", joint_steps, count()),
            field!("joint_lr", "joint values: learning rate (Adam)", joint_lr, float(f64::MIN_POSITIVE)),
            field!(
                "penalty",
                "joint values: how much it counts that ordinary keys move",
                penalty,
                float(0.0)
            ),
            field!("essence", "joint values: how much it counts that subjects drift", essence, float(0.0)),
            field!(
                "preserve",
                "joint values: how much it counts that ordinary text drifts",
                preserve,
                float(0.0)
            ),
            field!("preserve_texts", "joint values: texts of that sample", preserve_texts, count()),
            choice(
                "on_conflict",
                "what becomes of a fact that contradicts one in the ledger",
                &ON_CONFLICT,
                |s: &Self| s.on_conflict,
                |s| &mut s.on_conflict,
            ),
        ]);
        params
    }
}
