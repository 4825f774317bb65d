//! Phi-3 and 4 (mini): Llama's shape with joined projections.
//!
//! Abdin et al., "Phi-3 Technical Report" (arXiv 2404.14219).

use super::decoder::{Decoder, MlpForm, Qkv};
use super::llama::{Defaults, of_shape, windows};
use super::{ConfigError, Family, Keys};

pub(super) const FAMILY: Family = Family { model_type: "phi3", describe };

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let defaults = Defaults { context: 4096, epsilon: 1e-5, eos: &[32_000], ..Defaults::default() };
    let mut this = of_shape("phi3", keys, defaults)?;
    this.attention.qkv = Qkv::Joined;
    this.mlp.form = MlpForm::GatedJoined;
    let window = keys.whole(&["sliding_window"])?.filter(|&window| window > 0);
    windows(&mut this, keys, window, |_| true)?;
    Ok(this)
}
