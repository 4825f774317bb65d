//! Architectures: one file each. Reading `forward` there lists the sites in order.

mod gpt2;
mod keys;
mod llama;

use std::collections::BTreeSet;

use recant_core::ParamPath;

pub(crate) use self::keys::Keys;
use crate::model::LanguageModel;
use crate::params::{ParamError, Params, Taking};

/// Name of the head in the checkpoints of every architecture here.
const LM_HEAD: &str = "lm_head.weight";

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
    /// It is not a JSON object.
    #[error("it is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// An architecture recant does not know.
    #[error("architecture `{model_type}` is not supported; supported are gpt2 and llama")]
    Architecture {
        /// `model_type` of config.json.
        model_type: String,
    },
    /// A key that has no default is not there.
    #[error("{key} is not given")]
    Missing {
        /// The key.
        key: String,
    },
    /// A key holds something that it cannot hold.
    #[error("{key} is {found}, where {expected} is expected")]
    Value {
        /// The key.
        key: String,
        /// What it can hold.
        expected: &'static str,
        /// What it holds.
        found: String,
    },
    /// A setting recant does not implement; ignoring it would compute another model.
    #[error("it sets {key} = {value}, which recant does not implement")]
    Setting {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// The weights are quantised.
    #[error(
        "it says that the weights are quantised (quantization_config, {method}); recant reads f32, f16, bf16 and \
         f64 weights"
    )]
    Quantised {
        /// `quant_method`.
        method: String,
    },
    /// Sizes that contradict each other.
    #[error("it is inconsistent: {reason}")]
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

impl Architecture {
    /// Parses config.json and refuses every setting that would be silently ignored.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(config: &[u8]) -> Result<Self, ConfigError> {
        Self::parse_with_unread(config).map(|(architecture, _)| architecture)
    }

    /// As [`Architecture::parse`], with the keys that hold something and were not read.
    pub(crate) fn parse_with_unread(config: &[u8]) -> Result<(Self, Vec<String>), ConfigError> {
        let keys = Keys::parse(config)?;
        let model_type = keys.text("model_type")?.unwrap_or_else(|| "(none)".to_owned());
        let (architecture, mut unread) = match model_type.as_str() {
            "gpt2" => (Self::Gpt2(gpt2::Gpt2Config::parse(&keys)?), Vec::new()),
            "llama" => {
                let mut config = llama::LlamaConfig::parse(&keys)?;
                let unread = std::mem::take(&mut config.rope.unread);
                (Self::Llama(config), unread)
            }
            _ => return Err(ConfigError::Architecture { model_type }),
        };
        keys.refuse_unimplemented(architecture.spec().context)?;
        unread.extend(keys.unread());
        Ok((architecture, unread))
    }

    /// The tokens that generation_config.json names as the end of a text, besides those of config.json.
    ///
    /// # Errors
    /// [`ConfigError`] when it is malformed.
    pub(crate) fn ends_of_generation(config: &[u8]) -> Result<Vec<u32>, ConfigError> {
        Keys::parse(config)?.ids_or("eos_token_id", &[])
    }

    /// The same architecture with more tokens that end a text.
    #[must_use]
    pub(crate) fn ending_at(mut self, more: Vec<u32>) -> Self {
        let eos = match &mut self {
            Self::Gpt2(config) => &mut config.eos,
            Self::Llama(config) => &mut config.eos,
        };
        for id in more {
            if !eos.contains(&id) {
                eos.push(id);
            }
        }
        self
    }

    /// The sizes.
    #[must_use]
    pub fn spec(&self) -> ModelSpec {
        match self {
            Self::Gpt2(config) => config.spec(),
            Self::Llama(config) => config.spec(),
        }
    }

    /// `(second name, first name)` of matrices that the configuration says are one. The first name is the
    /// embedding's, unless the checkpoint stores the head's alone.
    #[must_use]
    pub fn ties(&self, has: &dyn Fn(&str) -> bool) -> Vec<(ParamPath, ParamPath)> {
        let embedding = match self {
            Self::Gpt2(config) => config.tied_embedding(has),
            Self::Llama(config) => config.tied_embedding(has),
        };
        let Some(embedding) = embedding else { return Vec::new() };
        let (second, first) = match has(LM_HEAD) && !has(&embedding) {
            true => (embedding, LM_HEAD.to_owned()),
            false => (LM_HEAD.to_owned(), embedding),
        };
        ParamPath::new(second).and_then(|second| Ok((second, ParamPath::new(first)?))).into_iter().collect()
    }

    /// A forward pass over these parameters.
    ///
    /// # Errors
    /// [`ParamError`] when one is missing or misshapen.
    pub fn build(&self, params: &Params) -> Result<Box<dyn LanguageModel>, ParamError> {
        self.build_with_names(params).map(|(net, _)| net)
    }

    /// As [`Architecture::build`], with the names of the parameters that it is made from.
    pub(crate) fn build_with_names(
        &self,
        params: &Params,
    ) -> Result<(Box<dyn LanguageModel>, BTreeSet<ParamPath>), ParamError> {
        let taking = Taking::new(params);
        let net: Box<dyn LanguageModel> = match self {
            Self::Gpt2(config) => Box::new(gpt2::Gpt2::build(config, &taking)?),
            Self::Llama(config) => Box::new(llama::Llama::build(config, &taking)?),
        };
        Ok((net, taking.taken()))
    }

    /// Whether a tensor that is not a parameter is one of the constants that old checkpoints store with them: masks
    /// and rotary frequencies, which the forward pass makes itself.
    pub(crate) fn is_stored_constant(&self, name: &str) -> bool {
        let endings: &[&str] = match self {
            Self::Gpt2(_) => &[".attn.bias", ".attn.masked_bias"],
            Self::Llama(_) => &[".rotary_emb.inv_freq"],
        };
        endings.iter().any(|ending| name.ends_with(ending))
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
            Self::Llama(_) => {
                (format!("{}layers.{layer}.mlp.down_proj.weight", llama::prefix(has)), Layout::OutIn)
            }
        };
        ParamPath::new(name).ok().map(|path| (path, layout))
    }
}

fn divides(part: (&'static str, usize), whole: (&'static str, usize)) -> Result<(), ConfigError> {
    if whole.1.is_multiple_of(part.1) {
        return Ok(());
    }
    let reason = format!("{} = {} does not divide {} = {}", part.0, part.1, whole.0, whole.1);
    Err(ConfigError::Inconsistent { reason })
}
