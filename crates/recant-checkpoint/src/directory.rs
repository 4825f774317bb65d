//! A Hugging Face directory: one file of weights, or shards with the list that says which tensor is in which.
//!
//! Files of weights are memory-mapped and every tensor is a slice of the map, so opening a directory costs its headers.

// A memory map is only as constant as its file. recant writes checkpoints by rename and never in place, and the
// alternative, reading gigabytes to the heap, would double memory for every model.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use recant_core::{HostTensor, ParamPath};
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::source::{Layout, SHARD_LIST, ShardError, Source, SourceError, WEIGHTS, WeightFile};
use crate::{Foreign, Header};

/// Without it a folder is none.
const CONFIG: &str = "config.json";

/// A Hugging Face directory. Cloning shares the maps.
#[derive(Clone)]
pub struct Directory {
    dir: PathBuf,
    layout: Layout,
    /// The bytes of each file of the layout.
    maps: Vec<Bytes>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({})", self.dir.display())
    }
}

impl Directory {
    /// Maps the weights of a directory and checks everything about them that can be checked without a configuration.
    ///
    /// # Errors
    /// [`SourceError`] names the file.
    pub fn open(dir: &Path) -> Result<Self, SourceError> {
        let config = dir.join(CONFIG);
        std::fs::metadata(&config).map_err(|source| SourceError::Read { path: config, source })?;
        let whole = dir.join(WEIGHTS);
        let list = dir.join(SHARD_LIST);
        // transformers takes the one file where both stand.
        if !whole.exists() && list.exists() {
            return Self::sharded(dir, &list);
        }
        if !whole.exists()
            && let Some(found) = other_form(dir)
        {
            return Err(SourceError::Form { dir: dir.to_owned(), found });
        }
        let (file, map) = weights(dir, WEIGHTS)?;
        Ok(Self { dir: dir.to_owned(), layout: Layout::of_one(file.header, file.head), maps: vec![map] })
    }

    fn sharded(dir: &Path, path: &Path) -> Result<Self, SourceError> {
        let wrong = |source| SourceError::Shards { path: path.to_owned(), source };
        let list = read(path)?;
        let said = ShardList::parse(&list).map_err(wrong)?;
        let names: BTreeSet<&String> = said.files.values().collect();
        let (mut files, mut maps) = (Vec::new(), Vec::new());
        for name in names {
            stands_in(dir, name).map_err(wrong)?;
            let (file, map) = weights(dir, name)?;
            files.push(file);
            maps.push(map);
        }
        let layout = Layout::new(files, Some(list.into())).map_err(|twice| {
            let crate::Twice { tensor: name, files } = *twice;
            wrong(ShardError::Twice { name, files })
        })?;
        said.agrees(&layout).map_err(wrong)?;
        Ok(Self { dir: dir.to_owned(), layout, maps })
    }
}

impl Source for Directory {
    fn place(&self) -> &Path {
        &self.dir
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.dir)
    }

    fn files(&self) -> Result<Vec<String>, SourceError> {
        let failed = |source| SourceError::Read { path: self.dir.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.path().is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        let weights = |name: &String| self.layout.files.iter().any(|file| file.name == *name);
        names.retain(|name| !weights(name) && name != SHARD_LIST);
        names.sort();
        Ok(names)
    }

    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let path = self.dir.join(name);
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn tensor(&self, name: &ParamPath) -> Result<HostTensor, SourceError> {
        let missing = || SourceError::Missing { place: self.dir.clone(), name: name.clone() };
        let (file, entry) = self.layout.find(name).ok_or_else(missing)?;
        let start = self.layout.files[file].head.len();
        // The header was compared with the length of the map.
        let at = |offset: u64| usize::try_from(offset).map_or(usize::MAX, |offset| start + offset);
        let bytes = self.maps[file].slice(at(entry.begin)..at(entry.end));
        HostTensor::new(entry.dtype, entry.shape.clone(), bytes).map_err(|source| SourceError::Tensor {
            path: self.dir.join(&self.layout.files[file].name),
            name: name.clone(),
            source,
        })
    }
}

/// Which tensor is in which file, as the list of a sharded checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardList {
    /// The file of each tensor.
    pub files: BTreeMap<String, String>,
}

impl ShardList {
    /// Reads `model.safetensors.index.json`.
    ///
    /// # Errors
    /// [`ShardError`]: it is no such list, names a tensor twice, or a file outside the directory.
    pub fn parse(json: &[u8]) -> Result<Self, ShardError> {
        #[derive(serde::Deserialize)]
        struct Outer {
            weight_map: Pairs,
        }
        let outer: Outer =
            serde_json::from_slice(json).map_err(|error| ShardError::Json { reason: error.to_string() })?;
        let mut files = BTreeMap::new();
        for (name, file) in outer.weight_map.0 {
            let plain = Path::new(&file).file_name().is_some_and(|plain| plain == file.as_str());
            if !plain || file.contains(['/', '\\', '\0']) {
                return Err(ShardError::Outside { file });
            }
            if files.insert(name.clone(), file).is_some() {
                return Err(ShardError::Named { name });
            }
        }
        if files.is_empty() { Err(ShardError::Empty) } else { Ok(Self { files }) }
    }

