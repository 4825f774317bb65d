//! Which tensor stands under which parameter path, and what else a model directory holds.
//!
//! ```text
//! magic    8   "RCNTMAN1"
//! count    u32 tensors, paths strictly ascending
//!   path   u32 length, then that many bytes;  id 32
//! count    u32 ties, second names strictly ascending
//!   alias  u32 length, bytes;  first name u32 length, bytes
//! count    u32 carried files, names strictly ascending; one in a folder is called `folder/file`
//!   name   u32 length, bytes;  blob id 32
//! layout   32  blob id of the safetensors header
//! ```

use std::collections::BTreeMap;

use recant_core::{ManifestId, ModelDigest, ObjectId, ParamPath, TensorId};

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::name::FileName;

pub(super) const MAGIC: &[u8] = b"RCNTMAN1";

/// All of a model by content id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Every tensor once, under its first name.
    pub tensors: BTreeMap<ParamPath, TensorId>,
    /// Second name to first name of matrices that are one.
    pub ties: BTreeMap<ParamPath, ParamPath>,
    /// Configuration and tokenizer files.
    pub files: BTreeMap<FileName, ObjectId>,
    /// The header of the safetensors file, which says how the tensors are laid out in it.
    pub layout: ObjectId,
}

impl Manifest {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        out.count(self.tensors.len());
        for (path, &id) in &self.tensors {
            out.text(path.as_str());
            out.id(id);
        }
        out.count(self.ties.len());
        for (alias, path) in &self.ties {
            out.text(alias.as_str());
            out.text(path.as_str());
        }
        out.count(self.files.len());
        for (name, &id) in &self.files {
            out.text(name.as_str());
            out.id(id);
        }
        out.id(self.layout);
        out.finish()
    }

    /// Content id.
    #[must_use]
    pub fn id(&self) -> ManifestId {
        ManifestId::from_bytes(*super::object_id(&self.encode()).as_bytes())
    }

    /// Reads a manifest back.
    ///
    /// # Errors
    /// [`DecodeError`] on anything that [`Manifest::encode`] would not have written, and on a tie whose first
    /// name has no tensor or whose second name has one.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new("manifest", MAGIC, payload)?;
        let mut tensors = BTreeMap::new();
        for _ in 0..input.count()? {
            let path = input.path()?;
            input.ascends(tensors.last_key_value().map(|(last, _)| last), &path, &path)?;
            tensors.insert(path, TensorId::from_bytes(input.digest()?));
        }
        let mut ties = BTreeMap::new();
        for _ in 0..input.count()? {
            let (alias, path) = (input.path()?, input.path()?);
            input.ascends(ties.last_key_value().map(|(last, _)| last), &alias, &alias)?;
            if tensors.contains_key(&alias) || !tensors.contains_key(&path) {
                return Err(input.inconsistent(format!("`{alias}` is no second name of `{path}`")));
            }
            ties.insert(alias, path);
        }
        let mut files = BTreeMap::new();
        for _ in 0..input.count()? {
            let name = FileName::new(input.text()?)?;
            input.ascends(files.last_key_value().map(|(last, _)| last), &name, &name)?;
            files.insert(name, ObjectId::from_bytes(input.digest()?));
        }
        let layout = ObjectId::from_bytes(input.digest()?);
        input.finish()?;
        Ok(Self { tensors, ties, files, layout })
    }

    /// The name under which a parameter's tensor stands.
    #[must_use]
    pub fn canonical<'a>(&'a self, path: &'a ParamPath) -> &'a ParamPath {
        self.ties.get(path).unwrap_or(path)
    }

    /// A parameter's tensor, by either name when it is tied.
    #[must_use]
    pub fn get(&self, path: &ParamPath) -> Option<TensorId> {
        self.tensors.get(self.canonical(path)).copied()
    }

    /// The digest of all weights, as [`recant_core::Weights::digest`] computes it, from ids alone.
    #[must_use]
    pub fn model_digest(&self) -> ModelDigest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"recant model 1");
        let name = |hasher: &mut blake3::Hasher, path: &ParamPath| {
            hasher.update(&(path.as_str().len() as u64).to_le_bytes());
            hasher.update(path.as_str().as_bytes());
        };
        for (path, id) in &self.tensors {
            name(&mut hasher, path);
            hasher.update(id.as_bytes());
        }
        for (alias, path) in &self.ties {
            name(&mut hasher, alias);
            name(&mut hasher, path);
        }
        ModelDigest::from_bytes(*hasher.finalize().as_bytes())
    }

    pub(crate) fn references(&self) -> Vec<ObjectId> {
        let tensors = self.tensors.values().map(|&id| id.into());
        tensors.chain(self.files.values().copied()).chain([self.layout]).collect()
    }
}
