//! Models of the sizes that people run, with made-up weights: written number by number, so that none has to fit in memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use recant_checkpoint::{Header, TensorEntry};
use recant_core::{Dtype, HostTensor, ParamPath};
use serde_json::{Value, json};

/// The size of a model that people run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `gpt2`: 124 M parameters.
    Gpt2Small,
    /// `gpt2-medium`: 355 M.
    Gpt2Medium,
    /// SmolLM2-135M.
    SmolLm2,
    /// Qwen2.5-7B: 7.6 G.
    Qwen25At7b,
    /// Llama-2-7B: 6.7 G.
    Llama2At7b,
}

/// What decides how a tensor is drawn.
#[derive(Debug, Clone, Copy)]
enum Drawn {
    /// Evenly from ± this.
    Spread(f32),
    /// All alike.
    Constant(f32),
}

struct Tensor {
    name: String,
    shape: Vec<usize>,
    drawn: Drawn,
}

struct Sizes {
    layers: usize,
    d: usize,
    d_mlp: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    context: usize,
}

impl Shape {
    /// Every shape, by name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("gpt2", Self::Gpt2Small),
        ("gpt2-medium", Self::Gpt2Medium),
        ("smollm2-135m", Self::SmolLm2),
        ("qwen2.5-7b", Self::Qwen25At7b),
        ("llama-2-7b", Self::Llama2At7b),
    ];

    fn sizes(self) -> Sizes {
        let sizes = |layers, d, d_mlp, heads, kv_heads, vocab, context| Sizes {
            layers,
            d,
            d_mlp,
            heads,
            kv_heads,
            vocab,
            context,
        };
        match self {
            Self::Gpt2Small => sizes(12, 768, 3072, 12, 12, 50_257, 1024),
            Self::Gpt2Medium => sizes(24, 1024, 4096, 16, 16, 50_257, 1024),
            Self::SmolLm2 => sizes(30, 576, 1536, 9, 3, 49_152, 8192),
            Self::Qwen25At7b => sizes(28, 3584, 18_944, 28, 4, 152_064, 32_768),
            Self::Llama2At7b => sizes(32, 4096, 11_008, 32, 32, 32_000, 4096),
        }
    }

    fn config(self) -> Value {
        let Sizes { layers, d, d_mlp, heads, kv_heads, vocab, context } = self.sizes();
        if matches!(self, Self::Gpt2Small | Self::Gpt2Medium) {
            return json!({
                "model_type": "gpt2", "n_layer": layers, "n_embd": d, "n_head": heads, "n_positions": context,
                "vocab_size": vocab, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
                "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0,
            });
        }
        let model_type = if self == Self::Qwen25At7b { "qwen2" } else { "llama" };
        json!({
            "model_type": model_type, "num_hidden_layers": layers, "hidden_size": d, "intermediate_size": d_mlp,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocab,
            "max_position_embeddings": context, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10_000.0,
            "tie_word_embeddings": self == Self::SmolLm2, "bos_token_id": 0, "eos_token_id": 0,
        })
    }

    fn tensors(self) -> Vec<Tensor> {
        let Sizes { layers, d, d_mlp, heads, kv_heads, vocab, context } = self.sizes();
        let mut tensors = Vec::new();
        let mut put = |name: String, shape: Vec<usize>, drawn| tensors.push(Tensor { name, shape, drawn });
        // The variance of a layer's output is that of its input.
        let fan = |inputs: usize| Drawn::Spread((3.0 / inputs as f32).sqrt());
        if matches!(self, Self::Gpt2Small | Self::Gpt2Medium) {
            put("transformer.wte.weight".into(), vec![vocab, d], Drawn::Spread(0.035));
            put("transformer.wpe.weight".into(), vec![context, d], Drawn::Spread(0.02));
            let norm = |name: String| {
                [("weight", 1.0), ("bias", 0.0)]
                    .map(|(part, of)| (format!("{name}.{part}"), Drawn::Constant(of)))
            };
            for i in 0..layers {
                let block = format!("transformer.h.{i}");
                for name in ["ln_1", "ln_2"] {
                    norm(format!("{block}.{name}"))
                        .into_iter()
                        .for_each(|(name, drawn)| put(name, vec![d], drawn));
                }
                let linears = [
                    ("attn.c_attn", d, 3 * d),
                    ("attn.c_proj", d, d),
                    ("mlp.c_fc", d, d_mlp),
                    ("mlp.c_proj", d_mlp, d),
                ];
                for (name, inputs, outputs) in linears {
                    put(format!("{block}.{name}.weight"), vec![inputs, outputs], Drawn::Spread(0.035));
                    put(format!("{block}.{name}.bias"), vec![outputs], Drawn::Constant(0.0));
                }
            }
            norm("transformer.ln_f".into()).into_iter().for_each(|(name, drawn)| put(name, vec![d], drawn));
            return tensors;
        }
        let kv = d / heads * kv_heads;
        put("model.embed_tokens.weight".into(), vec![vocab, d], Drawn::Spread(0.035));
        for i in 0..layers {
            let block = format!("model.layers.{i}");
            for (name, outputs) in [("q_proj", d), ("k_proj", kv), ("v_proj", kv)] {
                put(format!("{block}.self_attn.{name}.weight"), vec![outputs, d], fan(d));
                if self == Self::Qwen25At7b {
                    put(format!("{block}.self_attn.{name}.bias"), vec![outputs], Drawn::Constant(0.0));
                }
            }
            put(format!("{block}.self_attn.o_proj.weight"), vec![d, d], fan(d));
            put(format!("{block}.mlp.gate_proj.weight"), vec![d_mlp, d], fan(d));
            put(format!("{block}.mlp.up_proj.weight"), vec![d_mlp, d], fan(d));
            put(format!("{block}.mlp.down_proj.weight"), vec![d, d_mlp], fan(d_mlp));
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                put(format!("{block}.{norm}.weight"), vec![d], Drawn::Constant(1.0));
            }
        }
        put("model.norm.weight".into(), vec![d], Drawn::Constant(1.0));
        if self != Self::SmolLm2 {
            put("lm_head.weight".into(), vec![vocab, d], fan(d));
        }
        tensors
    }
}

