//! Hyper-parameters of the batch methods, named as in the reference code.

use std::collections::BTreeMap;

use recant_edit::EditError;
use recant_model::Model;

use crate::search::SearchSettings;
use crate::settings::Setting;

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

/// Names of the hyper-parameters.
pub const KNOWN: [&str; 14] = [
    "layers",
    "bare_weight",
    "v_lr",
    "v_num_grad_steps",
    "v_weight_decay",
    "clamp_norm_factor",
    "kl_factor",
    "mom2_update_weight",
    "norm_weight",
    "blue",
    "consistent_keys",
    "mom2_adjustment",
    "max_mb",
    "fact_token",
];

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

    /// Sets one hyper-parameter; `false` when the name is not one of [`KNOWN`].
    ///
    /// # Errors
    /// [`EditError::Setting`] when the value is out of range.
    pub fn set(&mut self, setting: &Setting) -> Result<bool, EditError> {
        match setting.key.as_str() {
            "layers" | "layer" => self.layers = setting.layer_list()?,
            "bare_weight" => {
                self.bare_weight = setting.float(0.0)?;
                if self.bare_weight > 1.0 {
                    return Err(setting.refuse("a weight between 0 and 1 is expected"));
                }
            }
            "mom2_update_weight" => self.mom2_update_weight = setting.float(f64::MIN_POSITIVE)?,
            "norm_weight" => self.norm_weight = setting.float(0.0)?,
            "blue" => self.blue = setting.flag()?,
            "consistent_keys" => self.consistent_keys = setting.flag()?,
            "mom2_adjustment" => self.mom2_adjustment = setting.flag()?,
            "max_mb" => self.max_mb = setting.count()?,
            "fact_token" if setting.value == "subject_last" => {}
            "fact_token" => return Err(setting.refuse("only subject_last is supported")),
            _ => return self.search.set(setting),
        }
        Ok(true)
    }

    pub(super) fn named(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("layers", self.layers.iter().map(usize::to_string).collect::<Vec<_>>().join(",")),
            ("bare_weight", self.bare_weight.to_string()),
            ("mom2_update_weight", self.mom2_update_weight.to_string()),
            ("norm_weight", self.norm_weight.to_string()),
            ("blue", self.blue.to_string()),
            ("consistent_keys", self.consistent_keys.to_string()),
            ("max_mb", self.max_mb.to_string()),
            ("fact_token", "subject_last".to_owned()),
        ];
        pairs.into_iter().chain(self.search.named()).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The layers that are written: all, or with BLUE the first and the last.
    ///
    /// # Errors
    /// [`EditError::Layer`] when one does not exist, [`EditError::Setting`] when there are none.
    pub fn written(&self, model: &Model) -> Result<Vec<usize>, EditError> {
        let layers = model.spec().layers;
        if let Some(&layer) = self.layers.iter().find(|&&layer| layer >= layers) {
            return Err(EditError::Layer { layer, layers });
        }
        match (&self.layers[..], self.blue) {
            ([], _) => Err(EditError::Setting {
                key: "layers".to_owned(),
                value: String::new(),
                reason: "at least one layer is needed".to_owned(),
            }),
            ([first, .., last], true) => Ok(vec![*first, *last]),
            (all, _) => Ok(all.to_vec()),
        }
    }

    /// Rows of a plain forward pass that fit the cap: a pass keeps a few activations of a layer at a time.
    pub(super) fn rows_at_once(&self, model: &Model) -> usize {
        let spec = model.spec();
        let a_row = 4 * 32 * (8 * spec.d_model + 3 * spec.d_mlp);
        (self.max_mb.saturating_mul(1 << 20) / a_row).clamp(1, 512)
    }
}
