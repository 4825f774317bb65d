//! All weights of a model as one value.

use std::collections::BTreeMap;

use crate::{HostTensor, ModelDigest, ParamPath};

/// The weights of a model: parameter path to tensor, with tied paths sharing one tensor.
///
/// A persistent value: cloning shares every tensor's bytes, and changing a clone touches nothing else.
/// That is all a fork is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Weights {
    tensors: BTreeMap<ParamPath, HostTensor>,
    /// Second name to first name; the tensor stands under the first.
    ties: BTreeMap<ParamPath, ParamPath>,
}

/// Two names cannot be tied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A name is not a parameter.
    #[error("there is no parameter `{path}`")]
    Unknown {
        /// The name.
        path: ParamPath,
    },
    /// Two tensors that should be one hold different bytes.
    #[error("`{alias}` is said to be tied to `{path}` but holds other bytes")]
    TiedButDifferent {
        /// The second name.
        alias: ParamPath,
        /// The first name.
        path: ParamPath,
    },
}

impl Weights {
    /// Weights with no ties.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (ParamPath, HostTensor)>) -> Self {
        Self { tensors: tensors.into_iter().collect(), ties: BTreeMap::new() }
    }

    /// Makes `alias` a second name of `path`'s tensor. A tensor stored under `alias` must hold the same
    /// bytes and is dropped.
    ///
    /// # Errors
    /// [`WeightsError::Unknown`] when `path` has no tensor, [`WeightsError::TiedButDifferent`] when the
    /// two disagree.
    pub fn tie(&mut self, alias: ParamPath, path: ParamPath) -> Result<(), WeightsError> {
        let Some(tensor) = self.tensors.get(&path) else {
            return Err(WeightsError::Unknown { path });
        };
        if self.tensors.get(&alias).is_some_and(|stored| stored != tensor) {
            return Err(WeightsError::TiedButDifferent { alias, path });
        }
        self.tensors.remove(&alias);
        self.ties.insert(alias, path);
        Ok(())
    }

    /// The name under which `path`'s tensor stands: itself unless it is tied.
    #[must_use]
    pub fn canonical<'a>(&'a self, path: &'a ParamPath) -> &'a ParamPath {
        self.ties.get(path).unwrap_or(path)
    }

    /// The tensor of a parameter, by either name when it is tied.
    #[must_use]
    pub fn get(&self, path: &ParamPath) -> Option<&HostTensor> {
        self.tensors.get(self.canonical(path))
    }

    /// Every tensor once, in path order.
    pub fn iter(&self) -> impl Iterator<Item = (&ParamPath, &HostTensor)> {
        self.tensors.iter()
    }

    /// The tied names: second name, first name.
    pub fn ties(&self) -> impl Iterator<Item = (&ParamPath, &ParamPath)> {
        self.ties.iter()
    }

    /// Bytes of all tensors together.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.tensors.values().map(|tensor| tensor.bytes().len()).sum()
    }

    /// Bytes of the tensors whose ids are not known yet: what the next [`Weights::digest`] reads.
    #[must_use]
    pub fn unhashed_bytes(&self) -> usize {
        let unhashed = self.tensors.values().filter(|tensor| !tensor.has_id());
        unhashed.map(|tensor| tensor.bytes().len()).sum()
    }

    /// Content id of all weights: BLAKE3 over `"recant model 1"`, then for every tensor in path order the
    /// path's length (u64 LE), the path and the tensor id, then the same for every tie with the first name
    /// in place of the id.
    #[must_use]
    pub fn digest(&self) -> ModelDigest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"recant model 1");
        let name = |hasher: &mut blake3::Hasher, path: &ParamPath| {
            hasher.update(&(path.as_str().len() as u64).to_le_bytes());
            hasher.update(path.as_str().as_bytes());
        };
        for (path, tensor) in &self.tensors {
            name(&mut hasher, path);
            hasher.update(tensor.id().as_bytes());
        }
        for (alias, path) in &self.ties {
            name(&mut hasher, alias);
            name(&mut hasher, path);
        }
        ModelDigest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// These weights with some tensors replaced; `self` stays as it was.
    pub(crate) fn with(&self, changed: impl IntoIterator<Item = (ParamPath, HostTensor)>) -> Self {
        let mut next = self.clone();
        next.tensors.extend(changed);
        next
    }
}
