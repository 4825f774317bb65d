//! GPT-2: learned positions, LayerNorm before each sublayer, tanh-GELU, Conv1D weights stored `[in, out]`.
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); parameter names as in the
//! `transformers` checkpoint, with or without the `transformer.` prefix.

use burn::tensor::{Tensor, module};
use recant_backend::{Device, ops::gelu_tanh, upload_ints};
use recant_core::{Point, Site};
use serde::Deserialize;

use super::{ConfigError, ModelSpec, OneOrMany, at_least_one, divides};
use crate::attention::{Attend, merge_heads, split_heads};
use crate::forward::{ForwardInput, Source, narrowed};
use crate::hook::{Hook, at};
use crate::model::LanguageModel;
use crate::params::{ParamError, Params};

/// config.json of a GPT-2 checkpoint, as far as it decides the computation.
#[derive(Debug, Clone, Deserialize)]
pub struct Gpt2Config {
    n_layer: usize,
    n_embd: usize,
    n_head: usize,
    n_positions: usize,
    vocab_size: usize,
    n_inner: Option<usize>,
    #[serde(default = "gelu_new")]
    activation_function: String,
    #[serde(default = "epsilon")]
    layer_norm_epsilon: f64,
    #[serde(default = "yes")]
    scale_attn_weights: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    #[serde(default)]
    add_cross_attention: bool,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,
}

fn gelu_new() -> String {
    "gelu_new".to_owned()
}

fn epsilon() -> f64 {
    1e-5
}

fn yes() -> bool {
    true
}

/// The prefix before `wte.weight`: hub files of the bare model have none.
pub(super) fn prefix(has: &dyn Fn(&str) -> bool) -> &'static str {
    if has("wte.weight") { "" } else { "transformer." }
}

impl Gpt2Config {
    pub(super) fn parse(config: &[u8]) -> Result<Self, ConfigError> {
        let this: Self = serde_json::from_slice(config)?;
        let refuse = |key, value: String| Err(ConfigError::Setting { key, value });
        if !matches!(this.activation_function.as_str(), "gelu_new" | "gelu_pytorch_tanh") {
            return refuse("activation_function", this.activation_function);
        }
        if !this.scale_attn_weights {
            return refuse("scale_attn_weights", "false".into());
        }
        if this.scale_attn_by_inverse_layer_idx {
            return refuse("scale_attn_by_inverse_layer_idx", "true".into());
        }
        if this.add_cross_attention {
            return refuse("add_cross_attention", "true".into());
        }
        let sizes = [("n_layer", this.n_layer), ("n_embd", this.n_embd), ("n_head", this.n_head)];
        at_least_one(&sizes)?;
        at_least_one(&[("n_positions", this.n_positions), ("vocab_size", this.vocab_size)])?;
        divides(("n_head", this.n_head), ("n_embd", this.n_embd))?;
        Ok(this)
    }

    pub(super) fn spec(&self) -> ModelSpec {
        ModelSpec {
            architecture: "gpt2",
            layers: self.n_layer,
            d_model: self.n_embd,
            d_mlp: self.n_inner.unwrap_or(4 * self.n_embd),
            heads: self.n_head,
            kv_heads: self.n_head,
            head_dim: self.n_embd / self.n_head,
            vocab: self.vocab_size,
            context: self.n_positions,
            bos: self.bos_token_id,
            eos: OneOrMany::to_vec(self.eos_token_id.as_ref()),
        }
    }

    pub(super) fn ties(&self, has: &dyn Fn(&str) -> bool) -> Vec<(String, String)> {
        let embedding = format!("{}wte.weight", prefix(has));
        if self.tie_word_embeddings { vec![("lm_head.weight".to_owned(), embedding)] } else { Vec::new() }
    }
}

struct Norm {
    gain: Tensor<1>,
    bias: Tensor<1>,
}

struct Linear {
    weight: Tensor<2>, // [in, out]
    bias: Tensor<1>,
}

struct Block {
    ln_1: Norm,
    c_attn: Linear,
    attn_proj: Linear,
    ln_2: Norm,
    c_fc: Linear,
    c_proj: Linear,
}

/// A GPT-2 forward pass over device tensors.
pub(super) struct Gpt2 {
    spec: ModelSpec,
    epsilon: f64,
    device: Device,
    wte: Tensor<2>,
    wpe: Tensor<2>,
    blocks: Vec<Block>,
    ln_f: Norm,
    lm_head: Tensor<2>, // [vocab, d_model]
}

