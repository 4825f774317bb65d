//! Names of the places inside a forward pass that can be observed or replaced.
//!
//! A site is also found by the name that TransformerLens has for the same tensor; it prints as its own name.
//!
//! | site | in TransformerLens |
//! |---|---|
//! | `embed` | none: `hook_embed` leaves learned positions out |
//! | `blocks.N.resid.pre` | `blocks.N.hook_resid_pre` |
//! | `blocks.N.attn.out` | `blocks.N.hook_attn_out`, after the norm where one follows attention |
//! | none: `resid.pre` + `attn.out` | `blocks.N.hook_resid_mid` |
//! | `blocks.N.mlp.in` | none: `hook_mlp_in` comes before the norm; `ln2.hook_normalized` comes after the norm's weight in a LayerNorm and before it in an RMSNorm |
//! | `blocks.N.mlp.key` | `blocks.N.mlp.hook_post`, of a gated MLP after the product |
//! | `blocks.N.mlp.out` | none: `hook_mlp_out` comes after the norm where one follows the MLP |
//! | `blocks.N.mlp.add` | `blocks.N.hook_mlp_out` |
//! | `blocks.N.resid.post` | `blocks.N.hook_resid_post` |
//! | `final_norm` | none: `ln_final.hook_normalized`, as `ln2.hook_normalized` |
//! | none: single heads are no sites | `blocks.N.attn.hook_z` and everything else below `attn` |
//!
//! The names mean the same place. The numbers are the same when TransformerLens loads the model without processing its
//! weights (`from_pretrained_no_processing`): by default it folds norms and centres what writes to the residual stream.

use std::fmt;
use std::str::FromStr;

/// A point inside one transformer block. Shapes are `[batch, tokens, width]`.
///
/// The variants stand in the order in which a sequential block visits them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Point {
    /// `resid.pre`: the residual stream entering the block, width `d_model`.
    ResidPre,
    /// `attn.out`: what attention adds to the residual stream, width `d_model`.
    AttnOut,
    /// `mlp.in`: the normalised input of the MLP, width `d_model`.
    MlpIn,
    /// `mlp.key`: the input of the down-projection, the papers' k, width `d_mlp`.
    MlpKey,
    /// `mlp.out`: the output of the down-projection, the papers' v, width `d_model`.
    MlpOut,
    /// `mlp.add`: what the MLP adds to the residual stream, width `d_model`: `mlp.out`, or that behind a norm.
    MlpAdd,
    /// `resid.post`: the residual stream leaving the block, width `d_model`.
    ResidPost,
}

impl Point {
    /// All points in the order in which a block visits them.
    pub const ALL: [Self; 7] = [
        Self::ResidPre,
        Self::AttnOut,
        Self::MlpIn,
        Self::MlpKey,
        Self::MlpOut,
        Self::MlpAdd,
        Self::ResidPost,
    ];

    /// The name inside a block, such as `mlp.key`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResidPre => "resid.pre",
            Self::AttnOut => "attn.out",
            Self::MlpIn => "mlp.in",
            Self::MlpKey => "mlp.key",
            Self::MlpOut => "mlp.out",
            Self::MlpAdd => "mlp.add",
            Self::ResidPost => "resid.post",
        }
    }

    /// The name that TransformerLens has for the same tensor, if it has one, such as `mlp.hook_post`.
    #[must_use]
    pub const fn transformer_lens_name(self) -> Option<&'static str> {
        match self {
            Self::ResidPre => Some("hook_resid_pre"),
            Self::AttnOut => Some("hook_attn_out"),
            Self::MlpKey => Some("mlp.hook_post"),
            // What is added to the residual stream: there it is hooked after the norm.
            Self::MlpAdd => Some("hook_mlp_out"),
            Self::ResidPost => Some("hook_resid_post"),
            Self::MlpIn | Self::MlpOut => None,
        }
    }
}

