//! Hyper-parameters of the search for a value, which several methods share.

use recant_edit::EditError;

use crate::settings::Setting;

/// Settings of the search, named as in the reference code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchSettings {
    /// Adam's learning rate.
    pub v_lr: f64,
    /// Steps; the last one only evaluates.
    pub v_num_grad_steps: usize,
    /// Weight of ‖δ‖ / ‖v₀‖².
    pub v_weight_decay: f64,
    /// δ is kept within this many times ‖v₀‖.
    pub clamp_norm_factor: f64,
    /// Weight of the essence row's KL divergence.
    pub kl_factor: f64,
    /// The search ends when the loss falls below this.
    pub early_stop: f64,
}

impl SearchSettings {
    /// ROME's published values for GPT-2 XL.
    #[must_use]
    pub fn published() -> Self {
        Self {
            v_lr: 0.5,
            v_num_grad_steps: 20,
            v_weight_decay: 0.5,
            clamp_norm_factor: 4.0,
            kl_factor: 0.0625,
            early_stop: 5e-2,
        }
    }

    /// Sets one hyper-parameter; `false` when the search has none of this name.
    ///
    /// # Errors
    /// [`EditError::Setting`] when the value is out of range.
    pub(crate) fn set(&mut self, setting: &Setting) -> Result<bool, EditError> {
        match setting.key.as_str() {
            "v_lr" => self.v_lr = setting.float(f64::MIN_POSITIVE)?,
            "v_num_grad_steps" => self.v_num_grad_steps = setting.count()?,
            "v_weight_decay" => self.v_weight_decay = setting.float(0.0)?,
            "clamp_norm_factor" => self.clamp_norm_factor = setting.float(f64::MIN_POSITIVE)?,
            "kl_factor" => self.kl_factor = setting.float(0.0)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Every hyper-parameter by its name.
    pub(crate) fn named(&self) -> [(&'static str, String); 5] {
        [
            ("v_lr", self.v_lr.to_string()),
            ("v_num_grad_steps", self.v_num_grad_steps.to_string()),
            ("v_weight_decay", self.v_weight_decay.to_string()),
            ("clamp_norm_factor", self.clamp_norm_factor.to_string()),
            ("kl_factor", self.kl_factor.to_string()),
        ]
    }
}
