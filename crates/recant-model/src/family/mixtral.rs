//! Mixtral: Mistral's shape with a mixture of experts in the place of every MLP.
//!
//! Jiang et al., "Mixtral of Experts" (arXiv 2401.04088).

use super::decoder::{BlockNames, Decoder, LLAMA, Names};
use super::llama::{Defaults, of_shape, windows};
use super::{ConfigError, Family, Keys};
use crate::mixture::MixtureSpec;

pub(super) const FAMILY: Family = Family { model_type: "mixtral", describe };

const NAMES: Names = Names {
    block: BlockNames {
        router: "block_sparse_moe.gate",
        experts: "block_sparse_moe.experts",
        expert_gate: "w1",
        expert_up: "w3",
        expert_down: "w2",
        ..LLAMA.block
    },
    ..LLAMA
};

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let defaults = Defaults {
        context: 131_072,
        epsilon: 1e-5,
        theta: 1_000_000.0,
        kv_heads: Some(8),
        ..Defaults::default()
    };
    let mut this = of_shape("mixtral", keys, defaults)?;
    this.names = NAMES;
    let window = keys.whole(&["sliding_window"])?.filter(|&window| window > 0);
    windows(&mut this, keys, window, |_| true)?;
    let mixture = MixtureSpec {
        experts: keys.size(&["num_local_experts", "num_experts"])?,
        per_token: keys.size_or(&["num_experts_per_tok"], 2)?,
        d_expert: this.spec.d_mlp,
        renormalised: true,
        blocks: (0..this.spec.layers).collect(),
    };
    this.mix(mixture)?;
    Ok(this)
}
