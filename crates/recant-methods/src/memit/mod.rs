//! MEMIT: many facts at once, spread over a range of layers.
//!
//! Meng, Sen Sharma, Andonian, Belinkov and Bau, "Mass-Editing Memory in a Transformer" (arXiv 2210.07229).
//! `PAPER.md` beside this file maps every symbol.
//!
//! For each layer $l$ of the range, from the lowest to the highest,
//!
//! ```math
//! \Delta^l = R^l {K_1^l}^\top (\lambda C^l + K_1^l {K_1^l}^\top)^{-1}, \qquad
//! r_i^l = \frac{z_i - h_i^L}{L - l + 1}
//! ```
//!
//! where $z_i$ is searched once at the range's last layer $L$, and $h_i^L$ and $K_1^l$ are read from the model
//! with the layers below already edited.

use std::collections::BTreeMap;

use recant_edit::{Carry, Contexts, EditError, Editor, Fact, Plan, Watch};
use recant_linalg::{LowRank, Rows, push_through};
use recant_model::Model;

use crate::batch::{self, BatchSettings, Metric};
use crate::inputs::MethodInputs;
use crate::rome::Covariance;
use crate::settings::{Setting, Tunable};
use crate::spec::{LayerRule, Make, MethodSpec};

/// The MEMIT editor.
#[derive(Debug, Clone)]
pub struct Memit {
    settings: BatchSettings,
    contexts: Contexts,
    covariance: Covariance,
}

impl Memit {
    /// An editor. A measured covariance must hold the settings' layers.
    #[must_use]
    pub fn new(settings: BatchSettings, contexts: Contexts, covariance: Covariance) -> Self {
        Self { settings, contexts, covariance }
    }

    /// Defaults at some layers, and the user's hyper-parameters.
    ///
    /// # Errors
    /// [`EditError::Setting`].
    pub fn settings_of(layers: Vec<usize>, given: &[Setting]) -> Result<BatchSettings, EditError> {
        let mut settings = BatchSettings::new(layers);
        given.iter().try_for_each(|setting| settings.tune("memit", setting))?;
        Ok(settings)
    }
}

/// Δ = R Kᵀ (λC + λₙI + K Kᵀ)⁻¹, as R (I + Kᵀ B⁻¹ K)⁻¹ Kᵀ B⁻¹ with B = λC + λₙI.
///
/// # Errors
/// [`EditError::Statistics`].
pub fn delta(metric: Metric<'_>, layer: usize, k: &Rows, r: &Rows) -> Result<LowRank, EditError> {
    let images = metric.images(layer, k)?;
    push_through(k, &images, r, 1.0).map_err(batch::unsolved)
}

impl Editor for Memit {
    fn name(&self) -> &str {
        "memit"
    }

    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError> {
        let settings = &self.settings;
        let metric = Metric {
            covariance: &self.covariance,
            weight: settings.mom2_update_weight,
            norm: settings.norm_weight,
        };
        let mut closed_form = |layer: usize, k: &Rows, r: &Rows| delta(metric, layer, k, r);
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
    name: "memit",
    summary: "many facts at once, spread over a range of layers",
    paper: Some("2210.07229"),
    needs_moments: true,
    needs_matrix: true,
    many: true,
    layers: LayerRule::Several,
    settings: || BatchSettings::new(vec![]).infos(),
    make: Make::Editor(make),
};

fn make(inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let settings = Memit::settings_of(inputs.layers(), &inputs.settings)?;
    let covariance = inputs.covariance(settings.mom2_adjustment)?;
    Ok(Box::new(Memit::new(settings, inputs.contexts.clone(), covariance)))
}
