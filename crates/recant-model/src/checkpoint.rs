//! Reading `model.safetensors`: validate, then view.
//!
//! The file is memory-mapped and every tensor is a slice of the map, so opening a checkpoint costs its
//! header. The header is untrusted: the `safetensors` crate checks that offsets neither overlap, leave
//! gaps nor run past the end, and that byte counts match shapes; names are checked by [`ParamPath`].

// A memory map is only as constant as its file. recant writes checkpoints by rename and never in place,
// and the alternative, reading gigabytes to the heap, would double memory for every model.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use recant_core::{Dtype, HostTensor, ParamPath, ParamPathError, TensorError, Weights, WeightsError};
use safetensors::SafeTensors;

use crate::arch::{Architecture, ConfigError};
use crate::params::ParamError;
use crate::tokenizer::TokenizerError;

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
    /// The header of the weights is not valid.
    #[error("{path} is not a valid safetensors file: {reason}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor's name is not acceptable.
    #[error("{path}: {source}")]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ParamPathError,
    },
    /// A tensor's type is not known.
    #[error("{path}: tensor `{name}` has dtype {dtype}, which recant does not carry")]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: ParamPath,
        /// Its type.
        dtype: String,
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
    /// Weights that config.json ties differ.
    #[error("{path}: {source}")]
    Tie {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: WeightsError,
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
pub(crate) fn read(path: PathBuf) -> Result<Vec<u8>, OpenError> {
    std::fs::read(&path).map_err(|source| OpenError::Read { path, source })
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
    let header = |reason: String| OpenError::Header { path: path.clone(), reason };
    let (header_len, metadata) =
        SafeTensors::read_metadata(&bytes).map_err(|error| header(describe(&error, bytes.len())))?;
    let data_start = header_len + size_of::<u64>();
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let name = ParamPath::new(name).map_err(|source| OpenError::Name { path: path.clone(), source })?;
        let dtype = format!("{:?}", info.dtype);
        let Ok(dtype) = Dtype::from_name(&dtype) else {
            return Err(OpenError::Dtype { path, name, dtype });
        };
        let (start, end) = info.data_offsets;
        let slice = bytes.slice(data_start + start..data_start + end);
        let tensor = HostTensor::new(dtype, info.shape.clone(), slice)
            .map_err(|source| OpenError::Tensor { path: path.clone(), name: name.clone(), source })?;
        if let Some(index) = tensor.first_non_finite() {
            return Err(OpenError::NonFinite { path, name, index });
        }
        tensors.insert(name, tensor);
    }
    Ok(Checkpoint { weights: Weights::from_tensors(tensors), metadata: metadata.metadata().clone() })
}

/// Declares the matrices that the configuration ties to be one tensor with two names. Returns the second
/// names that the file stores nevertheless, so that saving writes them again.
pub(crate) fn tie(
    weights: &mut Weights,
    architecture: &Architecture,
    dir: &Path,
) -> Result<Vec<ParamPath>, OpenError> {
    let path = dir.join(WEIGHTS);
    let mut stored = Vec::new();
    let has = |name: &str| ParamPath::new(name).is_ok_and(|name| weights.get(&name).is_some());
    let ties = architecture.ties(&has);
    for (alias, first) in ties {
        let parse =
            |name| ParamPath::new(name).map_err(|source| OpenError::Name { path: path.clone(), source });
        let (alias, first) = (parse(alias)?, parse(first)?);
        // A missing first name is reported by `build`, which knows its shape.
        if weights.get(&first).is_some() {
            stored.extend(weights.get(&alias).map(|_| alias.clone()));
            weights.tie(alias, first).map_err(|source| OpenError::Tie { path: path.clone(), source })?;
        }
    }
    Ok(stored)
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

/// The crate's errors name the rule; this adds what a person can do about the two common ones.
fn describe(error: &safetensors::SafeTensorError, file_len: usize) -> String {
    use safetensors::SafeTensorError as E;
    match error {
        E::HeaderTooSmall => format!("the file has {file_len} bytes, fewer than a header; it is truncated"),
        E::InvalidHeaderLength => {
            format!(
                "its header claims more than the {file_len} bytes of the file; it is truncated or damaged"
            )
        }
        E::MetadataIncompleteBuffer => {
            "its tensors do not end where the file ends; the download was cut or the file is damaged"
                .to_owned()
        }
        E::HeaderTooLarge => "its header claims an absurd size; the file is damaged".to_owned(),
        other => other.to_string(),
    }
}
