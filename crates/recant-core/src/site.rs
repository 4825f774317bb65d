//! Names of the places inside a forward pass that can be observed or replaced.

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
}

/// A named place in a forward pass; ordered as a forward pass visits them.
///
/// ```
/// use recant_core::{Point, Site};
/// let site = Site::Block(17, Point::MlpKey);
/// assert_eq!(site.to_string(), "blocks.17.mlp.key");
/// assert_eq!("blocks.17.mlp.key".parse(), Ok(site));
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
    "`{text}` names no site; sites are `embed`, `final_norm` and `blocks.N.POINT` with POINT one of resid.pre, attn.out, mlp.in, mlp.key, mlp.out, mlp.add, resid.post"
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
            let point = Point::ALL.into_iter().find(|known| known.name() == point)?;
            let number = block.parse().ok()?;
            // "+1" and "01" parse as numbers too; one site has one spelling.
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
    fn order_is_the_order_of_a_forward_pass() {
        assert!(Site::Embed < Site::Block(0, Point::ResidPre));
        assert!(Site::Block(0, Point::ResidPost) < Site::Block(1, Point::ResidPre));
        assert!(Site::Block(9, Point::ResidPost) < Site::FinalNorm);
    }
}