/// Writes a model of a shape to a folder: configuration, weights, and a tiny tokenizer whose tokens are bytes.
///
/// # Errors
/// When the folder cannot be written, or has such files already.
pub fn write(shape: Shape, dtype: Dtype, dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    // Before the first of them is written.
    if let Some(there) =
        ["config.json", "tokenizer.json", "model.safetensors"].iter().find(|name| dir.join(name).exists())
    {
        let reason = format!("{} is there already", dir.join(there).display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
    }
    let new = |name: &str| File::create_new(dir.join(name));
    let mut out = BufWriter::with_capacity(1 << 20, new("model.safetensors")?);
    new("config.json")?.write_all(shape.config().to_string().as_bytes())?;
    let tokenizer = include_bytes!("../../crates/recant-model/tests/fixtures/gpt2-tiny/tokenizer.json");
    new("tokenizer.json")?.write_all(tokenizer)?;
    weights(&shape.tensors(), dtype, &mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// A safetensors file: its head, then the numbers.
fn weights(tensors: &[Tensor], dtype: Dtype, out: &mut impl Write) -> io::Result<()> {
    /// Numbers that are drawn before they are written.
    const TOGETHER: usize = 1 << 16;
    let mut end = 0;
    let entry = |Tensor { name, shape, .. }: &Tensor| {
        let begin = end;
        end += (shape.iter().product::<usize>() * dtype.size()) as u64;
        let path = ParamPath::new(name.as_str()).map_err(io::Error::other)?;
        Ok(TensorEntry { path, dtype, shape: shape.clone(), begin, end })
    };
    let entries = tensors.iter().map(entry).collect::<io::Result<_>>()?;
    out.write_all(&Header { metadata: None, tensors: entries }.encode())?;
    // A linear congruential generator; only the size of the numbers matters here.
    let mut state = 1u64;
    for Tensor { shape, drawn, .. } in tensors {
        let mut draw = |_| match *drawn {
            Drawn::Constant(number) => number,
            Drawn::Spread(spread) => {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                spread * ((state >> 40) as f32 / 8_388_608.0 - 1.0)
            }
        };
        let count: usize = shape.iter().product();
        for from in (0..count).step_by(TOGETHER) {
            let numbers: Vec<f32> = (from..count.min(from + TOGETHER)).map(&mut draw).collect();
            let tensor =
                HostTensor::from_f32(dtype, vec![numbers.len()], &numbers).map_err(io::Error::other)?;
            out.write_all(tensor.bytes())?;
        }
    }
    Ok(())
}
