//! Gemma 3, the text model: Gemma 2 with normalised queries and keys in place of soft caps, and five blocks with a
//! window and a rotary base of their own to each one without.
//!
//! Gemma Team, "Gemma 3 Technical Report" (arXiv 2503.19786).

use super::decoder::{Decoder, QkNorm};
use super::gemma2::of_gemma;
use super::llama::windows;
use super::{ConfigError, Family, Keys};
use crate::rope::Rope;

pub(super) const FAMILY: Family = Family { model_type: "gemma3_text", describe };

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let mut this = of_gemma("gemma3_text", keys, 131_072)?;
    this.attention.qk_norm = QkNorm::Head;
    let window = keys.size_or(&["sliding_window"], 4096)?;
    let pattern = keys.size_or(&["sliding_window_pattern", "_sliding_window_pattern"], 6)?;
    let sliding = windows(&mut this, keys, Some(window), |i| !(i + 1).is_multiple_of(pattern))?;
    let (context, head_dim) = (this.spec.context, this.spec.head_dim);
    let global = keys.number("rope_theta")?.unwrap_or(1_000_000.0);
    let local = keys.number("rope_local_base_freq")?.unwrap_or(10_000.0);
    let (old, new) = (keys.section("rope_scaling")?, keys.section("rope_parameters")?);
    // Since transformers 5 a section for each kind of block.
    let of_kind =
        |kind| Ok::<_, ConfigError>(new.as_ref().map(|new| new.section(kind)).transpose()?.flatten());
    let (full, slide) = (of_kind("full_attention")?, of_kind("sliding_attention")?);
    let by_kind = full.is_some() || slide.is_some();
    let full = if by_kind { full } else { old.or(new) };
    this.ropes = vec![
        Rope::of(keys, full, (global, 1.0), context, head_dim)?,
        Rope::of(keys, slide, (local, 1.0), context, head_dim)?,
    ];
    this.unread = this.ropes.iter_mut().flat_map(|rope| std::mem::take(&mut rope.unread)).collect();
    for (block, sliding) in this.blocks.iter_mut().zip(sliding) {
        block.rope = Some(usize::from(sliding));
    }
    Ok(this)
}
