//! GPT-2: learned positions, LayerNorm before each sublayer, tanh-GELU, Conv1D weights stored `[in, out]`.
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); parameter names as in the
//! `transformers` checkpoint, with or without the `transformer.` prefix.

use burn::tensor::{Tensor, module};
use recant_backend::{Device, ops::gelu_tanh, upload_ints};
use recant_core::{Point, Site};

use super::{ConfigError, Keys, ModelSpec, divides};
use crate::attention::{Attend, merge_heads, split_heads};
use crate::forward::{ForwardInput, Source, narrowed};
use crate::hook::{Hook, at};
use crate::model::LanguageModel;
use crate::params::{ParamError, Taking};

/// config.json of a GPT-2 checkpoint, as far as it decides the computation.
#[derive(Debug, Clone)]
pub struct Gpt2Config {
    n_layer: usize,
    n_embd: usize,
    n_head: usize,
    n_positions: usize,
    vocab_size: usize,
    n_inner: usize,
    layer_norm_epsilon: f64,
    tie_word_embeddings: bool,
    bos: Option<u32>,
    pub(super) eos: Vec<u32>,
}

/// Names of the one function that `ops::gelu_tanh` is.
const GELU_TANH: [&str; 5] =
    ["gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate", "gelu_fast"];

/// The prefix before `wpe.weight` and all others but the head: hub files of the bare model have none. The position
/// embeddings decide, because a tied token embedding may be stored under the head's name alone.
pub(super) fn prefix(has: &dyn Fn(&str) -> bool) -> &'static str {
    if has("wpe.weight") { "" } else { "transformer." }
}

impl Gpt2Config {
    /// Sizes have to be given, under GPT-2's names or under those of all other models; the rest has the defaults of
    /// `transformers`.
    pub(super) fn parse(keys: &Keys) -> Result<Self, ConfigError> {
        let activation = keys.text("activation_function")?.unwrap_or_else(|| "gelu_new".to_owned());
        if !GELU_TANH.contains(&activation.as_str()) {
            return Err(ConfigError::Setting { key: "activation_function".into(), value: activation });
        }
        if !keys.flag_or("scale_attn_weights", true)? {
            return Err(ConfigError::Setting { key: "scale_attn_weights".into(), value: "false".into() });
        }
        let n_embd = keys.size(&["n_embd", "hidden_size"])?;
        let this = Self {
            n_layer: keys.size(&["n_layer", "num_hidden_layers"])?,
            n_embd,
            n_head: keys.size(&["n_head", "num_attention_heads"])?,
            n_positions: keys.size_or(&["n_positions", "max_position_embeddings"], 1024)?,
            vocab_size: keys.size(&["vocab_size"])?,
            n_inner: keys.size_or(&["n_inner"], n_embd.saturating_mul(4))?,
            layer_norm_epsilon: keys.number("layer_norm_epsilon")?.unwrap_or(1e-5),
            tie_word_embeddings: keys.flag_or("tie_word_embeddings", true)?,
            bos: keys.ids_or("bos_token_id", &[50256])?.first().copied(),
            eos: keys.ids_or("eos_token_id", &[50256])?,
        };
        divides(("n_head", this.n_head), ("n_embd", this.n_embd))?;
        Ok(this)
    }

    pub(super) fn spec(&self) -> ModelSpec {
        ModelSpec {
            architecture: "gpt2",
            layers: self.n_layer,
            d_model: self.n_embd,
            d_mlp: self.n_inner,
            heads: self.n_head,
            kv_heads: self.n_head,
            head_dim: self.n_embd / self.n_head,
            vocab: self.vocab_size,
            context: self.n_positions,
            bos: self.bos,
            eos: self.eos.clone(),
        }
    }

    /// Name of the token embedding when it is the head as well.
    pub(super) fn tied_embedding(&self, has: &dyn Fn(&str) -> bool) -> Option<String> {
        self.tie_word_embeddings.then(|| format!("{}wte.weight", prefix(has)))
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
    pub(super) fn build(config: &Gpt2Config, params: &Taking<'_>) -> Result<Self, ParamError> {
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
