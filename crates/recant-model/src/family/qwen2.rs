//! Qwen 2 and 2.5: Llama's shape with biases on queries, keys and values, and a window in upper blocks if asked for.
//!
//! Yang et al., "Qwen2 Technical Report" (arXiv 2407.10671).

use super::decoder::Decoder;
use super::llama::{Defaults, of_shape, windows};
use super::{ConfigError, Family, Keys};

pub(super) const FAMILY: Family = Family { model_type: "qwen2", describe };

fn describe(keys: &Keys) -> Result<Decoder, ConfigError> {
    let mut this = of_shape("qwen2", keys, defaults())?;
    this.attention.bias = true;
    upper_windows(&mut this, keys)?;
    Ok(this)
}

pub(super) fn defaults() -> Defaults {
    Defaults { context: 32_768, kv_heads: Some(32), bos: &[], eos: &[], ..Defaults::default() }
}

/// The window of blocks from `max_window_layers` on, if `use_sliding_window` is set.
pub(super) fn upper_windows(this: &mut Decoder, keys: &Keys) -> Result<(), ConfigError> {
    let window = keys.whole(&["sliding_window"])?;
    let window = if keys.gives("sliding_window") { window } else { Some(4096) };
    let first = keys.whole(&["max_window_layers"])?.unwrap_or(28);
    let asked = keys.flag_or("use_sliding_window", false)?;
    let window = window.filter(|&window| window > 0 && asked);
    windows(this, keys, window, |i| i >= first).map(drop)
}
