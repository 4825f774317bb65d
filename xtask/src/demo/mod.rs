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

/// A path below the current directory as one would type it: reports should not tell where a machine keeps things.
pub(crate) fn near(path: PathBuf) -> PathBuf {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or(path)
}

/// Where the world's data ships.
pub(crate) fn data_dir() -> PathBuf {
    near(root().join("demo/data"))
}

/// Where the demo model ships.
pub(crate) fn model_dir() -> PathBuf {
    near(root().join("demo/model"))
}
