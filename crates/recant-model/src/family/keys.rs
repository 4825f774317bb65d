//! config.json, key by key, with what `transformers` takes where a key is not given.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::ConfigError;

/// The keys of config.json, or of a section of it. Remembers which were asked for.
pub(crate) struct Keys {
    /// What stands before a key's name in messages, such as `rope_scaling.`.
    section: String,
    map: Map<String, Value>,
    read: RefCell<BTreeSet<&'static str>>,
}

impl Keys {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// [`ConfigError::Json`].
    pub(crate) fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self { section: String::new(), map: serde_json::from_slice(json)?, read: RefCell::default() })
    }

    /// The keys of an object under a key; `None` when it is not given, null or empty.
    pub(crate) fn section(&self, name: &'static str) -> Result<Option<Self>, ConfigError> {
        match self.get(&[name])? {
            None => Ok(None),
            Some(Value::Object(map)) if map.is_empty() => Ok(None),
            Some(Value::Object(map)) => {
                Ok(Some(Self { section: format!("{name}."), map: map.clone(), read: RefCell::default() }))
            }
            Some(other) => Err(self.unusable(name, "an object", other)),
        }
    }

    /// The value under a key that may have several names; null is as if it were not given.
    fn get(&self, names: &[&'static str]) -> Result<Option<&Value>, ConfigError> {
        self.read.borrow_mut().extend(names);
        let given = |name: &&&'static str| self.map.get(**name).filter(|value| !value.is_null());
        let mut found = names.iter().filter_map(|name| Some((*name, given(&name)?)));
        let Some((first, value)) = found.next() else { return Ok(None) };
        match found.find(|(_, other)| *other != value) {
            Some((second, other)) => Err(ConfigError::Inconsistent {
                reason: format!("{first} is {value}, and {second}, which means the same, is {other}"),
            }),
            None => Ok(Some(value)),
        }
    }

    fn unusable(&self, name: &str, expected: &'static str, found: &Value) -> ConfigError {
        ConfigError::Value { key: format!("{}{name}", self.section), expected, found: found.to_string() }
    }

    fn read_as<T>(
        &self,
        names: &[&'static str],
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        match self.get(names)? {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.unusable(names[0], expected, value)),
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn whole(&self, names: &[&'static str]) -> Result<Option<usize>, ConfigError> {
        // Products of two sizes then stay within 64 bits.
        let whole = |value: &Value| value.as_u64().filter(|size| *size < 1 << 31);
        self.read_as(names, "a whole number below 2^31", |value| usize::try_from(whole(value)?).ok())
    }

    /// A size that must be given and above 0.
    pub(crate) fn size(&self, names: &[&'static str]) -> Result<usize, ConfigError> {
        let missing = || ConfigError::Missing { key: format!("{}{}", self.section, names[0]) };
        self.at_least_one(names[0], self.whole(names)?.ok_or_else(missing)?)
    }

    /// A size above 0, and what it is when it is not given.
    pub(crate) fn size_or(&self, names: &[&'static str], default: usize) -> Result<usize, ConfigError> {
        self.at_least_one(names[0], self.whole(names)?.unwrap_or(default))
    }

    fn at_least_one(&self, name: &str, size: usize) -> Result<usize, ConfigError> {
        match size {
            0 => Err(ConfigError::Inconsistent { reason: format!("{}{name} is 0", self.section) }),
            _ => Ok(size),
        }
    }

    /// A number that is finite and above 0.
    pub(crate) fn number(&self, name: &'static str) -> Result<Option<f64>, ConfigError> {
        let positive = |value: &Value| value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
        self.read_as(&[name], "a number above 0", positive)
    }

    /// As [`Keys::number`], where it must be given.
    pub(crate) fn needed_number(&self, name: &'static str) -> Result<f64, ConfigError> {
        let missing = || ConfigError::Missing { key: format!("{}{name}", self.section) };
        self.number(name)?.ok_or_else(missing)
    }

    /// A list of numbers that are finite and above 0, which must be given.
    pub(crate) fn needed_numbers(&self, name: &'static str) -> Result<Vec<f64>, ConfigError> {
        let positive = |value: &Value| value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
        let read = |value: &Value| value.as_array()?.iter().map(positive).collect();
        let missing = || ConfigError::Missing { key: format!("{}{name}", self.section) };
        self.read_as(&[name], "a list of numbers above 0", read)?.ok_or_else(missing)
    }

    /// A list of texts.
    pub(crate) fn texts(&self, name: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.read_as(&[name], "a list of texts", |value| value.as_array()?.iter().map(text).collect())
    }

    /// A list of whole numbers that are not negative.
    pub(crate) fn wholes(&self, name: &'static str) -> Result<Option<Vec<usize>>, ConfigError> {
        let whole = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        self.read_as(&[name], "a list of whole numbers", |value| {
            value.as_array()?.iter().map(whole).collect()
        })
    }

    /// Whether a key is given, with null or anything else.
    pub(crate) fn gives(&self, name: &'static str) -> bool {
        self.read.borrow_mut().insert(name);
        self.map.contains_key(name)
    }

    /// True or false, and what it is when it is not given.
    pub(crate) fn flag_or(&self, name: &'static str, default: bool) -> Result<bool, ConfigError> {
        Ok(self.read_as(&[name], "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A text.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        self.read_as(&[name], "a text", |value| value.as_str().map(str::to_owned))
    }

    /// Token ids: one or a list. Null and negative ones, which some tools write, are none; a key that is absent has
    /// the default.
    pub(crate) fn ids_or(&self, name: &'static str, default: &[u32]) -> Result<Vec<u32>, ConfigError> {
        if !self.map.contains_key(name) {
            self.read.borrow_mut().insert(name);
            return Ok(default.to_vec());
        }
        let id = |value: &Value| match value.as_i64() {
            Some(id) if id < 0 => Some(None),
            Some(id) => u32::try_from(id).ok().map(Some),
            None => None,
        };
        let ids = self.read_as(&[name], "a token id or a list of them", |value| {
            let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            all.iter().map(id).collect::<Option<Vec<_>>>()
        })?;
        Ok(ids.unwrap_or_default().into_iter().flatten().collect())
    }

    /// Refuses every setting that would make another computation of it than the one that recant has.
    /// A key that was asked for is implemented.
    pub(crate) fn refuse_unimplemented(&self) -> Result<(), ConfigError> {
        if let Some(settings) = self.section("quantization_config")? {
            let method = settings.map.get("quant_method").and_then(Value::as_str).unwrap_or("unnamed");
            return Err(ConfigError::Quantised { method: method.to_owned() });
        }
        for (key, neutral) in UNIMPLEMENTED {
            if !self.read.borrow_mut().insert(key) {
                continue;
            }
            if let Some(value) = self.map.get(key).filter(|value| !is_nothing(value) && !neutral(value)) {
                let key = format!("{}{key}", self.section);
                return Err(ConfigError::Setting { key, value: value.to_string() });
            }
        }
        Ok(())
    }

    /// Refuses a window of a family that has none, if a text of `context` tokens can be longer.
    pub(crate) fn refuse_window(&self, context: usize) -> Result<(), ConfigError> {
        let window = self.whole(&["sliding_window"])?.filter(|window| (1..context).contains(window));
        match window.filter(|_| self.flag_or("use_sliding_window", true).unwrap_or(true)) {
            Some(window) => {
                Err(ConfigError::Setting { key: "sliding_window".into(), value: window.to_string() })
            }
            None => Ok(()),
        }
    }

    /// Keys that hold something, that nobody asked for, and that are not known to leave the computation alone.
    pub(crate) fn unread(&self) -> Vec<String> {
        let read = self.read.borrow();
        let harmless = |key: &str| {
            HARMLESS.contains(&key)
                || key.ends_with("_token_id")
                || HARMLESS_BEGIN.iter().any(|start| key.starts_with(start))
        };
        let unread = self
            .map
            .iter()
            .filter(|(key, value)| !is_nothing(value) && !read.contains(key.as_str()) && !harmless(key));
        unread.map(|(key, _)| format!("{}{key}", self.section)).collect()
    }
}

/// A value that switches nothing on.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn never(_: &Value) -> bool {
    false
}

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

fn all_full(value: &Value) -> bool {
    value.as_array().is_some_and(|layers| layers.iter().all(|layer| layer == "full_attention"))
}

/// Whether a value of a setting leaves the computation as it is.
type Neutral = fn(&Value) -> bool;

/// Settings of these and of related architectures that change the computation, each with the values beside null,
/// false, 0 and nothing at which it does not.
const UNIMPLEMENTED: [(&str, Neutral); 32] = [
    ("add_cross_attention", never),
    ("alibi", never),
    ("attention_multiplier", never),
    ("attn_logit_softcapping", never),
    ("attn_logits_soft_cap", never),
    ("clip_qkv", never),
    ("cross_attention_layers", never),
    ("embedding_multiplier", is_one),
    ("final_logit_softcapping", never),
    ("is_encoder_decoder", never),
    ("layer_types", all_full),
    ("logit_scale", is_one),
    ("logits_scaling", is_one),
    ("n_routed_experts", never),
    ("no_rope_layers", never),
    ("num_experts", never),
    ("num_local_experts", never),
    ("parallel_attn", never),
    ("partial_rotary_factor", is_one),
    ("pruned_heads", never),
    ("qk_layernorm", never),
    ("qk_norm", never),
    ("residual_multiplier", is_one),
    ("rope_interleaved", never),
    ("rotary_pct", is_one),
    ("scale_attn_by_inverse_layer_idx", never),
    ("scale_depth", is_one),
    ("scale_emb", is_one),
    ("use_alibi", never),
    ("use_bidirectional_attention", never),
    ("use_parallel_residual", never),
    ("use_qk_norm", never),
];

/// Keys that leave the computation of logits alone: names, training, generation, other heads, and the order of the
/// same sums (`pretraining_tp`, `reorder_and_upcast_attn`).
const HARMLESS: [&str; 60] = [
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "attn_pdrop",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "gradient_checkpointing",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "min_length",
    "model_type",
    "n_ctx",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "reorder_and_upcast_attn",
    "repetition_penalty",
    "resid_pdrop",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

/// How further such keys begin; those that end in `_token_id` name tokens.
const HARMLESS_BEGIN: [&str; 5] = ["_", "summary_", "output_", "return_dict", "transformers.js"];
