//! Gemma 2: norms around each sublayer, scaled embeddings, soft caps, a window in every other block.
//!
//! Gemma Team, "Gemma 2: Improving Open Language Models at a Practical Size" (arXiv 2408.00118).

use super::decoder::{BlockNames, Decoder, LLAMA, Names, NormKind, Norms};
use super::llama::{Defaults, of_shape, windows};
use super::{ConfigError, Family, Keys};

pub(super) const FAMILY: Family = Family { model_type: "gemma2", describe };

/// Llama's names, with four norms a block.
const NAMES: Names =
    Names { block: BlockNames { norm_before_mlp: "pre_feedforward_layernorm", ..LLAMA.block }, ..LLAMA };

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let mut this = of_gemma("gemma2", keys, 8192)?;
    let softcap = cap(keys, "attn_logit_softcapping", 50.0)?;
    this.blocks.iter_mut().for_each(|block| block.attention.softcap = softcap);
    this.final_softcap = cap(keys, "final_logit_softcapping", 30.0)?;
    let window = keys.size_or(&["sliding_window"], 4096)?;
    windows(&mut this, keys, Some(window), |i| i.is_multiple_of(2))?;
    Ok(this)
}

/// What Gemma 2 and 3 share.
pub(super) fn of_gemma(
    model_type: &'static str,
    keys: &Keys,
    context: usize,
) -> Result<Decoder, ConfigError> {
    let defaults = Defaults {
        context,
        tied: true,
        head_dim: Some(256),
        kv_heads: Some(4),
        bos: &[2],
        eos: &[1],
        activation: ("hidden_activation", "gelu_pytorch_tanh"),
        ..Defaults::default()
    };
    // An older name of the key, with a value that was never heeded.
    keys.gives("hidden_act");
    let mut this = of_shape(model_type, keys, defaults)?;
    this.attention.bias = keys.flag_or("attention_bias", false)?;
    this.attention.out_bias = this.attention.bias;
    this.names = NAMES;
    this.norm = NormKind::RmsPlusOne;
    this.norms = Norms::Around;
    this.spec.norm_behind_mlp = true;
    this.embedding_scale = (this.spec.d_model as f64).sqrt();
    let scale = keys.number("query_pre_attn_scalar")?.unwrap_or(256.0).powf(-0.5);
    this.blocks.iter_mut().for_each(|block| block.attention.scale = scale);
    Ok(this)
}

/// A soft cap; null is none, and a key that is not there has the default.
fn cap(keys: &Keys, name: &'static str, default: f64) -> Result<Option<f64>, ConfigError> {
    let given = keys.number(name)?;
    Ok(if keys.gives(name) { given } else { Some(default) })
}
