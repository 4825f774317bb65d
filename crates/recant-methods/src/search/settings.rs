//! Hyper-parameters of the search for a value, which several methods share.

use crate::settings::{Param, Tunable, field};

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
    /// Weight of what the tokens of the subject's name lose where it is said again, for rows that say it
    /// ([`crate::names`]). 0 as published.
    pub name_factor: f64,
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
            name_factor: 0.0,
            early_stop: 5e-2,
        }
    }
}

impl SearchSettings {
    /// The declaration of `name_factor`, for methods whose rows say the name again.
    pub(crate) fn of_names() -> Param<Self> {
        field!(
            "name_factor",
            "how much it counts that a model with a chat template spells the subject's name worse; 0: as published",
            name_factor,
            float(0.0)
        )
    }
}

impl Tunable for SearchSettings {
    fn params() -> Vec<Param<Self>> {
        const ABOVE: f64 = f64::MIN_POSITIVE;
        vec![
            field!("v_lr", "learning rate of the value's search (Adam)", v_lr, float(ABOVE)),
            field!("v_num_grad_steps", "steps of the value's search", v_num_grad_steps, count()),
            field!(
                "v_weight_decay",
                "how much the length of the value's change counts",
                v_weight_decay,
                float(0.0)
            ),
            field!(
                "clamp_norm_factor",
                "the value's change stays within this many times its first length",
                clamp_norm_factor,
                float(ABOVE)
            ),
            field!(
                "kl_factor",
                "how much it counts that the subject's essence drifts",
                kl_factor,
                float(0.0)
            ),
        ]
    }
}
