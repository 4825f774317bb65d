//! A decoder as its configuration describes it: everything that decides the computation, and where each parameter is
//! stored. A family fills it in; [`crate::stack`] builds and runs it.

use super::{ConfigError, EditDefaults, Layout, ModelSpec};
use crate::attention::AttentionRule;
use crate::mixture::MixtureSpec;
use crate::rope::Rope;

/// A decoder language model, described.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    pub(crate) spec: ModelSpec,
    pub(crate) names: Names,
    /// How linear layers store their matrices.
    pub(crate) stored: Layout,
    /// What the token embedding is multiplied by (Gemma).
    pub(crate) embedding_scale: f64,
    pub(crate) norm: NormKind,
    pub(crate) epsilon: f64,
    pub(crate) norms: Norms,
    pub(crate) attention: AttentionShape,
    /// Rotary tables that blocks share; [`BlockRule::rope`] counts them.
    pub(crate) ropes: Vec<Rope>,
    pub(crate) blocks: Vec<BlockRule>,
    pub(crate) mlp: MlpShape,
    /// The head is the token embedding.
    pub(crate) tied: bool,
    pub(crate) head_bias: bool,
    /// `c tanh(x / c)` of the logits (Gemma 2).
    pub(crate) final_softcap: Option<f64>,
    /// Keys of sections of the configuration that were not read.
    pub(crate) unread: Vec<String>,
}

impl Decoder {
    /// Puts mixtures of experts in the place of some MLPs. A model that has other blocks too is edited at the nearest
    /// of those.
    pub(super) fn mix(&mut self, mixture: MixtureSpec) -> Result<(), ConfigError> {
        let MixtureSpec { experts, per_token, .. } = mixture;
        if per_token > experts {
            let reason = format!("num_experts_per_tok is {per_token}, and there are {experts} experts");
            return Err(ConfigError::Inconsistent { reason });
        }
        self.spec.mixture = (!mixture.blocks.is_empty()).then_some(mixture);
        let usual = self.spec.edit.layer;
        let nearest = self.spec.blocks_with_matrix().into_iter().min_by_key(|block| block.abs_diff(usual));
        if let Some(layer) = nearest.filter(|&layer| layer != usual) {
            self.spec.edit = EditDefaults { layer, reason: NO_MIXTURE };
        }
        Ok(())
    }
}

const NO_MIXTURE: &str = "the block nearest to 5/32 of the way up that is no mixture of experts";

/// What differs from block to block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BlockRule {
    pub(crate) attention: AttentionRule,
    /// Which rotary table; `None` where positions do not turn.
    pub(crate) rope: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// Mean and variance, gain and bias.
    Layer,
    /// Root mean square, gain.
    Rms,
    /// Root mean square, one plus the stored gain (Gemma).
    RmsPlusOne,
}

/// Where norms stand, and what reads what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Norms {
    /// Before each sublayer.
    Before,
    /// Behind each sublayer alone (OLMo 2).
    Behind,
    /// Before and behind (Gemma 2 and 3).
    Around,
    /// Attention and MLP read the block's input, each through a norm of its own (GPT-NeoX).
    Parallel,
    /// The same through one norm (GPT-J).
    ParallelShared,
}

impl Norms {
    /// Whether a norm stands between the MLP and the residual stream.
    pub(crate) fn behind(self) -> bool {
        matches!(self, Self::Behind | Self::Around)
    }

    pub(crate) fn before(self) -> bool {
        self != Self::Behind
    }

    pub(crate) fn parallel(self) -> bool {
        matches!(self, Self::Parallel | Self::ParallelShared)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttentionShape {
    pub(crate) qkv: Qkv,
    /// Queries, keys and values have biases.
    pub(crate) bias: bool,
    /// The output projection has one.
    pub(crate) out_bias: bool,
    pub(crate) qk_norm: QkNorm,
}

/// How the projections of queries, keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Qkv {
    /// Each alone.
    Apart,
    /// All queries, all keys, all values, in one matrix.
    Joined,
    /// Query, key and value of each head in turn, in one matrix (GPT-NeoX).
    JoinedByHead,
}

/// What normalises queries and keys before they turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QkNorm {
    None,
    /// Each head alone (Qwen 3, Gemma 3).
    Head,
    /// All heads together (OLMo 2).
    Width,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MlpShape {
    pub(crate) form: MlpForm,
    pub(crate) activation: Activation,
    pub(crate) bias: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MlpForm {
    /// `W f(U x)`.
    Plain,
    /// `W (f(G x) ⊙ U x)`.
    Gated,
    /// The same, with G and U in one matrix (Phi-3).
    GatedJoined,
}

/// The nonlinearity of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// GELU by its tanh form.
    GeluTanh,
    /// GELU by erf.
    Gelu,
    /// SiLU.
    Silu,
    /// max(x, 0).
    Relu,
}

impl Activation {
    /// The function that a configuration names.
    pub(crate) fn named(key: &str, name: String) -> Result<Self, ConfigError> {
        match name.as_str() {
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate" | "gelu_fast" => {
                Ok(Self::GeluTanh)
            }
            "gelu" | "gelu_python" => Ok(Self::Gelu),
            // `swish` is the older name of the same function.
            "silu" | "swish" => Ok(Self::Silu),
            "relu" => Ok(Self::Relu),
            _ => Err(ConfigError::Setting { key: key.to_owned(), value: name }),
        }
    }
}

