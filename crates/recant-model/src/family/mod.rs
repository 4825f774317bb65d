//! Families of models: one file each, which reads the configuration into a [`Decoder`].

mod decoder;
mod ernie4_5;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neox;
mod gptj;
mod keys;
mod llama;
mod mistral;
mod mixtral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod smollm3;

use std::collections::BTreeSet;

use recant_backend::Layout;
use recant_core::ParamPath;

pub use self::decoder::Activation;
pub(crate) use self::decoder::{BlockRule, Decoder, MlpForm, NormKind, Norms, QkNorm, Qkv};
pub(crate) use self::keys::Keys;
use crate::mixture::MixtureSpec;
use crate::model::LanguageModel;
use crate::params::{ParamError, Params, Taking};
use crate::stack::Stack;

/// The sizes of a model that methods need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// `model_type` of config.json.
    pub architecture: &'static str,
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of the MLP's hidden layer: the length of a key. Where every block is a mixture of experts, the width that
    /// the configuration gives besides that of an expert.
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
    /// The nonlinearity of the MLP.
    pub activation: Activation,
    /// Whether a norm stands between the MLP's output and the residual stream: what enters it is then another vector
    /// than the output of the down-projection.
    pub norm_behind_mlp: bool,
    /// The mixtures of experts among the blocks, if there are any.
    pub mixture: Option<MixtureSpec>,
    /// Where it is edited when nobody says where.
    pub edit: EditDefaults,
}

/// Where a family is edited when nobody says where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EditDefaults {
    /// The block of methods that edit one.
    pub layer: usize,
    /// Where that is from.
    pub reason: &'static str,
}

impl EditDefaults {
    fn gpt(layers: usize) -> Self {
        Self { layer: layers * 17 / 48, reason: "GPT-2 XL is edited at 17 of 48 in the ROME paper" }
    }

    fn llama(layers: usize) -> Self {
        Self { layer: layers * 5 / 32, reason: "Llama-2 7B is edited at 5 of 32 in EasyEdit" }
    }
}

/// A matrix of a block by its role, whatever the checkpoint calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Slot {
    /// The MLP's down-projection of block N, `[d_model, d_mlp]`: the papers' W.
    MlpDown(usize),
}

/// A configuration that recant cannot build a model from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is not a JSON object.
    #[error("it is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// An architecture recant does not know.
    #[error("architecture `{model_type}` is not supported; supported are {}", families().join(", "))]
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

/// What is known of one kind of model: how its configuration is read. A file of this folder each, and a line in
/// [`FAMILIES`].
pub(crate) struct Family {
    /// `model_type` of config.json.
    model_type: &'static str,
    describe: fn(&Keys) -> Result<Decoder, ConfigError>,
}

/// Every family.
const FAMILIES: &[Family] = &[
    ernie4_5::FAMILY,
    gemma2::FAMILY,
    gemma3::FAMILY,
    gpt2::FAMILY,
    gpt_neox::FAMILY,
    gptj::FAMILY,
    llama::FAMILY,
    mistral::FAMILY,
    mixtral::FAMILY,
    olmo2::FAMILY,
    phi3::FAMILY,
    qwen2::FAMILY,
    qwen3::FAMILY,
    qwen3_moe::FAMILY,
    smollm3::FAMILY,
];

/// The `model_type` of every family, ascending.
#[must_use]
pub fn families() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.model_type).collect()
}

/// A parsed configuration.
#[derive(Debug, Clone)]
pub struct Architecture {
    decoder: Decoder,
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
        let Some(family) = FAMILIES.iter().find(|family| family.model_type == model_type) else {
            return Err(ConfigError::Architecture { model_type });
        };
        let mut decoder = (family.describe)(&keys)?;
        keys.refuse_unimplemented()?;
        let mut unread = std::mem::take(&mut decoder.unread);
        unread.extend(keys.unread());
        Ok((Self { decoder }, unread))
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
        let eos = &mut self.decoder.spec.eos;
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
        self.decoder.spec.clone()
    }

    /// `(second name, first name)` of matrices that the configuration says are one. The first name is the
    /// embedding's, unless the checkpoint stores the head's alone.
    #[must_use]
    pub fn ties(&self, has: &dyn Fn(&str) -> bool) -> Vec<(ParamPath, ParamPath)> {
        let names = &self.decoder.names;
        if !self.decoder.tied {
            return Vec::new();
        }
        let embedding = format!("{}{}.weight", names.prefix(has), names.embedding);
        let head = format!("{}.weight", names.head);
        let (second, first) = match has(&head) && !has(&embedding) {
            true => (embedding, head),
            false => (head, embedding),
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
        let net = Stack::build(&self.decoder, &taking)?;
        Ok((Box::new(net), taking.taken()))
    }

    /// Whether a tensor that is not a parameter is one of the constants that old checkpoints store with them: masks
    /// and rotary frequencies, which the forward pass makes itself.
    pub(crate) fn is_stored_constant(&self, name: &str) -> bool {
        self.decoder.names.constants.iter().any(|ending| name.ends_with(ending))
    }

    /// The parameter behind a slot and how it is stored; `None` when the block does not exist or is a mixture of
    /// experts, which has no such matrix.
    #[must_use]
    pub fn slot(&self, slot: Slot, has: &dyn Fn(&str) -> bool) -> Option<(ParamPath, Layout)> {
        let Slot::MlpDown(layer) = slot;
        let names = &self.decoder.names;
        if layer >= self.decoder.spec.layers || self.decoder.spec.is_mixture(layer) {
            return None;
        }
        let name = names.in_block(names.prefix(has), layer, names.block.down);
        ParamPath::new(format!("{name}.weight")).ok().map(|path| (path, self.decoder.stored))
    }
}

fn divides(part: (&'static str, usize), whole: (&'static str, usize)) -> Result<(), ConfigError> {
    if whole.1.is_multiple_of(part.1) {
        return Ok(());
    }
    let reason = format!("{} = {} does not divide {} = {}", part.0, part.1, whole.0, whole.1);
    Err(ConfigError::Inconsistent { reason })
}
