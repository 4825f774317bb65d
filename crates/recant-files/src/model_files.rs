//! The files of a Hugging Face model directory.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The folder in which `transformers` keeps further chat templates.
pub(crate) const CHAT_TEMPLATES: &str = "additional_chat_templates";
/// Endings of files that go along with the weights: configuration, tokenizer, chat templates, model cards, code.
const CARRIED: [&str; 7] = ["json", "txt", "model", "jinja", "md", "tiktoken", "py"];
/// First words of files that a licence asks to be passed on.
const LEGAL: [&str; 4] = ["license", "licence", "notice", "copying"];

const ADAPTER: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// The weights of a model directory of one file.
const WEIGHTS: &str = "model.safetensors";
/// What says which weights are where, in a model directory of several files.
const SHARD_LIST: &str = "model.safetensors.index.json";

/// The files of a directory that is written for the model in `dir`: the weights and [`carried_files`]. Of a model that
/// is no directory, those that every model has.
///
/// # Errors
/// What the system says.
pub fn model_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    if dir.is_file() {
        return Ok(vec![PathBuf::from(WEIGHTS)]);
    }
    let mut files = carried_files(dir)?;
    if dir.join(WEIGHTS).exists() || !dir.join(SHARD_LIST).exists() {
        files.push(PathBuf::from(WEIGHTS));
        return Ok(files);
    }
    files.push(PathBuf::from(SHARD_LIST));
    for entry in fs::read_dir(dir)? {
        let name = PathBuf::from(entry?.file_name());
        if name.extension().is_some_and(|ending| ending == "safetensors") && !files.contains(&name) {
            files.push(name);
        }
    }
    Ok(files)
}

/// The files beside the weights that an edited model takes along, relative to `dir`, sorted: configuration, tokenizer,
/// chat templates, model card, licence and notices. An adapter beside the weights goes along as a whole or not at
/// all: its configuration without its weights would make the folder unreadable for `transformers`.
///
/// # Errors
/// What the system says.
pub fn carried_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let adapter = ADAPTER.iter().all(|name| dir.join(name).is_file());
    for entry in fs::read_dir(dir)? {
        let name = PathBuf::from(entry?.file_name());
        // Links are followed: download caches consist of them.
        if dir.join(&name).is_file() && is_carried(&name, adapter) {
            files.push(name);
        }
    }
    let templates = dir.join(CHAT_TEMPLATES);
    if templates.is_dir() {
        for entry in fs::read_dir(&templates)? {
            let name = Path::new(CHAT_TEMPLATES).join(entry?.file_name());
            if name.extension().is_some_and(|ending| ending == "jinja") && dir.join(&name).is_file() {
                files.push(name);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Copies a file into a folder that is being made, with its permissions, and makes folders above it.
///
/// # Errors
/// What the system says.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(above) = to.parent() {
        fs::create_dir_all(above)?;
    }
    fs::copy(from, to).map(drop)
}

/// Writes a file into a folder that is being made, and makes folders above it.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AlreadyExists`] where there is one.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    fs::File::create_new(path)?.write_all(bytes)
}

/// Gives `file` the permissions of `like`.
///
/// # Errors
/// What the system says.
pub fn set_mode_of(file: &Path, like: &Path) -> io::Result<()> {
    fs::set_permissions(file, fs::metadata(like)?.permissions())
}

fn is_carried(name: &Path, adapter: bool) -> bool {
    let text = name.to_string_lossy();
    if ADAPTER.contains(&&*text) {
        return adapter;
    }
    let ending = name.extension().and_then(|ending| ending.to_str());
    let first = text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let legal = LEGAL.iter().any(|word| word.eq_ignore_ascii_case(first));
    (legal || ending.is_some_and(|ending| CARRIED.contains(&ending))) && !text.ends_with(".index.json")
}

/// Files of a model directory that only programs write. A model card or a licence is not among them: if the new
/// directory has none, somebody put it there.
pub(crate) fn owned_by_model(name: &str) -> bool {
    const NAMES: [&str; 17] = [
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors",
        "model.safetensors.index.json",
        "preprocessor_config.json",
        "processor_config.json",
        "sentencepiece.bpe.model",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
    ];
    let shard = name.strip_prefix("model-").is_some_and(|rest| rest.ends_with(".safetensors"));
    let template = name.strip_prefix(CHAT_TEMPLATES).is_some_and(|rest| rest.ends_with(".jinja"));
    NAMES.contains(&name) || name == "vocab.txt" || ADAPTER.contains(&name) || shard || template
}
