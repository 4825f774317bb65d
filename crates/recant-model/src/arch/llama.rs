//! Llama: rotary positions, RMSNorm before each sublayer, grouped-query attention, SwiGLU, weights stored
//! `[out, in]`, tied or untied head.
//!
//! Touvron et al., "LLaMA" (arXiv 2302.13971) and "Llama 2" (arXiv 2307.09288); Llama 3.1 and later differ in the
//! rotary frequencies ([`Rope`]).

use burn::tensor::{Tensor, module};
use recant_backend::{
    Device,
    ops::{rms_norm, silu},
};
use recant_core::{Point, Site};

use super::{ConfigError, Keys, ModelSpec, divides};
use crate::attention::{Attend, merge_heads, split_heads};
use crate::forward::{ForwardInput, Source, narrowed};
use crate::hook::{Hook, at};
use crate::model::LanguageModel;
use crate::params::{ParamError, Taking};
use crate::rope::{Rope, rotate};

/// config.json of a Llama checkpoint, as far as it decides the computation.
#[derive(Debug, Clone)]
pub struct LlamaConfig {
    num_hidden_layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    max_position_embeddings: usize,
    vocab_size: usize,
    rms_norm_eps: f64,
    pub(super) rope: Rope,
    attention_bias: bool,
    mlp_bias: bool,
    tie_word_embeddings: bool,
    bos: Option<u32>,
    pub(super) eos: Vec<u32>,
}

/// The prefix before every name but the head's: files of the bare model have none.
pub(super) fn prefix(has: &dyn Fn(&str) -> bool) -> &'static str {
    if has("norm.weight") { "" } else { "model." }
}

impl LlamaConfig {
    /// Sizes have to be given; the rest has the defaults of `transformers`.
    pub(super) fn parse(keys: &Keys) -> Result<Self, ConfigError> {
        // `swish` is the older name of the same function.
        if let Some(value) =
            keys.text("hidden_act")?.filter(|name| !["silu", "swish"].contains(&name.as_str()))
        {
            return Err(ConfigError::Setting { key: "hidden_act".into(), value });
        }
        let hidden_size = keys.size(&["hidden_size"])?;
        let heads = keys.size(&["num_attention_heads"])?;
        let own_head_dim = keys.whole(&["head_dim"])?;
        if own_head_dim.is_none() {
            divides(("num_attention_heads", heads), ("hidden_size", hidden_size))?;
        }
        let context = keys.size_or(&["max_position_embeddings"], 2048)?;
        let this = Self {
            num_hidden_layers: keys.size(&["num_hidden_layers"])?,
            hidden_size,
            intermediate_size: keys.size(&["intermediate_size"])?,
            num_attention_heads: heads,
            num_key_value_heads: keys.size_or(&["num_key_value_heads"], heads)?,
            head_dim: keys.size_or(&["head_dim"], hidden_size / heads)?,
            max_position_embeddings: context,
            vocab_size: keys.size(&["vocab_size"])?,
            rms_norm_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6),
            rope: Rope::parse(keys, context)?,
            attention_bias: keys.flag_or("attention_bias", false)?,
            mlp_bias: keys.flag_or("mlp_bias", false)?,
            tie_word_embeddings: keys.flag_or("tie_word_embeddings", false)?,
            bos: keys.ids_or("bos_token_id", &[1])?.first().copied(),
            eos: keys.ids_or("eos_token_id", &[2])?,
        };
        divides(("num_key_value_heads", this.num_key_value_heads), ("num_attention_heads", heads))?;
        divides(("2 (rotated halves)", 2), ("head_dim", this.head_dim))?;
        Ok(this)
    }

    pub(super) fn spec(&self) -> ModelSpec {
        ModelSpec {
            architecture: "llama",
            layers: self.num_hidden_layers,
            d_model: self.hidden_size,
            d_mlp: self.intermediate_size,
            heads: self.num_attention_heads,
            kv_heads: self.num_key_value_heads,
            head_dim: self.head_dim,
            vocab: self.vocab_size,
            context: self.max_position_embeddings,
            bos: self.bos,
            eos: self.eos.clone(),
        }
    }

    /// Name of the token embedding when it is the head as well.
    pub(super) fn tied_embedding(&self, has: &dyn Fn(&str) -> bool) -> Option<String> {
        self.tie_word_embeddings.then(|| format!("{}embed_tokens.weight", prefix(has)))
    }
}

struct Linear {
    weight: Tensor<2>, // [in, out]: a transposed view of the checkpoint's [out, in]
    bias: Option<Tensor<1>>,
}

