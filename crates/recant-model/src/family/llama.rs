//! Llama: rotary positions, RMSNorm before each sublayer, grouped-query attention, SwiGLU, tied or untied head; and
//! what the families of the same shape share.
//!
//! Touvron et al., "LLaMA" (arXiv 2302.13971) and "Llama 2" (arXiv 2307.09288); Llama 3.1 and later differ in the
//! rotary frequencies ([`Rope`]).

use super::decoder::{
    Activation, AttentionShape, BlockRule, Decoder, LLAMA, MlpForm, MlpShape, NormKind, Norms, QkNorm, Qkv,
};
use super::{ConfigError, EditDefaults, Family, Keys, Layout, ModelSpec, divides};
use crate::attention::AttentionRule;
use crate::rope::Rope;

pub(super) const FAMILY: Family = Family { model_type: "llama", describe };

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let mut this = of_shape("llama", keys, Defaults::default())?;
    this.attention.bias = keys.flag_or("attention_bias", false)?;
    this.attention.out_bias = this.attention.bias;
    this.mlp.bias = keys.flag_or("mlp_bias", false)?;
    keys.refuse_window(this.spec.context)?;
    Ok(this)
}

/// What a configuration means that does not say it.
pub(super) struct Defaults {
    pub(super) context: usize,
    pub(super) epsilon: f64,
    pub(super) tied: bool,
    pub(super) head_dim: Option<usize>,
    /// Key and value heads where the key is absent; `None`, and where it is null: as many as query heads.
    pub(super) kv_heads: Option<usize>,
    pub(super) bos: &'static [u32],
    pub(super) eos: &'static [u32],
    pub(super) theta: f64,
    /// The key that names the nonlinearity.
    pub(super) activation: (&'static str, &'static str),
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            context: 2048,
            epsilon: 1e-6,
            tied: false,
            head_dim: None,
            kv_heads: None,
            bos: &[1],
            eos: &[2],
            theta: 10_000.0,
            activation: ("hidden_act", "silu"),
        }
    }
}

/// A model of Llama's shape under Llama's names. Sizes have to be given; the rest has the defaults of `transformers`.
pub(super) fn of_shape(
    model_type: &'static str,
    keys: &Keys,
    defaults: Defaults,
) -> Result<Decoder, ConfigError> {
    let (key, usual) = defaults.activation;
    let activation = Activation::named(key, keys.text(key)?.unwrap_or_else(|| usual.to_owned()))?;
    let hidden_size = keys.size(&["hidden_size"])?;
    let heads = keys.size(&["num_attention_heads"])?;
    let own_head_dim = keys.whole(&["head_dim"])?.or(defaults.head_dim);
    if own_head_dim.is_none() {
        divides(("num_attention_heads", heads), ("hidden_size", hidden_size))?;
    }
    let head_dim = keys.size_or(&["head_dim"], own_head_dim.unwrap_or(hidden_size / heads))?;
    let context = keys.size_or(&["max_position_embeddings"], defaults.context)?;
    let kv_heads = defaults.kv_heads.filter(|_| !keys.gives("num_key_value_heads")).unwrap_or(heads);
    let kv_heads = keys.size_or(&["num_key_value_heads"], kv_heads)?;
    let layers = keys.size(&["num_hidden_layers"])?;
    divides(("num_key_value_heads", kv_heads), ("num_attention_heads", heads))?;
    divides(("2 (rotated halves)", 2), ("head_dim", head_dim))?;
    let mut rope = Rope::parse(keys, (defaults.theta, 1.0), context, head_dim)?;
    let unread = std::mem::take(&mut rope.unread);
    let attention = AttentionRule { window: None, scale: (head_dim as f64).powf(-0.5), softcap: None };
    Ok(Decoder {
        spec: ModelSpec {
            architecture: model_type,
            layers,
            d_model: hidden_size,
            d_mlp: keys.size(&["intermediate_size"])?,
            heads,
            kv_heads,
            head_dim,
            vocab: keys.size(&["vocab_size"])?,
            context,
            bos: keys.ids_or("bos_token_id", defaults.bos)?.first().copied(),
            eos: keys.ids_or("eos_token_id", defaults.eos)?,
            activation,
            norm_behind_mlp: false,
            mixture: None,
            edit: EditDefaults::llama(layers),
        },
        names: LLAMA,
        stored: Layout::OutIn,
        embedding_scale: 1.0,
        norm: NormKind::Rms,
        epsilon: keys.number("rms_norm_eps")?.unwrap_or(defaults.epsilon),
        norms: Norms::Before,
        attention: AttentionShape { qkv: Qkv::Apart, bias: false, out_bias: false, qk_norm: QkNorm::None },
        ropes: vec![rope],
        blocks: vec![BlockRule { attention, rope: Some(0) }; layers],
        mlp: MlpShape { form: MlpForm::Gated, activation, bias: false },
        tied: keys.flag_or("tie_word_embeddings", defaults.tied)?,
        head_bias: false,
        final_softcap: None,
        unread,
    })
}

/// Which blocks have a window: those that `layer_types` names, or where it is not given those that `slides` says.
pub(super) fn windows(
    this: &mut Decoder,
    keys: &Keys,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<bool>, ConfigError> {
    let types = keys.texts("layer_types")?;
    let layers = this.spec.layers;
    let sliding: Vec<bool> = match types {
        None => (0..layers).map(|i| window.is_some() && slides(i)).collect(),
        Some(types) => {
            if types.len() != layers {
                let reason = format!("layer_types has {} entries for {layers} layers", types.len());
                return Err(ConfigError::Inconsistent { reason });
            }
            let sliding = |name: &String| match name.as_str() {
                "full_attention" => Ok(false),
                "sliding_attention" => Ok(true),
                _ => Err(ConfigError::Setting { key: "layer_types".into(), value: name.clone() }),
            };
            types.iter().map(sliding).collect::<Result<_, _>>()?
        }
    };
    for (block, sliding) in this.blocks.iter_mut().zip(&sliding) {
        block.attention.window = window.filter(|_| *sliding);
    }
    Ok(sliding)
}
