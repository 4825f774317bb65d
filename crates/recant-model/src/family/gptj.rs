//! GPT-J: attention and MLP side by side behind one LayerNorm, rotary positions of neighbouring coordinates, a head
//! with a bias.
//!
//! Wang and Komatsuzaki, "GPT-J-6B" (2021).

use super::decoder::{
    Activation, AttentionShape, BlockNames, BlockRule, Decoder, LLAMA, MlpForm, MlpShape, Names, NormKind,
    Norms, QkNorm, Qkv,
};
use super::{ConfigError, EditDefaults, Family, Keys, Layout, ModelSpec, divides};
use crate::attention::AttentionRule;
use crate::rope::Rope;

pub(super) const FAMILY: Family = Family { model_type: "gptj", describe };

const NAMES: Names = Names {
    probe: "ln_f.weight",
    prefix: "transformer.",
    embedding: "wte",
    positions: None,
    blocks: "h",
    final_norm: "ln_f",
    head: "lm_head",
    block: BlockNames {
        norm_before_attention: "ln_1",
        q: "attn.q_proj",
        k: "attn.k_proj",
        v: "attn.v_proj",
        out: "attn.out_proj",
        up: "mlp.fc_in",
        down: "mlp.fc_out",
        ..LLAMA.block
    },
    constants: &[".attn.bias", ".attn.masked_bias", ".attn.embed_positions"],
};

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let named = keys.text("activation_function")?.unwrap_or_else(|| "gelu_new".to_owned());
    let activation = Activation::named("activation_function", named)?;
    let n_embd = keys.size(&["n_embd", "hidden_size"])?;
    let layers = keys.size(&["n_layer", "num_hidden_layers"])?;
    let heads = keys.size(&["n_head", "num_attention_heads"])?;
    divides(("n_head", heads), ("n_embd", n_embd))?;
    let head_dim = n_embd / heads;
    let turned = keys.whole(&["rotary_dim"])?;
    let turned = if keys.gives("rotary_dim") { turned.unwrap_or(head_dim) } else { 64 };
    if turned == 0 || turned > head_dim || !turned.is_multiple_of(2) {
        let reason = format!(
            "rotary_dim = {turned} of the {head_dim} coordinates of a head cannot be turned in pairs"
        );
        return Err(ConfigError::Inconsistent { reason });
    }
    let attention = AttentionRule { window: None, scale: (head_dim as f64).powf(-0.5), softcap: None };
    Ok(Decoder {
        spec: ModelSpec {
            architecture: "gptj",
            layers,
            d_model: n_embd,
            d_mlp: keys.size_or(&["n_inner"], n_embd.saturating_mul(4))?,
            heads,
            kv_heads: heads,
            head_dim,
            vocab: keys.size(&["vocab_size"])?,
            context: keys.size_or(&["n_positions", "max_position_embeddings"], 2048)?,
            bos: keys.ids_or("bos_token_id", &[50256])?.first().copied(),
            eos: keys.ids_or("eos_token_id", &[50256])?,
            activation,
            norm_behind_mlp: false,
            mixture: None,
            edit: EditDefaults::gpt(layers),
        },
        names: NAMES,
        stored: Layout::OutIn,
        embedding_scale: 1.0,
        norm: NormKind::Layer,
        epsilon: keys.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        norms: Norms::ParallelShared,
        attention: AttentionShape { qkv: Qkv::Apart, bias: false, out_bias: false, qk_norm: QkNorm::None },
        ropes: vec![Rope::plain(10_000.0, turned).interleaved()],
        blocks: vec![BlockRule { attention, rope: Some(0) }; layers],
        mlp: MlpShape { form: MlpForm::Plain, activation, bias: true },
        tied: keys.flag_or("tie_word_embeddings", false)?,
        head_bias: true,
        final_softcap: None,
        unread: Vec::new(),
    })
}
