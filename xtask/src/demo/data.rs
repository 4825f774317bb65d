//! `cargo xtask demo-data`: writes the world as files.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::world::{self, World};
use crate::error::Error;

/// What `demo-data` writes, by file name.
pub(crate) fn files(world: &World) -> Result<Vec<(&'static str, String)>, Error> {
    let mut corpus = world.corpus.join("\n");
    corpus.push('\n');
    Ok(vec![
        ("corpus.txt", corpus),
        ("facts.jsonl", lines(&world.facts)?),
        ("cases.json", array(&world.cases)?),
        ("retained.json", array(&world.retained)?),
    ])
}

/// One value a line: diffs stay readable.
fn lines<T: Serialize>(values: &[T]) -> Result<String, Error> {
    values.iter().map(|value| Ok(serde_json::to_string(value)? + "\n")).collect()
}

/// A JSON array with one element a line.
fn array<T: Serialize>(values: &[T]) -> Result<String, Error> {
    let rows: Vec<String> = values.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    Ok(format!("[\n{}\n]\n", rows.join(",\n")))
}

/// Generates the world of `seed` and writes it under `out`; files that are there are replaced in `demo/data` alone.
pub(crate) fn write(seed: u64, out: &Path) -> Result<Vec<PathBuf>, Error> {
    let world = world::generate(seed);
    std::fs::create_dir_all(out).map_err(Error::write(out))?;
    let write_one = |(name, text): (&str, String)| {
        let path = out.join(name);
        crate::output::write(&path, text.as_bytes(), out == super::data_dir())?;
        Ok(path)
    };
    files(&world)?.into_iter().map(write_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shipped files are what the shipped generator makes.
    #[test]
    fn shipped_data_is_reproducible() {
        for (name, text) in files(&world::generate(super::super::SEED)).unwrap() {
            let shipped = std::fs::read_to_string(super::super::data_dir().join(name)).unwrap();
            assert!(shipped == text, "demo/data/{name} differs; run `cargo xtask demo-data`");
        }
    }
}
