//! Where a model comes from: a directory, a file of another format, a commit of a store.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use recant_core::{HostTensor, ParamPath, TensorError};

use crate::{ForeignFile, GgufError, Header, HeaderError, TensorEntry};

/// Name of the weights in a Hugging Face directory of one file.
pub const WEIGHTS: &str = "model.safetensors";
/// Name of the list that says which tensor is in which file, in a directory of several.
pub const SHARD_LIST: &str = "model.safetensors.index.json";

/// What a model is made from: a configuration, tensors, and what stands beside them. Opening one reads headers;
/// tensors are read when they are asked for.
pub trait Source: fmt::Debug + Send + Sync {
    /// The file or folder that it is, for messages.
    fn place(&self) -> &Path;

    /// The Hugging Face directory that it is, if it is one: what stands beside the weights is copied from there.
    fn directory(&self) -> Option<&Path> {
        None
    }

    /// The names of the files beside the weights, ascending.
    ///
    /// # Errors
    /// [`SourceError`].
    fn files(&self) -> Result<Vec<String>, SourceError>;

    /// A file beside the weights, such as `config.json`; `None` when there is none of this name.
    ///
    /// # Errors
    /// [`SourceError`].
    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError>;

    /// Which tensor is where in which file of weights.
    fn layout(&self) -> &Layout;

    /// One tensor, in the type that the layout says.
    ///
    /// # Errors
    /// [`SourceError::Missing`] when there is none of this name, or what prevents reading it.
    fn tensor(&self, name: &ParamPath) -> Result<HostTensor, SourceError>;
}

/// A file of weights as it is written: its head, and its tensors' bytes in the order of the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightFile {
    /// Its name in the directory.
    pub name: String,
    /// Its tensors and notes.
    pub header: Header,
    /// All bytes before those of the first tensor.
    pub head: Bytes,
}

/// Which tensor is where in which file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// The files, by name.
    pub files: Vec<WeightFile>,
    /// The bytes of [`SHARD_LIST`], where there are several files.
    pub list: Option<Bytes>,
    /// The place of each tensor: its file, and its entry there.
    places: BTreeMap<ParamPath, (usize, usize)>,
}

impl Layout {
    /// The layout of some files.
    ///
    /// # Errors
    /// The name of a tensor that is in two of them, and their names.
    pub fn new(files: Vec<WeightFile>, list: Option<Bytes>) -> Result<Self, Box<Twice>> {
        let mut places: BTreeMap<ParamPath, (usize, usize)> = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            for (i, entry) in file.header.tensors.iter().enumerate() {
                if let Some((other, _)) = places.insert(entry.path.clone(), (at, i)) {
                    let files = [files[other].name.clone(), file.name.clone()];
                    return Err(Box::new(Twice { tensor: entry.path.clone(), files }));
                }
            }
        }
        Ok(Self { files, list, places })
    }

    /// The layout of one file, [`WEIGHTS`].
    #[must_use]
    pub fn of_one(header: Header, head: Bytes) -> Self {
        let entries = header.tensors.iter().enumerate();
        let places = entries.map(|(i, entry)| (entry.path.clone(), (0, i))).collect();
        Self { files: vec![WeightFile { name: WEIGHTS.to_owned(), header, head }], list: None, places }
    }

    /// The names of all tensors, ascending.
    pub fn names(&self) -> impl Iterator<Item = &ParamPath> {
        self.places.keys()
    }

    /// The number of the file that holds a tensor, and where in it.
    #[must_use]
    pub fn find(&self, name: &ParamPath) -> Option<(usize, &TensorEntry)> {
        let &(file, entry) = self.places.get(name)?;
        Some((file, &self.files[file].header.tensors[entry]))
    }
}

/// A tensor that two files hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twice {
    /// The tensor.
    pub tensor: ParamPath,
    /// The files.
    pub files: [String; 2],
}

/// A source cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The weights are in a form that recant does not read.
    #[error(
        "{dir} has no {WEIGHTS} but {found}, which recant does not read; it reads safetensors and GGUF files"
    )]
    Form {
        /// The directory.
        dir: PathBuf,
        /// What stands there instead.
        found: String,
    },
    /// A file is something else than its name says.
    #[error("{0}")]
    Foreign(#[from] ForeignFile),
    /// The header of a file of weights is not valid, or the file is not as long as it says.
    #[error("{path} is not a valid safetensors file: {source}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: HeaderError,
    },
    /// A GGUF file is damaged, or holds something that recant does not read.
    #[error("{path} cannot be used: {source}")]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: GgufError,
    },
    /// A tensor's bytes do not fit its shape.
    #[error("{path}: tensor `{name}`: {source}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: ParamPath,
        /// What is wrong.
        source: TensorError,
    },
    /// The list of shards is not usable, or not what the shards hold.
    #[error("{path}: {source}")]
    Shards {
        /// The list.
        path: PathBuf,
        /// What is wrong.
        source: ShardError,
    },
    /// What holds it says so.
    #[error("{place}: {source}")]
    Other {
        /// The source.
        place: PathBuf,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such tensor.
    #[error("{place} has no tensor `{name}`")]
    Missing {
        /// The source.
        place: PathBuf,
        /// The tensor.
        name: ParamPath,
    },
}

/// A list of shards is not usable, or not what the shards hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// It is not the JSON that it should be.
    #[error("it is no list of shards: {reason}")]
    Json {
        /// What is wrong.
        reason: String,
    },
    /// It names no tensor.
    #[error("it names no tensor")]
    Empty,
    /// A file is not one of the directory.
    #[error("it names {file:?}, which is not a file of this directory; shards stand beside their list")]
    Outside {
        /// What it names.
        file: String,
    },
    /// A file is not there.
    #[error("it names {file}, which is missing; download it, or the whole model again")]
    Missing {
        /// The file.
        file: String,
    },
    /// A tensor is named twice.
    #[error("it names tensor `{name}` twice")]
    Named {
        /// The tensor.
        name: String,
    },
    /// A tensor is in two files.
    #[error("tensor `{name}` is in {} and in {}", files[0], files[1])]
    Twice {
        /// The tensor.
        name: ParamPath,
        /// The files.
        files: [String; 2],
    },
    /// A tensor is not where the list says.
    #[error("it says that tensor `{name}` is in {file}, which does not hold it")]
    Absent {
        /// The tensor.
        name: String,
        /// The file.
        file: String,
    },
    /// A tensor is in a file and not in the list.
    #[error("{file} holds tensor `{name}`, which it does not name")]
    Unlisted {
        /// The tensor.
        name: ParamPath,
        /// The file.
        file: String,
    },
}