    /// Whether the files hold what the list says, and nothing else.
    fn agrees(&self, layout: &Layout) -> Result<(), ShardError> {
        for (name, file) in &self.files {
            let path = ParamPath::new(name.as_str()).ok();
            let found = path.and_then(|path| layout.find(&path).map(|(at, _)| layout.files[at].name.clone()));
            if found.as_ref() != Some(file) {
                return Err(ShardError::Absent { name: name.clone(), file: file.clone() });
            }
        }
        for file in &layout.files {
            let mut entries = file.header.tensors.iter();
            if let Some(entry) = entries.find(|entry| !self.files.contains_key(entry.path.as_str())) {
                return Err(ShardError::Unlisted { name: entry.path.clone(), file: file.name.clone() });
            }
        }
        Ok(())
    }
}

/// The entries of a JSON object as they stand there, doubles included.
struct Pairs(Vec<(String, String)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object that names the file of each tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        input.deserialize_map(Reader)
    }
}

/// Whether a shard is a file of the directory, or of the download cache that the directory is a view of.
fn stands_in(dir: &Path, name: &str) -> Result<(), ShardError> {
    let path = dir.join(name);
    let Ok(found) = std::fs::canonicalize(&path) else {
        return Err(ShardError::Missing { file: name.to_owned() });
    };
    let Ok(dir) = std::fs::canonicalize(dir) else { return Ok(()) };
    // The hub's cache has a folder of links for each revision, and the files in `blobs` beside it.
    let cache = dir.parent().filter(|parent| parent.ends_with("snapshots")).and_then(Path::parent);
    let blobs = cache.map(|cache| cache.join("blobs"));
    let inside = |folder: &Path| found.parent() == Some(folder);
    if inside(&dir) || blobs.as_deref().is_some_and(inside) {
        return Ok(());
    }
    Err(ShardError::Outside { file: name.to_owned() })
}

/// Maps a file of weights and reads its header.
fn weights(dir: &Path, name: &str) -> Result<(WeightFile, Bytes), SourceError> {
    let path = dir.join(name);
    let map = map_file(&path).map_err(|source| SourceError::Read { path: path.clone(), source })?;
    Foreign::refuse(&path, &map)?;
    let (header, start) =
        Header::of_file(&map).map_err(|source| SourceError::Header { path: path.clone(), source })?;
    Ok((WeightFile { name: name.to_owned(), header, head: map.slice(..start) }, map))
}

/// Reads a small file whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    let refuse = |source| SourceError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(refuse)?;
    Foreign::refuse(path, &bytes)?;
    Ok(bytes)
}

/// Maps a file; see the note at the top of this one.
pub(crate) fn map_file(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: see the note at the top of this file; the map is private to this process and read-only.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}

