//! Hyper-parameters of the batch methods, named as in the reference code.

use recant_edit::EditError;
use recant_model::Model;

use crate::region::blocks_with_matrix;
use crate::search::SearchSettings;
use crate::settings::{Param, Tunable, fact_token, field, layer_list};

/// Settings that MEMIT, EMMET, AlphaEdit and the ledger share.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchSettings {
    /// The written layers, ascending.
    pub layers: Vec<usize>,
    /// The search for z.
    pub search: SearchSettings,
    /// Weight of the bare prompt in the mean key; the other contexts share the rest.
    pub bare_weight: f64,
    /// λ: how much ordinary keys count against the edits.
    pub mom2_update_weight: f64,
    /// λₙ: how much the length of ΔW counts (ENCORE); 0 leaves it out.
    pub norm_weight: f64,
    /// Write only the first and the last layer, each with its whole residual (BLUE).
    pub blue: bool,
    /// Measure residuals over the same contexts as keys, as R-ROME does, not at the bare prompt alone.
    pub consistent_keys: bool,
    /// Whether C is used; `false` means C = I.
    pub mom2_adjustment: bool,
    /// Megabytes that the graph of the search may take, by estimate.
    pub max_mb: usize,
}

impl BatchSettings {
    /// Defaults at some layers. What the literature tunes for billions of parameters is kept where it carries
    /// over; λ and the clamp are those that hold on small models too, see `docs/batch.md`.
    #[must_use]
    pub fn new(layers: Vec<usize>) -> Self {
        let search =
            SearchSettings { v_weight_decay: 0.1, clamp_norm_factor: 1.5, ..SearchSettings::published() };
        Self {
            layers,
            search,
            bare_weight: 0.5,
            mom2_update_weight: 50.0,
            norm_weight: 0.0,
            blue: false,
            consistent_keys: false,
            mom2_adjustment: true,
            max_mb: 512,
        }
    }

    /// The layers that are written: all, or with BLUE the first and the last.
    ///
    /// # Errors
    /// [`EditError::Layer`] when one does not exist, [`EditError::Mixture`] when one is a mixture of experts,
    /// [`EditError::Setting`] when there are none.
    pub fn written(&self, model: &Model) -> Result<Vec<usize>, EditError> {
        let written = match (&self.layers[..], self.blue) {
            ([first, .., last], true) => vec![*first, *last],
            (all, _) => all.to_vec(),
        };
        blocks_with_matrix(model, &written)?;
        Ok(written)
    }

    /// Rows of a plain forward pass that fit the cap: a pass keeps a few activations of a layer at a time.
    pub(super) fn rows_at_once(&self, model: &Model) -> usize {
        let spec = model.spec();
        let a_row = 4 * 32 * (8 * spec.d_model + 3 * spec.hidden_width());
        (self.max_mb.saturating_mul(1 << 20) / a_row).clamp(1, 512)
    }
}

impl Tunable for BatchSettings {
    fn params() -> Vec<Param<Self>> {
        let mut params = vec![
            layer_list(|s: &Self| &s.layers, |s| &mut s.layers),
            field!("bare_weight", "weight of the bare prompt in the mean key", bare_weight, weight()),
            field!(
                "mom2_update_weight",
                "λ: how much ordinary keys count against the edits",
                mom2_update_weight,
                float(f64::MIN_POSITIVE)
            ),
            field!("norm_weight", "λₙ: how much the length of ΔW counts (ENCORE)", norm_weight, float(0.0)),
            field!("blue", "write only the first and the last layer (BLUE)", blue, flag()),
            field!(
                "consistent_keys",
                "measure residuals over the contexts too, as R-ROME",
                consistent_keys,
                flag()
            ),
            field!("mom2_adjustment", "whether C is used; false: C = I", mom2_adjustment, flag()),
            field!("max_mb", "megabytes that the search may take, by estimate", max_mb, count()),
            fact_token(),
        ];
        params.extend(
            SearchSettings::params().into_iter().map(|p| p.of(|s: &Self| &s.search, |s| &mut s.search)),
        );
        params
    }
}

/// The parameters of settings that hold [`BatchSettings`] as a part, but for some names.
pub(crate) fn shared<T: 'static>(
    part: fn(&T) -> &BatchSettings,
    part_mut: fn(&mut T) -> &mut BatchSettings,
    without: &[&str],
) -> Vec<Param<T>> {
    let params = BatchSettings::params().into_iter().filter(|param| !without.contains(&param.name()));
    params.map(|param| param.of(part, part_mut)).collect()
}