impl Gpt2 {
    pub(super) fn build(config: &Gpt2Config, params: &Params) -> Result<Self, ParamError> {
        let spec = config.spec();
        let (d, d_mlp) = (spec.d_model, spec.d_mlp);
        let prefix = prefix(&|path| params.has(path));
        let norm = |name: String| -> Result<Norm, ParamError> {
            let gain = params.vector(&format!("{prefix}{name}.weight"), d)?;
            Ok(Norm { gain, bias: params.vector(&format!("{prefix}{name}.bias"), d)? })
        };
        let linear = |name: String, inputs: usize, outputs: usize| -> Result<Linear, ParamError> {
            let weight = params.matrix(&format!("{prefix}{name}.weight"), [inputs, outputs])?;
            Ok(Linear { weight, bias: params.vector(&format!("{prefix}{name}.bias"), outputs)? })
        };
        let block = |i: usize| -> Result<Block, ParamError> {
            Ok(Block {
                ln_1: norm(format!("h.{i}.ln_1"))?,
                c_attn: linear(format!("h.{i}.attn.c_attn"), d, 3 * d)?,
                attn_proj: linear(format!("h.{i}.attn.c_proj"), d, d)?,
                ln_2: norm(format!("h.{i}.ln_2"))?,
                c_fc: linear(format!("h.{i}.mlp.c_fc"), d, d_mlp)?,
                c_proj: linear(format!("h.{i}.mlp.c_proj"), d_mlp, d)?,
            })
        };
        let wte = params.matrix(&format!("{prefix}wte.weight"), [spec.vocab, d])?;
        let lm_head = match params.matrix("lm_head.weight", [spec.vocab, d]) {
            Err(ParamError::Missing { .. }) if config.tie_word_embeddings => wte.clone(),
            other => other?,
        };
        Ok(Self {
            epsilon: config.layer_norm_epsilon,
            device: params.device().clone(),
            wpe: params.matrix(&format!("{prefix}wpe.weight"), [spec.context, d])?,
            blocks: (0..spec.layers).map(block).collect::<Result<_, _>>()?,
            ln_f: norm("ln_f".to_owned())?,
            wte,
            lm_head,
            spec,
        })
    }

    fn norm(&self, x: Tensor<3>, norm: &Norm) -> Tensor<3> {
        module::layer_norm(x, norm.gain.clone(), Some(norm.bias.clone()), self.epsilon)
    }

    fn embed(&self, source: &Source, input: &ForwardInput<'_>) -> Tensor<3> {
        match source {
            Source::Residual { x, .. } => x.clone(),
            Source::Tokens(ids) => {
                let [rows, tokens] = ids.dims();
                let positions = input.positions.list(rows, tokens).into_iter();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_possible_wrap,
                    reason = "below the context"
                )]
                let positions =
                    upload_ints(positions.map(|p| p as i32).collect(), [rows, tokens], &self.device);
                module::embedding(self.wte.clone(), ids.clone())
                    + module::embedding(self.wpe.clone(), positions)
            }
        }
    }
}

fn linear(x: Tensor<3>, linear: &Linear) -> Tensor<3> {
    module::linear(x, linear.weight.clone(), Some(linear.bias.clone()))
}

impl LanguageModel for Gpt2 {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn forward(&self, mut input: ForwardInput<'_>, hook: &mut dyn Hook) -> Option<Tensor<3>> {
        let mut x = self.embed(&input.source, &input);
        let first = match input.source {
            Source::Tokens(_) => {
                x = at(hook, Site::Embed, x)?;
                0
            }
            Source::Residual { block, .. } => block,
        };
        let mut only = input.only;
        let mut attend = Attend { past: input.past.as_ref(), keep: input.keep.take() };
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            let site = |point| Site::Block(i as u16, point);
            x = at(hook, site(Point::ResidPre), x)?;

            let qkv = linear(self.norm(x.clone(), &block.ln_1), &block.c_attn);
            let [q, k, v] = [0, 1, 2].map(|part| {
                let part = qkv.clone().narrow(2, part * self.spec.d_model, self.spec.d_model);
                split_heads(part, self.spec.heads)
            });
            let attended = merge_heads(attend.run(i, q, k, v));
            let attn_out = at(hook, site(Point::AttnOut), linear(attended, &block.attn_proj))?;
            x = x + attn_out;
            if i + 1 == self.spec.layers {
                x = narrowed(x, only.take(), &self.device);
            }

            let mlp_in = at(hook, site(Point::MlpIn), self.norm(x.clone(), &block.ln_2))?;
            let key = at(hook, site(Point::MlpKey), gelu_tanh(linear(mlp_in, &block.c_fc)))?;
            let mlp_out = at(hook, site(Point::MlpOut), linear(key, &block.c_proj))?;
            x = at(hook, site(Point::ResidPost), x + mlp_out)?;
        }
        // None is left, unless the pass began above the last block.
        x = narrowed(x, only, &self.device);
        at(hook, Site::FinalNorm, self.norm(x, &self.ln_f))
    }

    fn unembed(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.lm_head.clone().transpose())
    }
}
