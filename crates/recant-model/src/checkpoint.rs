//! Reading `model.safetensors`: validate, then view.
//!
//! The file is memory-mapped and every tensor is a slice of the map, so opening a checkpoint costs its
//! header. The header is untrusted: [`Header`] checks that offsets neither overlap, leave gaps nor run past the end,
//! that byte counts match shapes, and the names.

// A memory map is only as constant as its file. recant writes checkpoints by rename and never in place,
// and the alternative, reading gigabytes to the heap, would double memory for every model.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use recant_checkpoint::{Foreign, ForeignFile, Header, HeaderError};
use recant_core::{HostTensor, ParamPath, TensorError, Weights, WeightsError};

use crate::family::{Architecture, ConfigError};
use crate::note::ModelNote;
use crate::params::ParamError;
use recant_text::TokenizerError;

/// Name of the weights in a Hugging Face directory.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// A directory cannot be opened as a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The weights are in a form recant does not read.
    #[error(
        "{dir} has no model.safetensors but {found}; recant reads one safetensors file \
         (convert with `save_pretrained(safe_serialization=True, max_shard_size=\"100GB\")`)"
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
    /// The header of the weights is not valid, or the file is not as long as it says.
    #[error("{path} is not a valid safetensors file: {source}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: HeaderError,
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
    /// A weight is NaN or infinite.
    #[error("{path}: tensor `{name}` holds NaN or infinity at element {index}; the checkpoint is damaged")]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: ParamPath,
        /// Index of the first such element in row order.
        index: usize,
    },
    /// config.json cannot be used.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// The weights do not fit config.json.
    #[error("{path}: {source}")]
    Param {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ParamError,
    },
    /// tokenizer.json cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// Weights and metadata of a safetensors file.
pub(crate) struct Checkpoint {
    pub(crate) weights: Weights,
    pub(crate) metadata: Option<HashMap<String, String>>,
}

/// Reads a small file whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    let bytes = std::fs::read(path).map_err(|source| OpenError::Read { path: path.to_owned(), source })?;
    Foreign::refuse(path, &bytes)?;
    Ok(bytes)
}

/// Refuses a file that is something else than its name says; a file that is not there is reported by who reads it.
pub(crate) fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    let mut start = Vec::new();
    if let Ok(file) = File::open(path) {
        let read = file.take(Foreign::LOOK).read_to_end(&mut start);
        read.map_err(|source| OpenError::Read { path: path.to_owned(), source })?;
    }
    Ok(Foreign::refuse(path, &start)?)
}

/// The tokens that end a text by generation_config.json, where there is one.
pub(crate) fn ends_of_generation(dir: &Path) -> Result<Vec<u32>, OpenError> {
    let path = dir.join("generation_config.json");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let config = read(&path)?;
    Architecture::ends_of_generation(&config).map_err(|source| OpenError::Config { path, source })
}

/// What there is to say about a directory.
pub(crate) fn notes(
    unused: Vec<ParamPath>,
    unread: Vec<String>,
    untied: Vec<(ParamPath, ParamPath)>,
) -> Vec<ModelNote> {
    let unused = (!unused.is_empty()).then_some(ModelNote::UnusedTensors { names: unused });
    let unread = (!unread.is_empty()).then_some(ModelNote::UnreadKeys { keys: unread });
    let untied = untied.into_iter().map(|(alias, path)| ModelNote::Untied { alias, path });
    unused.into_iter().chain(unread).chain(untied).collect()
}

/// Maps a safetensors file and checks everything about it that can be checked without a configuration.
pub(crate) fn map(dir: &Path) -> Result<Checkpoint, OpenError> {
    let path = dir.join(WEIGHTS);
    if !path.exists()
        && let Some(found) = other_form(dir)
    {
        return Err(OpenError::Form { dir: dir.to_owned(), found });
    }
    let bytes = map_file(&path).map_err(|source| OpenError::Read { path: path.clone(), source })?;
    Foreign::refuse(&path, &bytes)?;
    let (header, data_start) =
        Header::of_file(&bytes).map_err(|source| OpenError::Header { path: path.clone(), source })?;
    let mut tensors = BTreeMap::new();
    for entry in header.tensors {
        // `of_file` has compared the offsets with the length of a slice.
        let at = |offset: u64| data_start + usize::try_from(offset).unwrap_or(bytes.len() - data_start);
        let slice = bytes.slice(at(entry.begin)..at(entry.end));
        let name = entry.path;
        let tensor = HostTensor::new(entry.dtype, entry.shape, slice)
            .map_err(|source| OpenError::Tensor { path: path.clone(), name: name.clone(), source })?;
        if let Some(index) = tensor.first_non_finite() {
            return Err(OpenError::NonFinite { path, name, index });
        }
        tensors.insert(name, tensor);
    }
    let metadata = header.metadata.map(|notes| notes.into_iter().collect());
    Ok(Checkpoint { weights: Weights::from_tensors(tensors), metadata })
}

/// The second names of a checkpoint's matrices.
#[derive(Default)]
pub(crate) struct Ties {
    /// Those that the file stores nevertheless, so that saving writes them again.
    pub(crate) stored: Vec<ParamPath>,
    /// `(second name, first name)` where the file holds other bytes under each: both are kept.
    pub(crate) untied: Vec<(ParamPath, ParamPath)>,
}

/// Declares the matrices that the configuration ties to be one tensor with two names. Those that differ in the file
/// are left as two, as `transformers` loads them.
pub(crate) fn tie(weights: &mut Weights, architecture: &Architecture) -> Ties {
    let mut ties = Ties::default();
    let has = |name: &str| ParamPath::new(name).is_ok_and(|name| weights.get(&name).is_some());
    for (alias, first) in architecture.ties(&has) {
        let stored = weights.get(&alias).is_some();
        match weights.tie(alias.clone(), first.clone()) {
            Ok(()) => ties.stored.extend(stored.then_some(alias)),
            Err(WeightsError::TiedButDifferent { .. }) => ties.untied.push((alias, first)),
            // `build` reports a name that is missing, and knows its shape.
            Err(_) => {}
        }
    }
    ties
}

fn map_file(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: see the note at the top of this file; the map is private to this process and read-only.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}

fn other_form(dir: &Path) -> Option<String> {
    let forms = ["model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];
    forms.into_iter().find(|name| dir.join(name).exists()).map(str::to_owned)
}
