//! config.json from what a GGUF file says about its model.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::error::GgufError;
use super::header::{Contents, TensorInfo};
use super::names::Architecture;
use super::quants::Quant;
use super::{rope, value};

/// What a file says, under the prefix of its architecture.
pub(super) struct Facts<'a> {
    pub(super) architecture: Architecture,
    pub(super) contents: &'a Contents,
    pub(super) file: &'a Bytes,
}

/// Settings that change the computation and have no counterpart, with the value at which they do not.
const UNSUPPORTED: [(&str, f64); 8] = [
    ("expert_count", 0.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
    ("embedding_scale", 1.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attention.shared_kv_layers", 0.0),
    ("attention.value_residual_mix_lora_rank", 0.0),
];

/// Window of Gemma 2 where the file does not say it, in tokens.
const GEMMA2_WINDOW: u64 = 4096;
/// Limits of Gemma 2's logits where the file does not say them.
const GEMMA2_CAPS: [(&str, f64); 2] = [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)];
/// One block in so many looks at the whole text.
const GEMMA2_PATTERN: u64 = 2;
const GEMMA3_PATTERN: u64 = 6;
/// The largest models scale queries by the width per head in place of the size of a head; told by their blocks, as
/// llama.cpp does.
const GEMMA2_27B_BLOCKS: u64 = 46;
const GEMMA3_27B_BLOCKS: u64 = 62;

impl Facts<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture.name())
    }

    pub(super) fn whole(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.contents.values.whole(&self.key(key))
    }

    pub(super) fn needed(&self, key: &str) -> Result<u64, GgufError> {
        self.whole(key)?.ok_or_else(|| GgufError::Missing { key: self.key(key) })
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.contents.values.number(&self.key(key))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.contents.values.text(&self.key(key))
    }

    /// The refusal of a setting.
    pub(super) fn setting(&self, key: &str, value: String) -> GgufError {
        GgufError::Setting { key: self.key(key), value }
    }

    /// A small tensor of f32.
    pub(super) fn numbers_of(&self, tensor: &str) -> Result<Option<Vec<f32>>, GgufError> {
        let Some(info) = self.contents.tensor(tensor) else { return Ok(None) };
        if info.quant != Quant::F32 || info.shape.len() != 1 {
            return Err(info.misshapen("where one row of F32 is expected"));
        }
        let (numbers, _) = self.file[info.begin..info.end].as_chunks();
        Ok(Some(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()))
    }

    /// Numbers of heads: of queries, and of keys and values.
    pub(super) fn heads(&self) -> Result<[u64; 2], GgufError> {
        let heads = self.needed("attention.head_count")?;
        let of_keys = self.whole("attention.head_count_kv")?.unwrap_or(heads);
        for (key, heads) in [("attention.head_count", heads), ("attention.head_count_kv", of_keys)] {
            if heads == 0 {
                let key = self.key(key);
                return Err(GgufError::Value { key, expected: "a number above 0", found: "0".to_owned() });
            }
        }
        Ok([heads, of_keys])
    }

    fn has(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.contents.tensors.iter().any(|tensor| matches(&tensor.name))
    }

    /// Tokens of the vocabulary.
    fn vocabulary(&self) -> Result<u64, GgufError> {
        const NAME: &str = "token_embd.weight";
        let info: &TensorInfo = self.contents.tensor(NAME).ok_or(GgufError::NoTensor { tensor: NAME })?;
        match info.shape[..] {
            [tokens, _] => Ok(tokens as u64),
            _ => Err(info.misshapen("where one row for each token is expected")),
        }
    }

    /// config.json.
    pub(super) fn config(&self) -> Result<Value, GgufError> {
        self.refuse_unsupported()?;
        let [heads, of_keys] = self.heads()?;
        let width = self.needed("embedding_length")?;
        let head = self.whole("attention.key_length")?.unwrap_or(width / heads);
        let eps = "attention.layer_norm_rms_epsilon";
        let eps = self.number(eps)?.ok_or_else(|| GgufError::Missing { key: self.key(eps) })?;
        let (model, class, activation) = self.kind()?;
        let activation_key = if self.architecture.is_gemma() { "hidden_activation" } else { "hidden_act" };
        let Value::Object(mut config) = json!({
            "architectures": [class],
            "model_type": model,
            "vocab_size": self.vocabulary()?,
            "hidden_size": width,
            "intermediate_size": self.needed("feed_forward_length")?,
            "num_hidden_layers": self.needed("block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": of_keys,
            "head_dim": head,
            "max_position_embeddings": self.needed("context_length")?,
            "rms_norm_eps": value::json(eps),
            activation_key: activation,
            "tie_word_embeddings": !self.has(|name| name == "output.weight"),
            "torch_dtype": self.dtype(),
        }) else {
            return Ok(Value::Null);
        };
        self.refuse_heads(head)?;
        self.tokens(&mut config)?;
        rope::describe(self, &mut config)?;
        self.own(&mut config, head)?;
        Ok(Value::Object(config))
    }

    /// `model_type`, class and activation of the architecture.
    fn kind(&self) -> Result<(&'static str, &'static str, &'static str), GgufError> {
        Ok(match self.architecture {
            // llama.cpp keeps no other trace of Mistral's models.
            Architecture::Llama if self.window()?.is_some() => ("mistral", "MistralForCausalLM", "silu"),
            Architecture::Llama => ("llama", "LlamaForCausalLM", "silu"),
            Architecture::Qwen2 => ("qwen2", "Qwen2ForCausalLM", "silu"),
            Architecture::Qwen3 => ("qwen3", "Qwen3ForCausalLM", "silu"),
            Architecture::Gemma2 => ("gemma2", "Gemma2ForCausalLM", "gelu_pytorch_tanh"),
            Architecture::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM", "gelu_pytorch_tanh"),
            Architecture::Phi3 => ("phi3", "Phi3ForCausalLM", "silu"),
        })
    }

    /// Tokens that each position looks back to, where that is not the whole text.
    fn window(&self) -> Result<Option<u64>, GgufError> {
        Ok(self.whole("attention.sliding_window")?.filter(|&window| window > 0))
    }

    /// The type that all weights fit into.
    fn dtype(&self) -> &'static str {
        let all =
            |quant| self.contents.tensors.iter().all(|info| info.quant == quant || info.shape.len() == 1);
        match () {
            () if all(Quant::BF16) => "bfloat16",
            () if all(Quant::F16) => "float16",
            () => "float32",
        }
    }

    fn refuse_unsupported(&self) -> Result<(), GgufError> {
        for (key, neutral) in UNSUPPORTED {
            if let Some(value) = self.number(key)?.filter(|&value| value != neutral) {
                return Err(self.setting(key, value.to_string()));
            }
        }
        if self.contents.values.flag(&self.key("attention.causal"))? == Some(false) {
            return Err(self.setting("attention.causal", "false".to_owned()));
        }
        match self.number("attention.scale")? {
            Some(scale) if scale != 0.0 => Err(self.setting("attention.scale", scale.to_string())),
            _ => Ok(()),
        }
    }

    /// Refuses heads whose values have another size than their keys, or of which a part only is rotated.
    fn refuse_heads(&self, head: u64) -> Result<(), GgufError> {
        let partly = self.architecture == Architecture::Phi3;
        for key in ["attention.value_length", "rope.dimension_count"] {
            let size = self.whole(key)?.filter(|&size| size != head);
            if let Some(size) = size.filter(|_| !(partly && key == "rope.dimension_count")) {
                return Err(self.setting(key, format!("{size} for heads of {head}")));
            }
        }
        Ok(())
    }

    /// Tokens that begin and end a text. A key with null says that there is none, which no key does not.
    fn tokens(&self, config: &mut Map<String, Value>) -> Result<(), GgufError> {
        let id = |name: &str| self.contents.values.whole(&format!("tokenizer.ggml.{name}_token_id"));
        config.insert("bos_token_id".to_owned(), id("bos")?.into());
        let (text, turn) = (id("eos")?, id("eot")?);
        let end = match (text, turn) {
            (Some(text), Some(turn)) if text != turn => json!([text, turn]),
            (text, turn) => text.or(turn).into(),
        };
        config.insert("eos_token_id".to_owned(), end);
        config.insert("pad_token_id".to_owned(), id("padding")?.into());
        Ok(())
    }

    /// Settings that only some architectures have.
    fn own(&self, config: &mut Map<String, Value>, head: u64) -> Result<(), GgufError> {
        let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
        let biased = |part: &str| self.has(|name| name.starts_with("blk.") && name.ends_with(part));
        let attention = biased(".attn_q.bias") || biased(".attn_output.bias");
        match self.architecture {
            Architecture::Llama => {
                set("attention_bias", attention.into());
                set("mlp_bias", (biased(".ffn_up.bias") || biased(".ffn_down.bias")).into());
                if let Some(window) = self.window()? {
                    set("sliding_window", window.into());
                }
            }
            Architecture::Qwen2 => set("use_sliding_window", false.into()),
            Architecture::Qwen3 => {
                set("attention_bias", attention.into());
                set("use_sliding_window", false.into());
            }
            Architecture::Gemma2 | Architecture::Gemma3 => self.gemma(config, head)?,
            Architecture::Phi3 => {
                if let Some(rotated) = self.whole("rope.dimension_count")?.filter(|&rotated| rotated != head)
                {
                    set("partial_rotary_factor", value::json(rotated as f64 / head as f64));
                }
                if let Some(original) = self.whole("rope.scaling.original_context_length")? {
                    set("original_max_position_embeddings", original.into());
                }
                if let Some(window) = self.window()? {
                    set("sliding_window", window.into());
                }
            }
        }
        Ok(())
    }

    fn gemma(&self, config: &mut Map<String, Value>, head: u64) -> Result<(), GgufError> {
        let blocks = self.needed("block_count")?;
        let second = self.architecture == Architecture::Gemma2;
        let (pattern, largest) =
            if second { (GEMMA2_PATTERN, GEMMA2_27B_BLOCKS) } else { (GEMMA3_PATTERN, GEMMA3_27B_BLOCKS) };
        let scalar =
            if blocks == largest { self.needed("embedding_length")? / self.heads()?[0] } else { head };
        config.insert("query_pre_attn_scalar".to_owned(), scalar.into());
        for (key, default) in GEMMA2_CAPS {
            let cap = self.number(key)?.or(second.then_some(default)).filter(|&cap| cap != 0.0);
            config.insert(key.to_owned(), cap.map_or(Value::Null, value::json));
        }
        let window = self.window()?.or(second.then_some(GEMMA2_WINDOW));
        let kind = |block: u64| match window {
            Some(_) if !(block + 1).is_multiple_of(pattern) => "sliding_attention",
            _ => "full_attention",
        };
        // Every block has tensors; a count beyond them is a damaged one, and nothing is to grow with it.
        let layers: Vec<&str> = (0..blocks.min(self.contents.tensors.len() as u64)).map(kind).collect();
        config.insert("layer_types".to_owned(), layers.into());
        if let Some(window) = window {
            config.insert("sliding_window".to_owned(), window.into());
        }
        Ok(())
    }
}