/// The names of parameters: of a block without the block's own prefix, and without `.weight` and `.bias`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    /// A parameter that every checkpoint has under this name or behind [`Names::prefix`].
    pub(crate) probe: &'static str,
    /// What stands before every name but the head's, unless it is a file of the bare model.
    pub(crate) prefix: &'static str,
    pub(crate) embedding: &'static str,
    /// Embeddings of positions, where they are learned.
    pub(crate) positions: Option<&'static str>,
    /// What stands before the number of a block.
    pub(crate) blocks: &'static str,
    pub(crate) final_norm: &'static str,
    pub(crate) head: &'static str,
    pub(crate) block: BlockNames,
    /// Endings of constants that old checkpoints store: masks and rotary frequencies.
    pub(crate) constants: &'static [&'static str],
}

/// The names of parameters in a block; those that a family has not are never asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockNames {
    pub(crate) norm_before_attention: &'static str,
    pub(crate) norm_behind_attention: &'static str,
    pub(crate) norm_before_mlp: &'static str,
    pub(crate) norm_behind_mlp: &'static str,
    pub(crate) q: &'static str,
    pub(crate) k: &'static str,
    pub(crate) v: &'static str,
    pub(crate) qkv: &'static str,
    pub(crate) out: &'static str,
    pub(crate) q_norm: &'static str,
    pub(crate) k_norm: &'static str,
    pub(crate) gate: &'static str,
    pub(crate) up: &'static str,
    pub(crate) gate_up: &'static str,
    pub(crate) down: &'static str,
    /// What gives tokens to the experts of a mixture.
    pub(crate) router: &'static str,
    /// What stands before the number of an expert.
    pub(crate) experts: &'static str,
    /// An expert's parameters, without the expert's own prefix.
    pub(crate) expert_gate: &'static str,
    pub(crate) expert_up: &'static str,
    pub(crate) expert_down: &'static str,
}

/// The names of Llama, from which most families differ in little.
pub(crate) const LLAMA: Names = Names {
    probe: "norm.weight",
    prefix: "model.",
    embedding: "embed_tokens",
    positions: None,
    blocks: "layers",
    final_norm: "norm",
    head: "lm_head",
    block: BlockNames {
        norm_before_attention: "input_layernorm",
        norm_behind_attention: "post_attention_layernorm",
        norm_before_mlp: "post_attention_layernorm",
        norm_behind_mlp: "post_feedforward_layernorm",
        q: "self_attn.q_proj",
        k: "self_attn.k_proj",
        v: "self_attn.v_proj",
        qkv: "self_attn.qkv_proj",
        out: "self_attn.o_proj",
        q_norm: "self_attn.q_norm",
        k_norm: "self_attn.k_norm",
        gate: "mlp.gate_proj",
        up: "mlp.up_proj",
        gate_up: "mlp.gate_up_proj",
        down: "mlp.down_proj",
        router: "mlp.gate",
        experts: "mlp.experts",
        expert_gate: "gate_proj",
        expert_up: "up_proj",
        expert_down: "down_proj",
    },
    constants: &[".rotary_emb.inv_freq"],
};

impl Names {
    /// What stands before the names of this checkpoint.
    pub(crate) fn prefix(&self, has: &dyn Fn(&str) -> bool) -> &'static str {
        if has(self.probe) { "" } else { self.prefix }
    }

    /// A parameter of a block.
    pub(crate) fn in_block(&self, prefix: &str, block: usize, part: &str) -> String {
        format!("{prefix}{}.{block}.{part}", self.blocks)
    }
}
