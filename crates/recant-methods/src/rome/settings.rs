//! ROME's hyper-parameters, named as in the reference code.

use std::collections::BTreeMap;

use recant_edit::EditError;

use crate::search::SearchSettings;
use crate::settings::Setting;

/// Which key k' stands in the divisor and in W k'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRule {
    /// The mean over all contexts, the same as in u: R-ROME.
    Mean,
    /// The bare prompt's: the original ROME code.
    Bare,
}

/// Settings of ROME and R-ROME.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RomeSettings {
    /// The edited layer.
    pub layer: usize,
    /// Which key the divisor uses.
    pub keys: KeyRule,
    /// The v* search.
    pub search: SearchSettings,
    /// Weight of the bare prompt in the mean key; the other contexts share the rest. `None`: all alike, as
    /// published. MEMIT's rule is 0.5.
    pub bare_weight: Option<f64>,
    /// Whether C⁻¹ is used; `false` means C = I.
    pub mom2_adjustment: bool,
}

/// Names of the hyper-parameters.
pub const KNOWN: [&str; 9] = [
    "layers",
    "bare_weight",
    "v_lr",
    "v_num_grad_steps",
    "v_weight_decay",
    "clamp_norm_factor",
    "kl_factor",
    "mom2_adjustment",
    "fact_token",
];

impl RomeSettings {
    /// The published defaults for GPT-2 XL, at a layer.
    #[must_use]
    pub fn new(layer: usize, keys: KeyRule) -> Self {
        Self { layer, keys, search: SearchSettings::published(), bare_weight: None, mom2_adjustment: true }
    }

    /// Sets one hyper-parameter.
    ///
    /// # Errors
    /// [`EditError::Setting`] when it is unknown or out of range.
    pub fn set(&mut self, setting: &Setting) -> Result<(), EditError> {
        match setting.key.as_str() {
            "layers" | "layer" => self.layer = setting.one_layer()?,
            "bare_weight" if setting.value == "alike" => self.bare_weight = None,
            "bare_weight" => {
                let weight = setting.float(0.0)?;
                if weight > 1.0 {
                    return Err(setting.refuse("a weight between 0 and 1, or `alike`, is expected"));
                }
                self.bare_weight = Some(weight);
            }
            "mom2_adjustment" => self.mom2_adjustment = setting.flag()?,
            "fact_token" if setting.value == "subject_last" => {}
            "fact_token" => return Err(setting.refuse("only subject_last is supported")),
            _ if self.search.set(setting)? => {}
            _ => return Err(setting.unknown("rome", &KNOWN)),
        }
        Ok(())
    }

    pub(super) fn named(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("layers", self.layer.to_string()),
            ("fact_token", "subject_last".to_owned()),
            ("bare_weight", self.bare_weight.map_or("alike".to_owned(), |weight| weight.to_string())),
        ];
        pairs.into_iter().chain(self.search.named()).map(|(key, value)| (key.to_owned(), value)).collect()
    }
}
