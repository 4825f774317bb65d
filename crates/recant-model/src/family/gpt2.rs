//! GPT-2: learned positions, LayerNorm before each sublayer, tanh-GELU, Conv1D weights stored `[in, out]`.
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); parameter names as in the
//! `transformers` checkpoint, with or without the `transformer.` prefix.

use super::decoder::{
    Activation, AttentionShape, BlockNames, BlockRule, Decoder, LLAMA, MlpForm, MlpShape, Names, NormKind,
    Norms, QkNorm, Qkv,
};
use super::{ConfigError, EditDefaults, Family, Keys, Layout, ModelSpec, divides};
use crate::attention::AttentionRule;

pub(super) const FAMILY: Family = Family { model_type: "gpt2", describe };

/// The position embeddings tell whether there is a prefix, because a tied token embedding may be stored under the
/// head's name alone.
const NAMES: Names = Names {
    probe: "wpe.weight",
    prefix: "transformer.",
    embedding: "wte",
    positions: Some("wpe"),
    blocks: "h",
    final_norm: "ln_f",
    head: "lm_head",
    block: BlockNames {
        norm_before_attention: "ln_1",
        norm_before_mlp: "ln_2",
        qkv: "attn.c_attn",
        out: "attn.c_proj",
        up: "mlp.c_fc",
        down: "mlp.c_proj",
        ..LLAMA.block
    },
    constants: &[".attn.bias", ".attn.masked_bias"],
};

/// Sizes have to be given, under GPT-2's names or under those of all other models; the rest has the defaults of
/// `transformers`.
fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let named = keys.text("activation_function")?.unwrap_or_else(|| "gelu_new".to_owned());
    let activation = Activation::named("activation_function", named)?;
    if !keys.flag_or("scale_attn_weights", true)? {
        return Err(ConfigError::Setting { key: "scale_attn_weights".into(), value: "false".into() });
    }
    let n_embd = keys.size(&["n_embd", "hidden_size"])?;
    let layers = keys.size(&["n_layer", "num_hidden_layers"])?;
    let heads = keys.size(&["n_head", "num_attention_heads"])?;
    let context = keys.size_or(&["n_positions", "max_position_embeddings"], 1024)?;
    divides(("n_head", heads), ("n_embd", n_embd))?;
    keys.refuse_window(context)?;
    let head_dim = n_embd / heads;
    let attention = AttentionRule { window: None, scale: (head_dim as f64).powf(-0.5), softcap: None };
    Ok(Decoder {
        spec: ModelSpec {
            architecture: "gpt2",
            layers,
            d_model: n_embd,
            d_mlp: keys.size_or(&["n_inner"], n_embd.saturating_mul(4))?,
            heads,
            kv_heads: heads,
            head_dim,
            vocab: keys.size(&["vocab_size"])?,
            context,
            bos: keys.ids_or("bos_token_id", &[50256])?.first().copied(),
            eos: keys.ids_or("eos_token_id", &[50256])?,
            activation,
            norm_behind_mlp: false,
            mixture: None,
            edit: EditDefaults::gpt(layers),
        },
        names: NAMES,
        stored: Layout::InOut,
        embedding_scale: 1.0,
        norm: NormKind::Layer,
        epsilon: keys.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        norms: Norms::Before,
        attention: AttentionShape { qkv: Qkv::Joined, bias: true, out_bias: true, qk_norm: QkNorm::None },
        ropes: Vec::new(),
        blocks: vec![BlockRule { attention, rope: None }; layers],
        mlp: MlpShape { form: MlpForm::Plain, activation, bias: true },
        tied: keys.flag_or("tie_word_embeddings", true)?,
        head_bias: false,
        final_softcap: None,
        unread: Vec::new(),
    })
}
