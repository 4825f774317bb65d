//! GPT-NeoX and Pythia: attention and MLP side by side or in turn, each behind a LayerNorm, positions that turn a part
//! of each head, query, key and value of a head stored together.
//!
//! Black et al., "GPT-NeoX-20B" (arXiv 2204.06745); Biderman et al., "Pythia" (arXiv 2304.01373).

use super::decoder::{
    Activation, AttentionShape, BlockNames, BlockRule, Decoder, LLAMA, MlpForm, MlpShape, Names, NormKind,
    Norms, QkNorm, Qkv,
};
use super::{ConfigError, EditDefaults, Family, Keys, Layout, ModelSpec, divides};
use crate::attention::AttentionRule;
use crate::rope::Rope;

pub(super) const FAMILY: Family = Family { model_type: "gpt_neox", describe };

const NAMES: Names = Names {
    probe: "final_layer_norm.weight",
    prefix: "gpt_neox.",
    embedding: "embed_in",
    positions: None,
    blocks: "layers",
    final_norm: "final_layer_norm",
    head: "embed_out",
    block: BlockNames {
        qkv: "attention.query_key_value",
        out: "attention.dense",
        up: "mlp.dense_h_to_4h",
        down: "mlp.dense_4h_to_h",
        ..LLAMA.block
    },
    constants: &[
        ".attention.bias",
        ".attention.masked_bias",
        ".attention.rotary_emb.inv_freq",
        ".rotary_emb.inv_freq",
    ],
};

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let named = keys.text("hidden_act")?.unwrap_or_else(|| "gelu".to_owned());
    let activation = Activation::named("hidden_act", named)?;
    let hidden_size = keys.size(&["hidden_size"])?;
    let layers = keys.size(&["num_hidden_layers"])?;
    let heads = keys.size(&["num_attention_heads"])?;
    let context = keys.size_or(&["max_position_embeddings"], 2048)?;
    divides(("num_attention_heads", heads), ("hidden_size", hidden_size))?;
    let head_dim = hidden_size / heads;
    let share = keys.number("rotary_pct")?.unwrap_or(0.25);
    let theta = keys.number("rotary_emb_base")?.unwrap_or(10_000.0);
    let mut rope = Rope::parse(keys, (theta, share), context, head_dim)?;
    let unread = std::mem::take(&mut rope.unread);
    let bias = keys.flag_or("attention_bias", true)?;
    let parallel = keys.flag_or("use_parallel_residual", true)?;
    let attention = AttentionRule { window: None, scale: (head_dim as f64).powf(-0.5), softcap: None };
    Ok(Decoder {
        spec: ModelSpec {
            architecture: "gpt_neox",
            layers,
            d_model: hidden_size,
            d_mlp: keys.size(&["intermediate_size"])?,
            heads,
            kv_heads: heads,
            head_dim,
            vocab: keys.size(&["vocab_size"])?,
            context,
            bos: keys.ids_or("bos_token_id", &[0])?.first().copied(),
            eos: keys.ids_or("eos_token_id", &[2])?,
            activation,
            norm_behind_mlp: false,
            mixture: None,
            edit: EditDefaults::gpt(layers),
        },
        names: NAMES,
        stored: Layout::OutIn,
        embedding_scale: 1.0,
        norm: NormKind::Layer,
        epsilon: keys.number("layer_norm_eps")?.unwrap_or(1e-5),
        norms: if parallel { Norms::Parallel } else { Norms::Before },
        attention: AttentionShape { qkv: Qkv::JoinedByHead, bias, out_bias: bias, qk_norm: QkNorm::None },
        ropes: vec![rope],
        blocks: vec![BlockRule { attention, rope: Some(0) }; layers],
        mlp: MlpShape { form: MlpForm::Plain, activation, bias: true },
        tied: keys.flag_or("tie_word_embeddings", false)?,
        head_bias: false,
        final_softcap: None,
        unread,
    })
}
