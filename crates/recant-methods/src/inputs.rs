//! What methods are made from.

use recant_edit::{Contexts, EditError, StatisticsError};
use recant_model::Model;

use crate::rome::Covariance;
use crate::settings::Setting;

/// What editors and memories are made from.
#[derive(Debug, Clone)]
pub struct MethodInputs {
    /// The edited layer.
    pub layer: usize,
    /// Layers of the methods that edit several, ascending; empty: `layer` alone.
    pub layers: Vec<usize>,
    /// Context templates.
    pub contexts: Contexts,
    /// Second moments of keys, if there are any; see [`Covariance::measured`].
    pub covariance: Option<Covariance>,
    /// The user's hyper-parameters.
    pub settings: Vec<Setting>,
    /// Seed of everything that is drawn, where no hyper-parameter says another.
    pub seed: u64,
}

impl MethodInputs {
    pub(crate) fn layers(&self) -> Vec<usize> {
        if self.layers.is_empty() { vec![self.layer] } else { self.layers.clone() }
    }

    /// The measured covariance, or the identity where the user asked for it.
    pub(crate) fn covariance(&self, adjusted: bool) -> Result<Covariance, EditError> {
        match (&self.covariance, adjusted) {
            (_, false) => Ok(Covariance::Identity),
            (Some(covariance), true) => Ok(covariance.clone()),
            (None, true) => Err(StatisticsError::Missing.into()),
        }
    }

    /// The contexts given, or five short ones where only the bare prompt was: an edit should hold in running text.
    pub(crate) fn several_contexts(&self, base: &Model) -> Result<Contexts, EditError> {
        if self.contexts != Contexts::bare() {
            return Ok(self.contexts.clone());
        }
        let seed = self.settings.iter().find(|setting| setting.key == "seed");
        let seed = seed.map_or(Ok(self.seed), Setting::whole)?;
        Ok(Contexts::sample(base, &[(5, 2), (10, 3)], seed)?)
    }

    /// Gives the user's hyper-parameters to `set`, one after another.
    pub(crate) fn set(&self, set: impl FnMut(&Setting) -> Result<(), EditError>) -> Result<(), EditError> {
        self.settings.iter().try_for_each(set)
    }
}
