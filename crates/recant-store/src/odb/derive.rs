//! Objects that follow from others: a tensor from a base and patches, a manifest from another one.

use std::collections::BTreeMap;

use recant_core::{Addend, Delta, HostTensor, ObjectId, ParamPath, PatchId, TensorId};

use super::frame::Frame;
use super::{Odb, ReadError};
use crate::object::Manifest;

/// Patches that are in memory together.
pub(crate) const AT_ONCE: usize = 16;

/// Most steps that are done to read an object. Nothing is written beyond [`Frame::TENSOR_STEPS`] and
/// [`Frame::MANIFEST_STEPS`]; what comes from another store may build on an object that is stored otherwise here.
const MAX_STEPS: u32 = 1024;

/// How an object follows from one that is stored as bytes.
pub(super) struct Chain {
    /// The heads of the files from the object down; all of one kind.
    pub(super) frames: Vec<Frame>,
    /// What they build on.
    pub(super) bottom: ObjectId,
    /// Additions, or replaced manifests.
    pub(super) steps: u32,
}

impl Odb {
    /// What an object is made from, down to one that is stored as bytes or that `known` knows. Only heads of
    /// files are read, and not more than [`MAX_STEPS`] of them, so a circle ends and nothing is computed
    /// before all of its cost is known.
    pub(super) fn chain(
        &self,
        id: ObjectId,
        frame: Frame,
        known: &dyn Fn(ObjectId) -> bool,
    ) -> Result<Chain, ReadError> {
        let damaged = |reason: String| ReadError::frame(id, reason);
        let mut chain = Chain { frames: Vec::new(), bottom: id, steps: 0 };
        let mut frame = frame;
        while let Some((base, steps)) = frame.base() {
            chain.steps = chain.steps.saturating_add(steps);
            if chain.steps > MAX_STEPS {
                return Err(damaged(format!("it takes more than {MAX_STEPS} steps to make")));
            }
            chain.frames.push(frame);
            chain.bottom = base;
            if known(base) {
                break;
            }
            frame = self.source(base)?.frame;
            let alike = |above: &Frame| std::mem::discriminant(above) == std::mem::discriminant(&frame);
            if frame.base().is_some() && !chain.frames.last().is_some_and(alike) {
                return Err(damaged("it is made from an object of another kind".to_owned()));
            }
        }
        Ok(chain)
    }

    /// Steps from what is stored as bytes, counted and not believed.
    pub(crate) fn steps(&self, id: impl Into<ObjectId>) -> Result<u32, ReadError> {
        let id = id.into();
        Ok(self.chain(id, self.source(id)?.frame, &|_| false)?.steps)
    }

    /// The sum of a base and the patches' additions, in order, rounded after each as they were when they were
    /// committed one after the other.
    pub(super) fn derive_tensor(&self, id: ObjectId, frame: Frame) -> Result<HostTensor, ReadError> {
        let chain = self.chain(id, frame, &|base| self.recall_tensor(base).is_some())?;
        // Bases on the way are not hashed: the digest of the result decides. A line of edits of one matrix is
        // one layer, so that it is added in few passes.
        let mut layers: Vec<(ParamPath, Vec<PatchId>)> = Vec::new();
        for frame in chain.frames {
            let Frame::Tensor { path, patches, .. } = frame else { continue };
            match layers.last_mut() {
                Some((above, later)) if *above == path => later.splice(..0, patches).for_each(drop),
                _ => layers.push((path, patches)),
            }
        }
        let mut tensor = match self.recall_tensor(chain.bottom) {
            Some(tensor) => tensor,
            None => self.tensor(TensorId::from_bytes(*chain.bottom.as_bytes()))?,
        };
        for (path, patches) in layers.iter().rev() {
            for together in patches.chunks(AT_ONCE) {
                tensor = self.add(id, tensor, path, together)?;
            }
        }
        Ok(tensor)
    }

    fn add(
        &self,
        id: ObjectId,
        tensor: HostTensor,
        path: &ParamPath,
        patches: &[PatchId],
    ) -> Result<HostTensor, ReadError> {
        let loaded = patches.iter().map(|&patch| self.shared_patch(patch)).collect::<Result<Vec<_>, _>>()?;
        let refuse = |patch: PatchId, reason: String| {
            let path = path.clone();
            ReadError::Derive { id, patch, path, reason }
        };
        let mut addends = Vec::with_capacity(loaded.len());
        for (patch, &named) in loaded.iter().zip(patches) {
            match patch.changes().get(path).map(|change| &change.delta) {
                Some(Delta::Add(addend)) => addends.push(addend),
                _ => return Err(refuse(named, "the patch adds nothing there".to_owned())),
            }
        }
        let last = patches.last().copied().unwrap_or(PatchId::from_bytes([0; 32]));
        Addend::all_added_to(&addends, path, &tensor).map_err(|error| refuse(last, error.to_string()))
    }

    pub(super) fn derive_manifest(&self, id: ObjectId, frame: Frame) -> Result<Manifest, ReadError> {
        let chain = self.chain(id, frame, &|base| self.recall_manifest(base).is_some())?;
        let mut changes: BTreeMap<ParamPath, TensorId> = BTreeMap::new();
        for frame in chain.frames {
            let Frame::Manifest { changed, .. } = frame else { continue };
            for (path, tensor) in changed {
                changes.entry(path).or_insert(tensor);
            }
        }
        let mut manifest = match self.recall_manifest(chain.bottom) {
            Some(manifest) => (*manifest).clone(),
            None => self.manifest(recant_core::ManifestId::from_bytes(*chain.bottom.as_bytes()))?,
        };
        for (path, tensor) in changes {
            match manifest.tensors.get_mut(&path) {
                Some(place) => *place = tensor,
                None => {
                    let reason = format!("it changes `{path}`, which its base does not have");
                    return Err(ReadError::frame(id, reason));
                }
            }
        }
        Ok(manifest)
    }
}
