//! What the benchmarks share: models of a real size with made-up weights.

#[cfg(feature = "flex")]
mod gpt2;
pub mod random;

#[cfg(feature = "flex")]
pub use gpt2::gpt2_small;
