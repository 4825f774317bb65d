//! Llama: rotary positions, RMSNorm before each sublayer, grouped-query attention, SwiGLU, weights stored
//! `[out, in]`, tied or untied head.
//!
//! Touvron et al., "LLaMA" (arXiv 2302.13971) and "Llama 2" (arXiv 2307.09288); RoPE: Su et al.
//! (arXiv 2104.09864) in the half-split form of the `transformers` checkpoint.

use burn::tensor::{Tensor, module};
use recant_backend::{
    Device,
    ops::{rms_norm, silu},
    upload_f32,
};
use recant_core::{Point, Site};
use serde::Deserialize;

use super::{ConfigError, ModelSpec, OneOrMany, at_least_one, divides};
use crate::attention::{Attend, merge_heads, split_heads};
use crate::forward::{ForwardInput, Source, narrowed};
use crate::hook::{Hook, at};
use crate::model::LanguageModel;
use crate::params::{ParamError, Params};

/// config.json of a Llama checkpoint, as far as it decides the computation.
#[derive(Debug, Clone, Deserialize)]
pub struct LlamaConfig {
    num_hidden_layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    vocab_size: usize,
    rms_norm_eps: f64,
    #[serde(default = "silu_name")]
    hidden_act: String,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    rope_parameters: Option<RopeParameters>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    tie_word_embeddings: bool,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,
}

/// The rotary settings: `rope_parameters` since transformers 5, `rope_theta` and `rope_scaling` before.
#[derive(Debug, Clone, Deserialize)]
struct RopeParameters {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

fn silu_name() -> String {
    "silu".to_owned()
}

impl LlamaConfig {
    pub(super) fn parse(config: &[u8]) -> Result<Self, ConfigError> {
        let this: Self = serde_json::from_slice(config)?;
        if this.hidden_act != "silu" {
            return Err(ConfigError::Setting { key: "hidden_act", value: this.hidden_act });
        }
        for rope in [&this.rope_scaling, &this.rope_parameters].into_iter().flatten() {
            if let Some(kind) = rope.rope_type.as_deref().filter(|kind| *kind != "default") {
                return Err(ConfigError::Setting { key: "rope_type", value: kind.to_owned() });
            }
        }
        at_least_one(&[
            ("num_hidden_layers", this.num_hidden_layers),
            ("hidden_size", this.hidden_size),
            ("intermediate_size", this.intermediate_size),
            ("num_attention_heads", this.num_attention_heads),
            ("num_key_value_heads", this.kv_heads()),
            ("max_position_embeddings", this.max_position_embeddings),
            ("vocab_size", this.vocab_size),
            ("head_dim", this.head_dim()),
        ])?;
        if this.head_dim.is_none() {
            divides(("num_attention_heads", this.num_attention_heads), ("hidden_size", this.hidden_size))?;
        }
        divides(("num_key_value_heads", this.kv_heads()), ("num_attention_heads", this.num_attention_heads))?;
        divides(("2 (rotated halves)", 2), ("head_dim", this.head_dim()))?;
        Ok(this)
    }

    fn kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size.checked_div(self.num_attention_heads).unwrap_or(0))
    }

    fn theta(&self) -> f64 {
        let nested = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        nested.or(self.rope_theta).unwrap_or(10_000.0)
    }

    pub(super) fn spec(&self) -> ModelSpec {
        ModelSpec {
            architecture: "llama",
            layers: self.num_hidden_layers,
            d_model: self.hidden_size,
            d_mlp: self.intermediate_size,
            heads: self.num_attention_heads,
            kv_heads: self.kv_heads(),
            head_dim: self.head_dim(),
            vocab: self.vocab_size,
            context: self.max_position_embeddings,
            bos: self.bos_token_id,
            eos: OneOrMany::to_vec(self.eos_token_id.as_ref()),
        }
    }

    pub(super) fn ties(&self) -> Vec<(String, String)> {
        let tie = || vec![("lm_head.weight".to_owned(), "model.embed_tokens.weight".to_owned())];
        self.tie_word_embeddings.then(tie).unwrap_or_default()
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
    theta: f64,
    device: Device,
    embed_tokens: Tensor<2>,
    blocks: Vec<Block>,
    norm: Tensor<1>,
    lm_head: Tensor<2>, // [vocab, d_model]
}

impl Llama {
    pub(super) fn build(config: &LlamaConfig, params: &Params) -> Result<Self, ParamError> {
        let spec = config.spec();
        let (d, d_mlp) = (spec.d_model, spec.d_mlp);
        let (q_width, kv_width) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let linear =
            |name: String, inputs: usize, outputs: usize, biased: bool| -> Result<Linear, ParamError> {
                let weight = params.matrix(&format!("{name}.weight"), [outputs, inputs])?.transpose();
                let bias = biased.then(|| params.vector(&format!("{name}.bias"), outputs)).transpose()?;
                Ok(Linear { weight, bias })
            };
        let block = |i: usize| -> Result<Block, ParamError> {
            let name = |part: &str| format!("model.layers.{i}.{part}");
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
        let embed_tokens = params.matrix("model.embed_tokens.weight", [spec.vocab, d])?;
        let lm_head = match params.matrix("lm_head.weight", [spec.vocab, d]) {
            Err(ParamError::Missing { .. }) if config.tie_word_embeddings => embed_tokens.clone(),
            other => other?,
        };
        Ok(Self {
            epsilon: config.rms_norm_eps,
            theta: config.theta(),
            device: params.device().clone(),
            blocks: (0..spec.layers).map(block).collect::<Result<_, _>>()?,
            norm: params.vector("model.norm.weight", d)?,
            embed_tokens,
            lm_head,
            spec,
        })
    }

    /// Cosines and sines of the rotation angles, `[batch, 1, tokens, head_dim]`, both halves alike.
    ///
    /// Frequencies are computed in f64 whatever the dtype of the weights: rounding them would move every
    /// position.
    fn rotation(&self, input: &ForwardInput<'_>, rows: usize, tokens: usize) -> (Tensor<4>, Tensor<4>) {
        let half = self.spec.head_dim / 2;
        let frequency = |i: usize| self.theta.powf(-(i as f64) / half as f64);
        let frequencies: Vec<f64> = (0..half).map(frequency).collect();
        let table = |f: fn(f64) -> f64| {
            let positions = input.positions.list(rows, tokens).into_iter();
            let row = |p: usize| {
                let angles = frequencies.iter().chain(&frequencies);
                #[expect(clippy::cast_possible_truncation, reason = "the device computes in f32")]
                angles.map(|w| f(p as f64 * w) as f32).collect::<Vec<_>>()
            };
            let numbers = positions.flat_map(row).collect();
            upload_f32(numbers, [rows, 1, tokens, 2 * half], &self.device)
        };
        (table(f64::cos), table(f64::sin))
    }
}

fn linear(x: Tensor<3>, linear: &Linear) -> Tensor<3> {
    module::linear(x, linear.weight.clone(), linear.bias.clone())
}

/// `x cos + rotate_half(x) sin`, `x` `[batch, heads, tokens, head_dim]`.
fn rotate(x: Tensor<4>, (cos, sin): &(Tensor<4>, Tensor<4>)) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let (low, high) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
    x * cos.clone() + Tensor::cat(vec![-high, low], 3) * sin.clone()
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
        let rotation = self.rotation(&input, rows, tokens);
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
