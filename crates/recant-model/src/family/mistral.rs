//! Mistral: Llama's shape with a sliding window in every block.
//!
//! Jiang et al., "Mistral 7B" (arXiv 2310.06825); later releases have no window.

use super::decoder::Decoder;
use super::llama::{Defaults, of_shape, windows};
use super::{ConfigError, Family, Keys};

pub(super) const FAMILY: Family = Family { model_type: "mistral", describe };

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let mut this =
        of_shape("mistral", keys, Defaults { context: 131_072, kv_heads: Some(8), ..Defaults::default() })?;
    let window = keys.whole(&["sliding_window"])?;
    // A key that is not there means 4096, and null no window.
    let window = if keys.gives("sliding_window") { window } else { Some(4096) };
    windows(&mut this, keys, window.filter(|&window| window > 0), |_| true)?;
    Ok(this)
}
