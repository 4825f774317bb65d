//! The cache that the hub's own tools use: `models--owner--name/` with `refs/` (the commit of a branch), `snapshots/`
//! (a folder for each commit) and `blobs/` (the files, named by their digests).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use recant_checkpoint::{SHARD_LIST, ShardList, WEIGHTS};

use crate::HubName;
use crate::name::is_commit;

/// What is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// A cache in a folder.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The user's: `$HF_HUB_CACHE`, or `$HF_HOME/hub`, or `huggingface/hub` in the user's folder of caches.
    #[must_use]
    pub fn of_environment() -> Self {
        let root = said("HF_HUB_CACHE").or_else(|| said("HUGGINGFACE_HUB_CACHE"));
        Self { root: root.unwrap_or_else(|| home().join("hub")) }
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory or the file of a model, if the cache has all of it.
    #[must_use]
    pub fn find(&self, name: &HubName) -> Option<PathBuf> {
        let snapshot = self.snapshot(name, &self.commit(name)?);
        match name.file() {
            Some(file) => Some(snapshot.join(file)).filter(|path| path.is_file()),
            None => Some(snapshot).filter(|dir| is_whole(dir)),
        }
    }

    /// The folder of a model.
    pub(crate) fn model(&self, name: &HubName) -> PathBuf {
        self.root.join(format!("models--{}--{}", name.owner(), name.name()))
    }

    /// The folder of a commit of a model.
    pub(crate) fn snapshot(&self, name: &HubName, commit: &str) -> PathBuf {
        self.model(name).join("snapshots").join(commit)
    }

    /// The commit that a revision was when it was last asked for.
    fn commit(&self, name: &HubName) -> Option<String> {
        if name.is_pinned() {
            return Some(name.revision().to_owned());
        }
        let text = std::fs::read_to_string(self.model(name).join("refs").join(name.revision())).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }
}

/// A folder that the environment names.
fn said(key: &str) -> Option<PathBuf> {
    std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder of the hub's own tools: `$HF_HOME`, or `huggingface` in the user's folder of caches.
pub(crate) fn home() -> PathBuf {
    let caches = || said("XDG_CACHE_HOME").unwrap_or_else(|| said("HOME").unwrap_or_default().join(".cache"));
    said("HF_HOME").unwrap_or_else(|| caches().join("huggingface"))
}

/// Whether a snapshot has a configuration and all weights; tools fetch single files too.
fn is_whole(dir: &Path) -> bool {
    let there = |name: &str| dir.join(name).is_file();
    let shards = || -> Option<BTreeSet<String>> {
        let list = ShardList::parse(&std::fs::read(dir.join(SHARD_LIST)).ok()?).ok()?;
        Some(list.files.into_values().collect())
    };
    there("config.json")
        && (there(WEIGHTS) || shards().is_some_and(|files| files.iter().all(|file| there(file))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn put(path: &Path, bytes: &[u8]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_whole_snapshot_is_found_and_half_of_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let [main, pinned, other] =
            ["o/n", &format!("o/n@{COMMIT}"), "o/n@v2"].map(|name| HubName::parse(name).unwrap());
        let snapshot = cache.snapshot(&main, COMMIT);
        put(&snapshot.join("config.json"), b"{}");
        put(&cache.model(&main).join("refs/main"), COMMIT.as_bytes());
        assert_eq!(cache.find(&main), None, "no weights");

        put(&snapshot.join(SHARD_LIST), br#"{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#);
        put(&snapshot.join("1.safetensors"), b"");
        assert_eq!(cache.find(&main), None, "a shard is missing");
        put(&snapshot.join("2.safetensors"), b"");
        assert_eq!(cache.find(&main), Some(snapshot.clone()));
        assert_eq!(cache.find(&pinned), Some(snapshot.clone()));
        assert_eq!(cache.find(&other), None);

        let file = HubName::parse("o/n/q.gguf").unwrap();
        assert_eq!(cache.find(&file), None);
        put(&snapshot.join("q.gguf"), b"");
        assert_eq!(cache.find(&file), Some(snapshot.join("q.gguf")));
    }

    #[test]
    fn a_branch_that_names_no_commit_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, name) = (Cache::at(dir.path()), HubName::parse("o/n").unwrap());
        put(&dir.path().join("config.json"), b"{}");
        put(&dir.path().join(WEIGHTS), b"");
        put(&cache.model(&name).join("refs/main"), b"../..");
        assert_eq!(cache.find(&name), None);
    }
}
