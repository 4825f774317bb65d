//! Kinds of outputs: how a file or folder is told from others before it is replaced.

use std::path::{Path, PathBuf};

use crate::model_files::{CHAT_TEMPLATES, owned_by_model};

/// A kind of file.
#[derive(Debug, Clone, Copy)]
pub struct FileKind {
    /// What a person calls it: `patch`, `ledger`.
    pub name: &'static str,
    /// Whether a file of this kind begins with these bytes (at most the first MiB of it).
    pub recognises: fn(&[u8]) -> bool,
}

/// A kind of folder that is written and replaced as a whole.
#[derive(Debug, Clone, Copy)]
pub struct DirectoryKind {
    /// What a person calls it.
    pub name: &'static str,
    /// For each list, one of its files must be there, or the folder is none of this kind.
    pub(crate) marks: &'static [&'static [&'static str]],
    /// Names that only programs write, relative to the folder.
    pub(crate) owns: fn(&str) -> bool,
    /// Folders inside it.
    pub(crate) folders: &'static [&'static str],
}

/// A Hugging Face model directory.
pub const MODEL_DIRECTORY: DirectoryKind = DirectoryKind {
    name: "model directory",
    marks: &[&["config.json"], &["model.safetensors", "model.safetensors.index.json"]],
    owns: owned_by_model,
    folders: &[CHAT_TEMPLATES],
};

/// A LoRA adapter as PEFT writes it.
pub const ADAPTER_DIRECTORY: DirectoryKind = DirectoryKind {
    name: "LoRA adapter",
    marks: &[&["adapter_config.json"], &["adapter_model.safetensors"]],
    owns: |name| matches!(name, "adapter_config.json" | "adapter_model.safetensors"),
    folders: &[],
};

/// A folder's content, sorted into what belongs to its kind and the rest. Paths are relative to the folder.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) foreign: Vec<PathBuf>,
}

impl Content {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.folders.is_empty() && self.foreign.is_empty()
    }
}

impl DirectoryKind {
    /// Looks into a folder. `names` belong to it too: the files that the new folder has.
    pub(crate) fn content(&self, dir: &Path, names: &[PathBuf]) -> std::io::Result<Content> {
        let mut content = Content::default();
        self.sort_into(dir, Path::new(""), names, &mut content)?;
        content.foreign.sort();
        Ok(content)
    }

    fn sort_into(
        &self,
        dir: &Path,
        below: &Path,
        names: &[PathBuf],
        content: &mut Content,
    ) -> std::io::Result<()> {
        for entry in std::fs::read_dir(dir.join(below))? {
            let entry = entry?;
            let name = below.join(entry.file_name());
            let file_type = entry.file_type()?;
            let text = name.to_str().map(|text| text.replace(std::path::MAIN_SEPARATOR, "/"));
            let is = |known: fn(&Self, &str) -> bool| text.as_deref().is_some_and(|text| known(self, text));
            if file_type.is_file() && (names.contains(&name) || is(|kind, text| (kind.owns)(text))) {
                content.files.push(name);
            } else if file_type.is_dir() && is(|kind, text| kind.folders.contains(&text)) {
                self.sort_into(dir, &name, names, content)?;
                content.folders.push(name);
            } else {
                content.foreign.push(name);
            }
        }
        Ok(())
    }

    /// Whether the files are those of this kind.
    pub(crate) fn is_made_of(&self, content: &Content) -> bool {
        let has = |name: &&str| content.files.iter().any(|file| file == Path::new(*name));
        self.marks.iter().all(|any| any.iter().any(&has))
    }
}
