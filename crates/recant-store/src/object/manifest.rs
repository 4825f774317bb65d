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
use std::fmt;

use recant_checkpoint::Layout;
use recant_core::{ManifestId, ModelDigest, ObjectId, ParamPath, TensorId};

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::name::FileName;
use crate::object::{Kind, Reference, TensorHead};

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
    /// How the tensors lie in their files: the header of the one file, or of each shard with the list of them.
    pub layout: ObjectId,
}

/// A part of a model beside the numbers of its tensors.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// A tensor's name.
    Tensor(ParamPath),
    /// A second name of a tensor.
    Tie(ParamPath),
    /// A carried file.
    File(FileName),
    /// Way the tensors lie in their file.
    Layout,
}

/// Way a part is not as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// It came.
    Added,
    /// It went.
    Removed,
    /// It is another one.
    Changed,
}

/// A part in which one model is not as another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Apart {
    /// The part.
    pub part: Part,
    /// Way it differs.
    pub how: Way,
}

impl Way {
    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(path) => write!(f, "tensor `{path}`"),
            Self::Tie(alias) => write!(f, "tie of `{alias}`"),
            Self::File(name) => write!(f, "file `{name}`"),
            Self::Layout => f.write_str("layout of the weights' file"),
        }
    }
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.part, self.how.name())
    }
}

fn compare<K: Ord + Clone, V: PartialEq>(
    one: &BTreeMap<K, V>,
    other: &BTreeMap<K, V>,
    part: impl Fn(K) -> Part,
    apart: &mut Vec<Apart>,
) {
    for key in one.keys().chain(other.keys().filter(|key| !one.contains_key(key))) {
        let how = match (one.get(key), other.get(key)) {
            (None, _) => Way::Added,
            (_, None) => Way::Removed,
            (one, other) if one == other => continue,
            _ => Way::Changed,
        };
        apart.push(Apart { part: part(key.clone()), how });
    }
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
        model_digest(&self.tensors, &self.ties)
    }

    /// The parts in which `other` is not as this one, beside the numbers of tensors that both have.
    #[must_use]
    pub fn parts_apart(&self, other: &Self) -> Vec<Apart> {
        let mut apart = Vec::new();
        let names = |manifest: &Self| -> BTreeMap<ParamPath, ()> {
            manifest.tensors.keys().map(|path| (path.clone(), ())).collect()
        };
        compare(&names(self), &names(other), Part::Tensor, &mut apart);
        compare(&self.ties, &other.ties, Part::Tie, &mut apart);
        compare(&self.files, &other.files, Part::File, &mut apart);
        if self.layout != other.layout {
            apart.push(Apart { part: Part::Layout, how: Way::Changed });
        }
        apart
    }

    /// A digest of everything but the tensors' ids.
    pub(crate) fn shape(&self) -> ObjectId {
        let none = TensorId::from_bytes([0; 32]);
        let tensors = self.tensors.keys().map(|path| (path.clone(), none)).collect();
        super::object_id(&Self { tensors, ..self.clone() }.encode())
    }

    /// Why a file with this layout would not hold this manifest's tensors, each once, or hold others; `head`
    /// says type and sides of a tensor where they are known.
    pub(crate) fn misfit(
        &self,
        layout: &Layout,
        mut head: impl FnMut(TensorId) -> Option<TensorHead>,
    ) -> Option<String> {
        if let Some(path) = self.tensors.keys().find(|path| layout.find(path).is_none()) {
            return Some(format!("it has no place for tensor `{path}`"));
        }
        for path in layout.names() {
            let Some((_, place)) = layout.find(path) else { continue };
            let Some(id) = self.get(path) else {
                return Some(format!("it names tensor `{path}`, which the manifest does not have"));
            };
            let wanted = TensorHead { dtype: place.dtype, shape: place.shape.clone() };
            if let Some(found) = head(id).filter(|found| *found != wanted) {
                return Some(format!("tensor `{path}` is {wanted} in it, and {found} in the manifest"));
            }
        }
        None
    }

    pub(crate) fn references(&self) -> Vec<Reference> {
        let tensors = self.tensors.values().map(|&id| Kind::Tensor.at(id));
        let blobs = self.files.values().copied().chain([self.layout]).map(|id| Kind::Blob.at(id));
        tensors.chain(blobs).collect()
    }
}

/// The digest of a model that consists of these tensors, each under its first name, and these second names.
pub(crate) fn model_digest(
    tensors: &BTreeMap<ParamPath, TensorId>,
    ties: &BTreeMap<ParamPath, ParamPath>,
) -> ModelDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"recant model 1");
    let name = |hasher: &mut blake3::Hasher, path: &ParamPath| {
        hasher.update(&(path.as_str().len() as u64).to_le_bytes());
        hasher.update(path.as_str().as_bytes());
    };
    for (path, id) in tensors {
        name(&mut hasher, path);
        hasher.update(id.as_bytes());
    }
    for (alias, path) in ties {
        name(&mut hasher, alias);
        name(&mut hasher, path);
    }
    ModelDigest::from_bytes(*hasher.finalize().as_bytes())
}