fn other_form(dir: &Path) -> Option<String> {
    let forms = ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"];
    forms.into_iter().find(|name| dir.join(name).exists()).map(str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use recant_core::Dtype;

    use super::*;
    use crate::TensorEntry;

    fn write(dir: &Path, name: &str, tensors: &[&str]) {
        let entry = |(i, name): (usize, &&str)| TensorEntry {
            path: ParamPath::new(*name).unwrap(),
            dtype: Dtype::F32,
            shape: vec![2],
            begin: 8 * i as u64,
            end: 8 * (i as u64 + 1),
        };
        let header = Header { tensors: tensors.iter().enumerate().map(entry).collect(), metadata: None };
        let numbers = tensors.iter().flat_map(|name| {
            let first = f32::from(name.as_bytes()[0]);
            [first, first + 0.5].into_iter().flat_map(f32::to_le_bytes)
        });
        let file = [header.encode(), numbers.collect()].concat();
        std::fs::write(dir.join(name), file).unwrap();
    }

    fn list(dir: &Path, pairs: &[(&str, &str)]) {
        let entries: Vec<String> = pairs.iter().map(|(name, file)| format!("{name:?}:{file:?}")).collect();
        let text = format!(r#"{{"metadata":{{"total_size":32}},"weight_map":{{{}}}}}"#, entries.join(","));
        std::fs::write(dir.join(SHARD_LIST), text).unwrap();
    }

    const FILES: [(&str, &str); 3] = [("a", "1.safetensors"), ("b", "1.safetensors"), ("c", "2.safetensors")];

    fn sharded() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CONFIG), "{}").unwrap();
        write(dir.path(), "1.safetensors", &["b", "a"]);
        write(dir.path(), "2.safetensors", &["c"]);
        list(dir.path(), &FILES);
        dir
    }

    #[test]
    fn shards_are_one_source() {
        let dir = sharded();
        let source = Directory::open(dir.path()).unwrap();
        assert_eq!(source.files().unwrap(), ["config.json"]);
        assert_eq!(source.file("config.json").unwrap().as_deref(), Some(&b"{}"[..]));
        assert_eq!(source.file("tokenizer.json").unwrap(), None);
        let names: Vec<&str> = source.layout().names().map(ParamPath::as_str).collect();
        assert_eq!(names, ["a", "b", "c"]);
        for name in ["a", "b", "c"] {
            let tensor = source.tensor(&ParamPath::new(name).unwrap()).unwrap();
            assert_eq!(tensor.to_f32()[0], f32::from(name.as_bytes()[0]));
        }
        // The bytes of a file are its head and its tensors in the order of the header.
        for (file, name) in source.layout().files.iter().zip(["1.safetensors", "2.safetensors"]) {
            let tensors = file.header.tensors.iter().map(|entry| source.tensor(&entry.path).unwrap());
            let bytes = tensors.fold(file.head.to_vec(), |all, tensor| [&all[..], tensor.bytes()].concat());
            assert!(file.name == name && bytes == std::fs::read(dir.path().join(name)).unwrap());
        }
        let missing = source.tensor(&ParamPath::new("d").unwrap()).unwrap_err();
        assert!(matches!(missing, SourceError::Missing { .. }), "{missing}");
    }

    #[test]
    fn what_is_wrong_with_shards_is_named() {
        let told = |change: &dyn Fn(&Path)| {
            let dir = sharded();
            change(dir.path());
            Directory::open(dir.path()).unwrap_err().to_string()
        };
        let listed = |pairs: &[(&str, &str)]| told(&|dir| list(dir, &[&FILES[..], pairs].concat()));
        let text = |text: &'static str| told(&|dir| std::fs::write(dir.join(SHARD_LIST), text).unwrap());
        let cases = [
            (
                told(&|dir| std::fs::remove_file(dir.join("2.safetensors")).unwrap()),
                "2.safetensors, which is missing",
            ),
            (listed(&[("a", "2.safetensors")]), "names tensor `a` twice"),
            (
                told(&|dir| list(dir, &[FILES[0], FILES[1], ("c", "1.safetensors")])),
                "`c` is in 1.safetensors, which does not",
            ),
            (told(&|dir| list(dir, &[FILES[0], FILES[2]])), "1.safetensors holds tensor `b`"),
            (
                told(&|dir| write(dir, "2.safetensors", &["c", "a"])),
                "`a` is in 1.safetensors and in 2.safetensors",
            ),
            (listed(&[("d", "../d.safetensors")]), "not a file of this directory"),
            (listed(&[("d", "/d.safetensors")]), "not a file of this directory"),
            (listed(&[("d", "..")]), "not a file of this directory"),
            (listed(&[("d", "sub/d.safetensors")]), "not a file of this directory"),
            (listed(&[("d", "")]), "not a file of this directory"),
            (
                told(&|dir| {
                    let file = std::fs::read(dir.join("2.safetensors")).unwrap();
                    std::fs::write(dir.join("2.safetensors"), &file[..file.len() - 1]).unwrap();
                }),
                "2.safetensors is not a valid",
            ),
            (
                told(&|dir| {
                    std::fs::write(dir.join("2.safetensors"), "version https://git-lfs.github.com/spec/v1\n")
                        .unwrap();
                }),
                "LFS",
            ),
            (text("[]"), "no list of shards"),
            (text("{}"), "no list of shards"),
            (text(r#"{"weight_map":{"a":1}}"#), "no list of shards"),
            (text(r#"{"weight_map":{}}"#), "names no tensor"),
            (text("<!DOCTYPE html>"), "HTML"),
        ];
        for (error, expected) in cases {
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    /// A link out of the folder is refused, but for the links of which a download cache consists.
    #[cfg(unix)]
    #[test]
    fn a_shard_is_a_file_of_the_directory_or_of_its_cache() {
        let moved = |to: &dyn Fn(&Path) -> PathBuf, dir: &Path| {
            let (from, to) = (dir.join("2.safetensors"), to(dir));
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::rename(&from, &to).unwrap();
            std::os::unix::fs::symlink(&to, &from).unwrap();
        };
        let elsewhere = tempfile::tempdir().unwrap();
        let dir = sharded();
        moved(&|_| elsewhere.path().join("x"), dir.path());
        assert!(
            Directory::open(dir.path()).unwrap_err().to_string().contains("not a file of this directory")
        );
        let cache = tempfile::tempdir().unwrap();
        let revision = cache.path().join("snapshots/0123");
        std::fs::create_dir_all(revision.parent().unwrap()).unwrap();
        std::fs::rename(sharded().keep(), &revision).unwrap();
        moved(&|_| cache.path().join("blobs/abc"), &revision);
        assert!(Directory::open(&revision).is_ok());
    }
}
