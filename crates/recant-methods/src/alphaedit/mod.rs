//! AlphaEdit: updates that ordinary keys cannot see.
//!
//! Fang et al., "AlphaEdit: Null-Space Constrained Knowledge Editing for Language Models" (arXiv 2410.02355).
//! `PAPER.md` beside this file maps every symbol.
//!
//! ```math
//! \Delta^\top = \big(P (K K^\top + K_p K_p^\top) + L_2 I\big)^{-1} P K R^\top
//! ```
//!
//! with P the projector onto the directions in which the second moment C of ordinary keys is (nearly) zero
//! and K_p the keys of earlier edits, which the editor remembers in its [`Carry`]. The paper solves the
//! unsymmetric d x d system; (P M Mᵀ + L₂I) P M = P M (Mᵀ P M + L₂I) with M = [K K_p] makes it one of the
//! number of keys.

use std::collections::BTreeMap;

use recant_core::Blobs;
use recant_edit::{Carry, Contexts, EditError, Editor, Fact, Plan, Watch};
use recant_linalg::{LowRank, NullSpace, Rows, push_through};
use recant_model::Model;

use crate::batch::{self, BatchSettings, Prepared};
use crate::inputs::MethodInputs;
use crate::rome::Covariance;
use crate::settings::{Param, Setting, Tunable, field, infos};
use crate::spec::{LayerRule, Make, MethodSpec};

/// Settings of AlphaEdit.
#[derive(Debug, Clone, PartialEq)]
pub struct AlphaEditSettings {
    /// What the batch methods share; λ and λₙ have no place in this closed form.
    pub batch: BatchSettings,
    /// Eigenvalues of C below this count as zero.
    pub nullspace_threshold: f64,
    /// L₂: the ridge.
    pub l2: f64,
}

impl Tunable for AlphaEditSettings {
    fn params() -> Vec<Param<Self>> {
        let none_here = ["mom2_update_weight", "norm_weight"];
        let mut params = batch::shared(|s: &Self| &s.batch, |s| &mut s.batch, &none_here);
        params.extend([
            field!(
                "nullspace_threshold",
                "eigenvalues of C below this count as zero",
                nullspace_threshold,
                float(f64::MIN_POSITIVE)
            ),
            field!("L2", "L₂: the ridge", l2, float(f64::MIN_POSITIVE)),
        ]);
        params
    }
}

/// The AlphaEdit editor.
#[derive(Debug, Clone)]
pub struct AlphaEdit {
    settings: AlphaEditSettings,
    contexts: Contexts,
    covariance: Covariance,
}

impl AlphaEdit {
    /// An editor. A measured covariance must hold the settings' layers.
    #[must_use]
    pub fn new(settings: AlphaEditSettings, contexts: Contexts, covariance: Covariance) -> Self {
        Self { settings, contexts, covariance }
    }

    /// Defaults at some layers, and the user's hyper-parameters.
    ///
    /// # Errors
    /// [`EditError::Setting`].
    pub fn settings_of(layers: Vec<usize>, given: &[Setting]) -> Result<AlphaEditSettings, EditError> {
        let batch = BatchSettings::new(layers);
        let mut settings = AlphaEditSettings { batch, nullspace_threshold: 2e-2, l2: 1.0 };
        given.iter().try_for_each(|setting| settings.tune("alphaedit", setting))?;
        Ok(settings)
    }

    /// P for a layer; `None` with C = I on request, when P = I.
    fn projector(&self, layer: usize) -> Result<Option<std::sync::Arc<NullSpace>>, EditError> {
        match &self.covariance {
            Covariance::Identity => Ok(None),
            Covariance::Measured(base) => {
                let space = base.moments().null_space(layer, self.settings.nullspace_threshold);
                Ok(Some(space?))
            }
        }
    }

    /// The carry after an edit: the earlier keys, and those of these facts on the model with every layer
    /// written.
    fn remember(&self, edited: &Model, facts: &[Fact], carry: &Carry) -> Result<Carry, EditError> {
        let settings = &self.settings.batch;
        let prepared = Prepared::new(edited, facts, &self.contexts)?;
        let mut next = carry.clone();
        for layer in settings.written(edited)? {
            let keys = prepared.see(edited, layer, layer, settings)?.keys;
            let name = keys_of(layer);
            let all = match batch::remembered(carry, &name) {
                Some(earlier) => earlier.above(&keys).ok_or_else(misfit)?,
                None => keys,
            };
            next.matrices.extend([batch::remember(&name, &all)?]);
        }
        Ok(next)
    }
}

fn keys_of(layer: usize) -> String {
    format!("layers.{layer}.keys")
}

fn misfit() -> EditError {
    EditError::Misfit { what: "the keys, the projector and the carry" }
}

/// Δ = [R 0] (Mᵀ P M + L₂I)⁻¹ Mᵀ P with M = [K K_p].
///
/// # Errors
/// [`EditError::Misfit`]; those of [`batch::unsolved`].
pub fn delta(
    p: Option<&NullSpace>,
    k: &Rows,
    k_p: Option<&Rows>,
    r: &Rows,
    l2: f64,
) -> Result<LowRank, EditError> {
    let m = match k_p {
        Some(k_p) => k.clone().above(k_p).ok_or_else(misfit)?,
        None => k.clone(),
    };
    let images = match p {
        Some(p) => p.project(&m).ok_or_else(misfit)?,
        None => m.clone(),
    };
    push_through(&m, &images, r, l2).map_err(batch::unsolved)
}

impl Editor for AlphaEdit {
    fn name(&self) -> &str {
        "alphaedit"
    }

    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError> {
        let mut closed_form = |layer: usize, k: &Rows, r: &Rows| {
            let p = self.projector(layer)?;
            let k_p = batch::remembered(carry, &keys_of(layer));
            delta(p.as_deref(), k, k_p.as_ref(), r, self.settings.l2)
        };
        let settings = &self.settings.batch;
        let mut plan = batch::climb(model, facts, &self.contexts, settings, &mut closed_form, watch)?;
        if matches!(self.covariance, Covariance::Identity) {
            let note = "P = I: the covariance of keys was left out on request (mom2_adjustment=false)";
            plan.notes.push(note.to_owned());
        }
        let (edited, _) = model.apply(&plan.patch, &Blobs::new())?;
        plan.carry = self.remember(&edited, facts, carry)?;
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
    name: "alphaedit",
    summary: "many facts in the null space of ordinary keys",
    paper: Some("2410.02355"),
    needs_moments: true,
    needs_matrix: true,
    many: true,
    layers: LayerRule::Several,
    settings: || infos(AlphaEdit::settings_of(vec![], &[])),
    make: Make::Editor(make),
};

fn make(inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let settings = AlphaEdit::settings_of(inputs.layers(), &inputs.settings)?;
    let covariance = inputs.covariance(settings.batch.mom2_adjustment)?;
    Ok(Box::new(AlphaEdit::new(settings, inputs.contexts.clone(), covariance)))
}
