//! The demo that ships: an invented world, and a model trained on it.

pub(crate) mod data;
pub(crate) mod optimiser;
pub(crate) mod recall;
pub(crate) mod tokenizer;
pub(crate) mod train;
pub(crate) mod world;

use std::path::{Path, PathBuf};

/// Seed of the world that ships.
pub(crate) const SEED: u64 = 1;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where the world's data ships.
pub(crate) fn data_dir() -> PathBuf {
    root().join("demo/data")
}

/// Where the demo model ships.
pub(crate) fn model_dir() -> PathBuf {
    root().join("demo/model")
}