/// A named place in a forward pass; ordered as a forward pass visits them.
///
/// ```
/// use recant_core::{Point, Site};
/// let site = Site::Block(17, Point::MlpKey);
/// assert_eq!(site.to_string(), "blocks.17.mlp.key");
/// assert_eq!("blocks.17.mlp.key".parse(), Ok(site));
/// // As TransformerLens calls it.
/// assert_eq!("blocks.17.mlp.hook_post".parse(), Ok(site));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// `embed`: the sum of all input embeddings, width `d_model`.
    Embed,
    /// `blocks.N.POINT`: a point in block `N`, counted from 0.
    Block(u16, Point),
    /// `final_norm`: the output of the last norm, what the unembedding reads, width `d_model`.
    FinalNorm,
}

/// A string names no site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` names no site; sites are `embed`, `final_norm` and `blocks.N.POINT` with POINT one of resid.pre, attn.out, mlp.in, mlp.key, mlp.out, mlp.add, resid.post, or what TransformerLens calls the same tensor, such as mlp.hook_post"
)]
pub struct SiteParseError {
    /// What was given.
    pub text: String,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed => f.write_str("embed"),
            Self::Block(block, point) => write!(f, "blocks.{block}.{}", point.name()),
            Self::FinalNorm => f.write_str("final_norm"),
        }
    }
}

impl FromStr for Site {
    type Err = SiteParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse_block = || {
            let (block, point) = text.strip_prefix("blocks.")?.split_once('.')?;
            let called =
                |known: &Point| known.name() == point || known.transformer_lens_name() == Some(point);
            let point = Point::ALL.into_iter().find(called)?;
            let number = block.parse().ok()?;
            // "+1" and "01" parse as numbers too; a number has one spelling.
            (format!("{number}") == block).then_some(Self::Block(number, point))
        };
        match text {
            "embed" => Some(Self::Embed),
            "final_norm" => Some(Self::FinalNorm),
            _ => parse_block(),
        }
        .ok_or_else(|| SiteParseError { text: text.to_owned() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn every_site_has_one_spelling() {
        let blocks = Point::ALL.map(|point| Site::Block(3, point));
        for site in blocks.into_iter().chain([Site::Embed, Site::FinalNorm]) {
            assert_eq!(site.to_string().parse(), Ok(site));
        }
        for text in
            ["", "blocks", "blocks.1", "blocks.01.mlp.key", "blocks.+1.mlp.key", "blocks.70000.mlp.key"]
        {
            assert!(text.parse::<Site>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_transformer_lens_mean_the_same_site() {
        for (theirs, ours) in [
            ("blocks.5.hook_resid_pre", "blocks.5.resid.pre"),
            ("blocks.5.hook_attn_out", "blocks.5.attn.out"),
            ("blocks.5.mlp.hook_post", "blocks.5.mlp.key"),
            ("blocks.5.hook_mlp_out", "blocks.5.mlp.add"),
            ("blocks.5.hook_resid_post", "blocks.5.resid.post"),
        ] {
            assert_eq!(theirs.parse::<Site>().unwrap().to_string(), ours, "{theirs}");
        }
        // Other tensors than any of ours, or not in every model.
        for theirs in [
            "hook_embed",
            "hook_pos_embed",
            "blocks.5.hook_resid_mid",
            "blocks.5.hook_mlp_in",
            "blocks.5.ln2.hook_normalized",
            "blocks.5.mlp.hook_pre",
            "blocks.5.attn.hook_z",
            "ln_final.hook_normalized",
            "blocks.05.hook_resid_pre",
        ] {
            assert!(theirs.parse::<Site>().is_err(), "{theirs}");
        }
    }

    #[test]
    fn order_is_the_order_of_a_forward_pass() {
        assert!(Site::Embed < Site::Block(0, Point::ResidPre));
        assert!(Site::Block(0, Point::ResidPost) < Site::Block(1, Point::ResidPre));
        assert!(Site::Block(9, Point::ResidPost) < Site::FinalNorm);
    }
}