struct Block {
    input_norm: Tensor<1>,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    post_attention_norm: Tensor<1>,
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

/// A Llama forward pass over device tensors.
pub(super) struct Llama {
    spec: ModelSpec,
    epsilon: f64,
    rope: Rope,
    device: Device,
    embed_tokens: Tensor<2>,
    blocks: Vec<Block>,
    norm: Tensor<1>,
    lm_head: Tensor<2>, // [vocab, d_model]
}

impl Llama {
    pub(super) fn build(config: &LlamaConfig, params: &Taking<'_>) -> Result<Self, ParamError> {
        let spec = config.spec();
        let (d, d_mlp) = (spec.d_model, spec.d_mlp);
        let prefix = prefix(&|path| params.has(path));
        let (q_width, kv_width) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let linear =
            |name: String, inputs: usize, outputs: usize, biased: bool| -> Result<Linear, ParamError> {
                let weight = params.matrix(&format!("{name}.weight"), [outputs, inputs])?.transpose();
                let bias = biased.then(|| params.vector(&format!("{name}.bias"), outputs)).transpose()?;
                Ok(Linear { weight, bias })
            };
        let block = |i: usize| -> Result<Block, ParamError> {
            let name = |part: &str| format!("{prefix}layers.{i}.{part}");
            let attention = config.attention_bias;
            Ok(Block {
                input_norm: params.vector(&name("input_layernorm.weight"), d)?,
                q_proj: linear(name("self_attn.q_proj"), d, q_width, attention)?,
                k_proj: linear(name("self_attn.k_proj"), d, kv_width, attention)?,
                v_proj: linear(name("self_attn.v_proj"), d, kv_width, attention)?,
                o_proj: linear(name("self_attn.o_proj"), q_width, d, attention)?,
                post_attention_norm: params.vector(&name("post_attention_layernorm.weight"), d)?,
                gate_proj: linear(name("mlp.gate_proj"), d, d_mlp, config.mlp_bias)?,
                up_proj: linear(name("mlp.up_proj"), d, d_mlp, config.mlp_bias)?,
                down_proj: linear(name("mlp.down_proj"), d_mlp, d, config.mlp_bias)?,
            })
        };
        let embed_tokens = params.matrix(&format!("{prefix}embed_tokens.weight"), [spec.vocab, d])?;
        let lm_head = match params.matrix("lm_head.weight", [spec.vocab, d]) {
            Err(ParamError::Missing { .. }) if config.tie_word_embeddings => embed_tokens.clone(),
            other => other?,
        };
        Ok(Self {
            epsilon: config.rms_norm_eps,
            rope: config.rope.clone(),
            device: params.device().clone(),
            blocks: (0..spec.layers).map(block).collect::<Result<_, _>>()?,
            norm: params.vector(&format!("{prefix}norm.weight"), d)?,
            embed_tokens,
            lm_head,
            spec,
        })
    }
}

fn linear(x: Tensor<3>, linear: &Linear) -> Tensor<3> {
    module::linear(x, linear.weight.clone(), linear.bias.clone())
}

impl LanguageModel for Llama {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn forward(&self, mut input: ForwardInput<'_>, hook: &mut dyn Hook) -> Option<Tensor<3>> {
        let (mut x, first) = match &input.source {
            Source::Tokens(ids) => {
                let embedded = module::embedding(self.embed_tokens.clone(), ids.clone());
                (at(hook, Site::Embed, embedded)?, 0)
            }
            Source::Residual { block, x } => (x.clone(), *block),
        };
        let [rows, tokens, _] = x.dims();
        let rotation = self.rope.tables(&input.positions, [rows, tokens, self.spec.head_dim], &self.device);
        let mut only = input.only;
        let mut attend = Attend { past: input.past.as_ref(), keep: input.keep.take() };
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            let site = |point| Site::Block(i as u16, point);
            x = at(hook, site(Point::ResidPre), x)?;

            let normed = rms_norm(x.clone(), block.input_norm.clone(), self.epsilon);
            let q = split_heads(linear(normed.clone(), &block.q_proj), self.spec.heads);
            let k = split_heads(linear(normed.clone(), &block.k_proj), self.spec.kv_heads);
            let v = split_heads(linear(normed, &block.v_proj), self.spec.kv_heads);
            let attended = attend.run(i, rotate(q, &rotation), rotate(k, &rotation), v);
            let attn_out = at(hook, site(Point::AttnOut), linear(merge_heads(attended), &block.o_proj))?;
            x = x + attn_out;
            if i + 1 == self.spec.layers {
                x = narrowed(x, only.take(), &self.device);
            }

            let normed = rms_norm(x.clone(), block.post_attention_norm.clone(), self.epsilon);
            let mlp_in = at(hook, site(Point::MlpIn), normed)?;
            let gated = silu(linear(mlp_in.clone(), &block.gate_proj)) * linear(mlp_in, &block.up_proj);
            let key = at(hook, site(Point::MlpKey), gated)?;
            let mlp_out = at(hook, site(Point::MlpOut), linear(key, &block.down_proj))?;
            x = at(hook, site(Point::ResidPost), x + mlp_out)?;
        }
        // None is left, unless the pass began above the last block.
        x = narrowed(x, only, &self.device);
        at(hook, Site::FinalNorm, rms_norm(x, self.norm.clone(), self.epsilon))
    }

    fn unembed(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.lm_head.clone().transpose())
    }
}
