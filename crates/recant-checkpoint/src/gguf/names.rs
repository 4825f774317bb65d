//! What the tensors of a GGUF file are called in a Hugging Face directory, and what the conversion changed about them.

use super::error::GgufError;

/// An architecture that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    /// Mistral's models, too.
    Llama,
    Qwen2,
    Qwen3,
    Gemma2,
    Gemma3,
    Phi3,
}

/// What becomes of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// A tensor of this name, after a change has been undone.
    Tensor(String, Change),
    /// Nothing: config.json says it.
    Setting,
}

/// What the conversion to GGUF did to a tensor, and is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// In the rows of every query head, the halves that are rotated together were interleaved.
    Queries,
    /// The same in the rows of every key head.
    Keys,
    /// 1 was added to the scale of a norm.
    PlusOne,
}

/// Tensors outside the blocks.
const WHOLE: [(&str, &str); 3] = [
    ("token_embd", "model.embed_tokens.weight"),
    ("output_norm", "model.norm.weight"),
    ("output", "lm_head.weight"),
];

/// Tensors of a block in most architectures.
const BLOCK: [(&str, &str); 8] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

const TWO_NORMS: [(&str, &str); 1] = [("ffn_norm", "post_attention_layernorm")];

const FOUR_NORMS: [(&str, &str); 3] = [
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

const HEAD_NORMS: [(&str, &str); 2] =
    [("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm")];

const PHI3: [(&str, &str); 6] = [
    ("attn_norm", "input_layernorm"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.gate_up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

impl Architecture {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Llama, "llama"),
        (Self::Qwen2, "qwen2"),
        (Self::Qwen3, "qwen3"),
        (Self::Gemma2, "gemma2"),
        (Self::Gemma3, "gemma3"),
        (Self::Phi3, "phi3"),
    ];

    pub(super) fn from_name(name: &str) -> Result<Self, GgufError> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        let unknown = || GgufError::Architecture { architecture: name.to_owned() };
        found.map(|(this, _)| *this).ok_or_else(unknown)
    }

    /// Its name in the file, with which its keys begin.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(this, _)| *this == self).map_or("", |(_, name)| name)
    }

    pub(super) fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }

    /// What a tensor of a model of `blocks` blocks is.
    pub(super) fn role(self, tensor: &str, blocks: u64) -> Result<Role, GgufError> {
        let unknown = || GgufError::Tensor { tensor: tensor.to_owned(), architecture: self.name() };
        if self.is_setting(tensor) {
            return Ok(Role::Setting);
        }
        let (stem, ending) = tensor.rsplit_once('.').ok_or_else(unknown)?;
        if !matches!(ending, "weight" | "bias") || ending == "bias" && !stem.starts_with("blk.") {
            return Err(unknown());
        }
        if let Some((_, name)) = WHOLE.iter().find(|(known, _)| *known == stem) {
            return Ok(Role::Tensor((*name).to_owned(), self.change(stem)));
        }
        let (block, part) = block_of(stem, blocks).ok_or_else(unknown)?;
        if part == "attn_rot_embd" && self == Self::Llama {
            return Ok(Role::Setting);
        }
        let name = self.part(part).ok_or_else(unknown)?;
        if ending == "bias" && part.ends_with("norm") {
            return Err(unknown());
        }
        Ok(Role::Tensor(format!("model.layers.{block}.{name}.{ending}"), self.change(part)))
    }

    fn is_setting(self, tensor: &str) -> bool {
        match self {
            Self::Llama => tensor == super::rope::FACTORS,
            Self::Phi3 => super::rope::LONG_SHORT.iter().any(|(name, _)| *name == tensor),
            _ => false,
        }
    }

    fn part(self, part: &str) -> Option<&'static str> {
        let tables: &[&[(&str, &'static str)]] = match self {
            Self::Llama | Self::Qwen2 => &[&BLOCK, &TWO_NORMS],
            Self::Qwen3 => &[&BLOCK, &TWO_NORMS, &HEAD_NORMS],
            Self::Gemma2 => &[&BLOCK, &FOUR_NORMS],
            Self::Gemma3 => &[&BLOCK, &FOUR_NORMS, &HEAD_NORMS],
            Self::Phi3 => &[&PHI3],
        };
        let mut pairs = tables.iter().flat_map(|table| table.iter());
        pairs.find(|(known, _)| *known == part).map(|(_, name)| *name)
    }

    fn change(self, part: &str) -> Change {
        match part {
            "attn_q" if self == Self::Llama => Change::Queries,
            "attn_k" if self == Self::Llama => Change::Keys,
            _ if self.is_gemma() && part.ends_with("norm") => Change::PlusOne,
            _ => Change::None,
        }
    }
}

