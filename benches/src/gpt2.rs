//! A GPT-2 with made-up weights.

use recant_core::Dtype;
use tempfile::TempDir;

use crate::random::{Shape, write};

/// Writes a GPT-2 of the size of `gpt2` (124 M parameters, 50,257 tokens) with made-up f32 weights. Its
/// tokenizer is a tiny one: benchmarks feed token ids.
///
/// # Panics
/// When the temporary directory cannot be written.
#[must_use]
#[expect(clippy::expect_used, reason = "a benchmark without a model has failed")]
pub fn gpt2_small() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    write(Shape::Gpt2Small, Dtype::F32, dir.path()).expect("a model");
    dir
}
