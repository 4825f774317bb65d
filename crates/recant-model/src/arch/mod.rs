//! Architectures: one file each. Reading `forward` there lists the sites in order.

mod gpt2;
mod llama;

use recant_core::ParamPath;
use serde::Deserialize;

use crate::model::LanguageModel;
use crate::params::{ParamError, Params};

/// The sizes of a model that methods need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// `model_type` of config.json.
    pub architecture: &'static str,
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of the MLP's hidden layer: the length of a key.
    pub d_mlp: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Token that begins a text, if the configuration names one.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

/// A matrix of a block by its role, whatever the checkpoint calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Slot {
    /// The MLP's down-projection of block N, `[d_model, d_mlp]`: the papers' W.
    MlpDown(usize),
}

/// How a checkpoint stores a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[in, out]`, as GPT-2's Conv1D.
    InOut,
    /// `[out, in]`, as a linear layer.
    OutIn,
}

/// A configuration that recant cannot build a model from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// config.json is not the JSON that the architecture writes.
    #[error("config.json is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// An architecture recant does not know.
    #[error("architecture `{model_type}` is not supported; supported are gpt2 and llama")]
    Architecture {
        /// `model_type` of config.json.
        model_type: String,
    },
    /// A setting recant does not implement; ignoring it would compute another model.
    #[error("config.json sets {key} = {value}, which recant does not implement")]
    Setting {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// Sizes that contradict each other.
    #[error("config.json is inconsistent: {reason}")]
    Inconsistent {
        /// What contradicts what.
        reason: String,
    },
}

/// A parsed configuration: which architecture, and its sizes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Architecture {
    /// GPT-2 (Radford et al. 2019).
    Gpt2(gpt2::Gpt2Config),
    /// Llama (Touvron et al. 2023) and its descendants of the same shape.
    Llama(llama::LlamaConfig),
}

#[derive(Deserialize)]
struct ModelType {
    model_type: Option<String>,
}

impl Architecture {
    /// Parses config.json and refuses every setting that would be silently ignored.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(config: &[u8]) -> Result<Self, ConfigError> {
        let ModelType { model_type } = serde_json::from_slice(config)?;
        match model_type.as_deref() {
            Some("gpt2") => gpt2::Gpt2Config::parse(config).map(Self::Gpt2),
            Some("llama") => llama::LlamaConfig::parse(config).map(Self::Llama),
            other => Err(ConfigError::Architecture { model_type: other.unwrap_or("(none)").to_owned() }),
        }
    }

    /// The sizes.
    #[must_use]
    pub fn spec(&self) -> ModelSpec {
        match self {
            Self::Gpt2(config) => config.spec(),
            Self::Llama(config) => config.spec(),
        }
    }

    /// `(second name, first name)` of matrices that the configuration says are one.
    #[must_use]
    pub fn ties(&self, has: &dyn Fn(&str) -> bool) -> Vec<(String, String)> {
        match self {
            Self::Gpt2(config) => config.ties(has),
            Self::Llama(config) => config.ties(),
        }
    }

    /// A forward pass over these parameters.
    ///
    /// # Errors
    /// [`ParamError`] when one is missing or misshapen.
    pub fn build(&self, params: &Params) -> Result<Box<dyn LanguageModel>, ParamError> {
        Ok(match self {
            Self::Gpt2(config) => Box::new(gpt2::Gpt2::build(config, params)?),
            Self::Llama(config) => Box::new(llama::Llama::build(config, params)?),
        })
    }

    /// The parameter behind a slot and how it is stored; `None` when the block does not exist.
    #[must_use]
    pub fn slot(&self, slot: Slot, has: &dyn Fn(&str) -> bool) -> Option<(ParamPath, Layout)> {
        let Slot::MlpDown(layer) = slot;
        if layer >= self.spec().layers {
            return None;
        }
        let (name, layout) = match self {
            Self::Gpt2(_) => (format!("{}h.{layer}.mlp.c_proj.weight", gpt2::prefix(has)), Layout::InOut),
            Self::Llama(_) => (format!("model.layers.{layer}.mlp.down_proj.weight"), Layout::OutIn),
        };
        ParamPath::new(name).ok().map(|path| (path, layout))
    }
}

/// `eos_token_id` is one id or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    fn to_vec(this: Option<&Self>) -> Vec<u32> {
        match this {
            Some(Self::One(id)) => vec![*id],
            Some(Self::Many(ids)) => ids.clone(),
            None => Vec::new(),
        }
    }
}

fn at_least_one(sizes: &[(&'static str, usize)]) -> Result<(), ConfigError> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((key, _)) => Err(ConfigError::Inconsistent { reason: format!("{key} is 0") }),
        None => Ok(()),
    }
}

fn divides(part: (&'static str, usize), whole: (&'static str, usize)) -> Result<(), ConfigError> {
    if whole.1.is_multiple_of(part.1) {
        return Ok(());
    }
    let reason = format!("{} = {} does not divide {} = {}", part.0, part.1, whole.0, whole.1);
    Err(ConfigError::Inconsistent { reason })
}