/// The number of a block below `blocks`, and the part of it.
fn block_of(stem: &str, blocks: u64) -> Option<(u64, &str)> {
    let (digits, part) = stem.strip_prefix("blk.")?.split_once('.')?;
    let block: u64 = digits.parse().ok().filter(|&block| block < blocks)?;
    // One spelling only, or two tensors would get one name.
    (block.to_string() == digits).then_some((block, part))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_hugging_face() {
        let cases = [
            (Architecture::Llama, "token_embd.weight", "model.embed_tokens.weight", Change::None),
            (Architecture::Llama, "output_norm.weight", "model.norm.weight", Change::None),
            (Architecture::Llama, "output.weight", "lm_head.weight", Change::None),
            (
                Architecture::Llama,
                "blk.1.attn_q.weight",
                "model.layers.1.self_attn.q_proj.weight",
                Change::Queries,
            ),
            (Architecture::Llama, "blk.1.attn_k.bias", "model.layers.1.self_attn.k_proj.bias", Change::Keys),
            (Architecture::Qwen2, "blk.0.attn_q.bias", "model.layers.0.self_attn.q_proj.bias", Change::None),
            (
                Architecture::Qwen3,
                "blk.0.attn_q_norm.weight",
                "model.layers.0.self_attn.q_norm.weight",
                Change::None,
            ),
            (
                Architecture::Qwen3,
                "blk.0.ffn_norm.weight",
                "model.layers.0.post_attention_layernorm.weight",
                Change::None,
            ),
            (
                Architecture::Gemma2,
                "blk.0.ffn_norm.weight",
                "model.layers.0.pre_feedforward_layernorm.weight",
                Change::PlusOne,
            ),
            (
                Architecture::Gemma3,
                "blk.0.attn_k_norm.weight",
                "model.layers.0.self_attn.k_norm.weight",
                Change::PlusOne,
            ),
            (Architecture::Gemma3, "output_norm.weight", "model.norm.weight", Change::PlusOne),
            (
                Architecture::Phi3,
                "blk.0.ffn_up.weight",
                "model.layers.0.mlp.gate_up_proj.weight",
                Change::None,
            ),
        ];
        for (architecture, tensor, name, change) in cases {
            assert_eq!(
                architecture.role(tensor, 2).unwrap(),
                Role::Tensor(name.to_owned(), change),
                "{tensor}"
            );
        }
        assert_eq!(Architecture::Llama.role("rope_freqs.weight", 2).unwrap(), Role::Setting);
    }

    #[test]
    fn other_tensors_are_refused_by_name() {
        let others = [
            "blk.2.attn_q.weight",
            "blk.00.attn_q.weight",
            "blk.+0.attn_q.weight",
            "blk.0.attn_norm.bias",
            "blk.0.attn_q",
            "blk.0.attn_q_norm.weight",
            "blk.0.ffn_gate_exps.weight",
            "blk.0.attn_q.scale",
            "output.bias",
            "v.blk.0.attn_q.weight",
            "rope_factors_long.weight",
            "",
        ];
        for tensor in others {
            let error = Architecture::Llama.role(tensor, 2).unwrap_err().to_string();
            assert!(error.contains(&format!("{tensor:?}")), "{error}");
        }
    }
}
