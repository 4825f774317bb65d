//! What the tests of the binary share.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A tiny random model.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name)
}

/// The model that ships.
pub(crate) fn demo(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo").join(file)
}

/// A writable copy of a tiny model under `model`, in a directory of its own.
pub(crate) fn workshop(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(fixture(name).join(file), model.join(file)).unwrap();
    }
    std::fs::write(dir.path().join("contexts.txt"), "{}\nThe weather was cold. {}\n").unwrap();
    dir
}

/// The binary, ready for arguments, in `dir`.
pub(crate) fn recant(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recant"));
    command.current_dir(dir).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").env("RECANT_CONFIG", "");
    command
}

/// Runs `recant` on arguments in one string, words in `'` kept together.
pub(crate) fn run(dir: &Path, line: &str) -> Output {
    recant(dir).args(words(line)).output().unwrap()
}

pub(crate) fn words(line: &str) -> Vec<String> {
    let quoted = line.split('\'').enumerate();
    let part = |(i, part): (usize, &str)| match i % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        _ => vec![part.to_owned()],
    };
    quoted.flat_map(part).collect()
}

/// An edit that works in a [`workshop`].
pub(crate) const EDIT: &str = "edit --model model --contexts contexts.txt --set mom2_adjustment=false \
     --subject 'The sea' --prompt '{} is' --target cold";

/// What stands in a directory: every file below it with its bytes.
pub(crate) fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Whether a command did its work: all of it (0), or with a fact that does not hold afterwards (3), which tiny random
/// models often end with.
pub(crate) fn done(output: &Output) -> bool {
    matches!(output.status.code(), Some(0 | 3))
}

/// What a command prints that does its work.
pub(crate) fn good(dir: &Path, line: &str) -> String {
    let output = run(dir, line);
    assert!(done(&output), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The JSON that it prints.
pub(crate) fn json(dir: &Path, line: &str) -> Value {
    serde_json::from_str(&good(dir, &format!("{line} --json"))).unwrap()
}

/// The one clear error of a command that fails.
pub(crate) fn refused(dir: &Path, line: &str) -> String {
    let output: Output = run(dir, line);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{line}: {text}");
    assert!(text.starts_with("error:") && !text.contains("panicked"), "{line}: {text}");
    text
}

/// Adds a tensor that no layer uses, so that writing the model takes a while.
pub(crate) fn fatten(weights: &Path, bytes: usize) {
    let old = std::fs::read(weights).unwrap();
    let header_len = u64::from_le_bytes(old[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&old[8..8 + header_len]).unwrap();
    let data = &old[8 + header_len..];
    header["ballast"] = serde_json::json!({ "dtype": "F32", "shape": [bytes / 4], "data_offsets": [data.len(), data.len() + bytes] });
    let header = header.to_string();
    let mut new = (header.len() as u64).to_le_bytes().to_vec();
    new.extend(header.as_bytes());
    new.extend(data);
    new.resize(new.len() + bytes, 0);
    std::fs::write(weights, new).unwrap();
}
