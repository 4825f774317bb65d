//! Qwen 3 of experts: Qwen 3 with a mixture of experts in the place of the MLP of all or some blocks.
//!
//! Yang et al., "Qwen3 Technical Report" (arXiv 2505.09388).

use std::collections::BTreeSet;

use super::decoder::{Decoder, QkNorm};
use super::llama::{Defaults, of_shape};
use super::qwen2::defaults;
use super::{ConfigError, Family, Keys};
use crate::mixture::MixtureSpec;

pub(super) const FAMILY: Family = Family { model_type: "qwen3_moe", describe };

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let mut this = of_shape("qwen3_moe", keys, Defaults { kv_heads: Some(4), ..defaults() })?;
    this.attention.bias = keys.flag_or("attention_bias", false)?;
    this.attention.out_bias = this.attention.bias;
    this.attention.qk_norm = QkNorm::Head;
    // Unlike Qwen 3, a window is that of all blocks.
    keys.gives("max_window_layers");
    let window = keys.whole(&["sliding_window"])?;
    let window = if keys.gives("sliding_window") { window } else { Some(4096) };
    let asked = keys.flag_or("use_sliding_window", false)?;
    let window = window.filter(|&window| window > 0 && asked);
    this.blocks.iter_mut().for_each(|block| block.attention.window = window);

    let step = keys.size_or(&["decoder_sparse_step"], 1)?;
    let dense: BTreeSet<usize> = keys.wholes("mlp_only_layers")?.unwrap_or_default().into_iter().collect();
    let mixture = MixtureSpec {
        experts: keys.size(&["num_experts", "num_local_experts"])?,
        per_token: keys.size_or(&["num_experts_per_tok"], 8)?,
        d_expert: keys.size(&["moe_intermediate_size"])?,
        renormalised: keys.flag_or("norm_topk_prob", false)?,
        blocks: (0..this.spec.layers)
            .filter(|block| !dense.contains(block) && (block + 1).is_multiple_of(step))
            .collect(),
    };
    this.mix(mixture)?;
    Ok(this)
}
