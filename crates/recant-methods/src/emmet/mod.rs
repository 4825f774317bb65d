//! EMMET: a batch of facts written exactly, as equality constraints.
//!
//! Gupta, Sajnani and Anumanchipalli, "A Unified Framework for Model Editing" (arXiv 2403.14236). `PAPER.md`
//! beside this file maps every symbol.
//!
//! MEMIT asks that ΔW K come near R; EMMET asks that ΔW K = R while ΔW moves ordinary keys as little as
//! possible:
//!
//! ```math
//! \min_\Delta \mathrm{tr}(\Delta C \Delta^\top)\ \text{ s.t. }\ \Delta K = R
//! \quad\Longrightarrow\quad \Delta = R\,(K^\top C^{-1} K)^{-1} K^\top C^{-1}
//! ```
//!
//! With one fact this is ROME. A ridge λₑ on the small system keeps it solvable when keys nearly coincide.

use std::collections::BTreeMap;

use recant_edit::{Carry, Contexts, EditError, Editor, Fact, Plan, Watch};
use recant_linalg::{LowRank, Rows, push_through};
use recant_model::Model;

use crate::batch::{self, BatchSettings, Metric};
use crate::inputs::MethodInputs;
use crate::rome::Covariance;
use crate::settings::{Param, Setting, Tunable, field, infos};
use crate::spec::{LayerRule, Make, MethodSpec};

/// Settings of EMMET.
#[derive(Debug, Clone, PartialEq)]
pub struct EmmetSettings {
    /// What the batch methods share.
    pub batch: BatchSettings,
    /// λₑ: the ridge of the n x n system, `emmet_lambda`.
    pub ridge: f64,
}

/// The EMMET editor.
#[derive(Debug, Clone)]
pub struct Emmet {
    settings: EmmetSettings,
    contexts: Contexts,
    covariance: Covariance,
}

impl Emmet {
    /// An editor. A measured covariance must hold the settings' layers.
    #[must_use]
    pub fn new(settings: EmmetSettings, contexts: Contexts, covariance: Covariance) -> Self {
        Self { settings, contexts, covariance }
    }

    /// Defaults at some layers, and the user's hyper-parameters. One layer is EMMET's own setting; the last
    /// of `layers` is taken unless the user names more.
    ///
    /// # Errors
    /// [`EditError::Setting`].
    pub fn settings_of(layers: &[usize], given: &[Setting]) -> Result<EmmetSettings, EditError> {
        let last = layers.last().copied().into_iter().collect();
        let mut settings = EmmetSettings { batch: BatchSettings::new(last), ridge: 0.1 };
        given.iter().try_for_each(|setting| settings.tune("emmet", setting))?;
        Ok(settings)
    }
}

impl Tunable for EmmetSettings {
    fn params() -> Vec<Param<Self>> {
        let mut params = batch::shared(|s: &Self| &s.batch, |s| &mut s.batch, &[]);
        params.push(field!("emmet_lambda", "λₑ: the ridge of the system of keys", ridge, float(0.0)));
        params
    }
}

/// Δ = R (Kᵀ B⁻¹ K + λₑI)⁻¹ Kᵀ B⁻¹ with B = λC + λₙI.
///
/// # Errors
/// [`EditError::Statistics`]; with λₑ = 0, also when two keys coincide.
pub fn delta(metric: Metric<'_>, layer: usize, k: &Rows, r: &Rows, ridge: f64) -> Result<LowRank, EditError> {
    let images = metric.images(layer, k)?;
    push_through(k, &images, r, ridge).map_err(batch::unsolved)
}

impl Editor for Emmet {
    fn name(&self) -> &str {
        "emmet"
    }

    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError> {
        let EmmetSettings { batch: settings, ridge } = &self.settings;
        let metric = Metric {
            covariance: &self.covariance,
            weight: settings.mom2_update_weight,
            norm: settings.norm_weight,
        };
        let mut closed_form = |layer: usize, k: &Rows, r: &Rows| delta(metric, layer, k, r, *ridge);
        let mut plan = batch::climb(model, facts, &self.contexts, settings, &mut closed_form, watch)?;
        plan.notes.extend(metric.notes());
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

/// How the method is declared.
pub(crate) const METHOD: MethodSpec = MethodSpec {
    name: "emmet",
    summary: "many facts at one layer as equality constraints",
    paper: Some("2403.14236"),
    needs_moments: true,
    needs_matrix: true,
    many: true,
    layers: LayerRule::Last,
    settings: || infos(Emmet::settings_of(&[], &[])),
    make: Make::Editor(make),
};

fn make(inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let settings = Emmet::settings_of(&inputs.layers(), &inputs.settings)?;
    let covariance = inputs.covariance(settings.batch.mom2_adjustment)?;
    Ok(Box::new(Emmet::new(settings, inputs.contexts.clone(), covariance)))
}
