//! ERNIE 4.5 (dense): Llama's shape, where neighbouring coordinates turn, with biases everywhere or nowhere.
//!
//! Baidu, "ERNIE 4.5 Technical Report" (2025).

use super::decoder::Decoder;
use super::llama::{Defaults, of_shape};
use super::{ConfigError, Family, Keys};

pub(super) const FAMILY: Family = Family { model_type: "ernie4_5", describe };

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let defaults = Defaults {
        context: 131_072,
        epsilon: 1e-5,
        tied: true,
        head_dim: Some(128),
        kv_heads: Some(2),
        theta: 500_000.0,
        ..Defaults::default()
    };
    let mut this = of_shape("ernie4_5", keys, defaults)?;
    let biased = keys.flag_or("use_bias", false)?;
    (this.attention.bias, this.attention.out_bias, this.mlp.bias) = (biased, biased, biased);
    this.ropes = this.ropes.into_iter().map(|rope| rope.interleaved()).collect();
    Ok(this)
}
