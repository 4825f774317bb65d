//! SmolLM3: Llama's shape, where positions do not turn in some blocks.
//!
//! Hugging Face, "SmolLM3" (2025); Yang et al., "RoPE to NoPE and Back Again" (arXiv 2501.18795).

use super::decoder::Decoder;
use super::llama::{Defaults, of_shape, windows};
use super::{ConfigError, Family, Keys};

pub(super) const FAMILY: Family = Family { model_type: "smollm3", describe };

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let defaults = Defaults {
        context: 32_768,
        tied: true,
        kv_heads: Some(4),
        bos: &[128_000],
        eos: &[128_001],
        theta: 2_000_000.0,
        ..Defaults::default()
    };
    let mut this = of_shape("smollm3", keys, defaults)?;
    this.attention.bias = keys.flag_or("attention_bias", false)?;
    this.attention.out_bias = this.attention.bias;
    this.mlp.bias = keys.flag_or("mlp_bias", false)?;
    let layers = this.spec.layers;
    // 1 where a block turns.
    let interval = keys.size_or(&["no_rope_layer_interval"], 4)?;
    let turns = match keys.wholes("no_rope_layers")? {
        None => (0..layers).map(|i| !(i + 1).is_multiple_of(interval)).collect(),
        Some(turns) if turns.len() == layers => turns.into_iter().map(|turns| turns != 0).collect::<Vec<_>>(),
        Some(turns) => {
            let reason = format!("no_rope_layers has {} entries for {layers} layers", turns.len());
            return Err(ConfigError::Inconsistent { reason });
        }
    };
    for (block, turns) in this.blocks.iter_mut().zip(&turns) {
        block.rope = block.rope.filter(|_| *turns);
    }
    let asked = keys.flag_or("use_sliding_window", false)?;
    let window = keys.whole(&["sliding_window"])?.filter(|&window| window > 0 && asked);
    windows(&mut this, keys, window, |i| !turns[i])?;
    Ok(this)
}
