//! OLMo 2: Llama's shape with the norms behind the sublayers, and normalised queries and keys.
//!
//! OLMo et al., "2 OLMo 2 Furious" (arXiv 2501.00656).

use super::decoder::{Decoder, Norms, QkNorm};
use super::llama::{Defaults, of_shape};
use super::{ConfigError, Family, Keys};

pub(super) const FAMILY: Family = Family { model_type: "olmo2", describe };

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let defaults = Defaults { epsilon: 1e-5, bos: &[], eos: &[50_279], ..Defaults::default() };
    let mut this = of_shape("olmo2", keys, defaults)?;
    this.attention.bias = keys.flag_or("attention_bias", false)?;
    this.attention.out_bias = this.attention.bias;
    this.attention.qk_norm = QkNorm::Width;
    this.norms = Norms::Behind;
    this.spec.norm_behind_mlp = true;
    keys.refuse_window(this.spec.context)?;
    Ok(this)
}
