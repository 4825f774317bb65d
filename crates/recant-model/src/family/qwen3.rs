//! Qwen 3: Qwen 2 with normalised queries and keys in place of biases.
//!
//! Yang et al., "Qwen3 Technical Report" (arXiv 2505.09388).

use super::decoder::{Decoder, QkNorm};
use super::llama::{Defaults, of_shape};
use super::qwen2::{defaults, upper_windows};
use super::{ConfigError, Family, Keys};

pub(super) const FAMILY: Family = Family { model_type: "qwen3", describe };

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let mut this = of_shape("qwen3", keys, Defaults { head_dim: Some(128), ..defaults() })?;
    this.attention.bias = keys.flag_or("attention_bias", false)?;
    this.attention.out_bias = this.attention.bias;
    this.attention.qk_norm = QkNorm::Head;
    upper_windows(&mut this, keys)?;
    Ok(this)
}
