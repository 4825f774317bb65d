//! Objects that follow from others: a tensor from a base and patches, a manifest from another one.

use std::collections::BTreeMap;

use recant_core::{Addend, Delta, HostTensor, ManifestId, ObjectId, ParamPath, PatchId, TensorId};

use super::frame::Frame;
use super::{Odb, ReadError};
use crate::object::Manifest;

/// Patches that are in memory together.
pub(crate) const AT_ONCE: usize = 16;

impl Odb {
    /// The sum of a base and the patches' additions to `path`, in order, rounded after each as they were when
    /// they were committed one after the other.
    pub(super) fn derive_tensor(
        &self,
        id: ObjectId,
        steps: u32,
        base: TensorId,
        path: &ParamPath,
        patches: &[PatchId],
    ) -> Result<HostTensor, ReadError> {
        // Down to what is stored as bytes, collecting what to add on the way up. Bases on the way are not
        // hashed: the digest of the result decides.
        let mut layers: Vec<(ParamPath, Vec<PatchId>)> = vec![(path.clone(), patches.to_vec())];
        let (mut base, mut steps) = (base, steps);
        let mut tensor = loop {
            let source = self.source(base)?;
            let Frame::Tensor { steps: below, base: next, path, patches } = source.frame else {
                break self.tensor(base)?;
            };
            if below >= steps {
                let reason = "it claims as many steps as what builds on it".to_owned();
                return Err(ReadError::Frame { id: base.into(), reason });
            }
            // A line of edits of one matrix is one layer, so that it is added in few passes.
            match layers.last_mut() {
                Some((above, later)) if *above == path => later.splice(..0, patches).for_each(drop),
                _ => layers.push((path, patches)),
            }
            (base, steps) = (next, below);
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
        let loaded = patches.iter().map(|&patch| self.patch(patch)).collect::<Result<Vec<_>, _>>()?;
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

    pub(super) fn derive_manifest(
        &self,
        id: ObjectId,
        steps: u32,
        base: ManifestId,
        changed: &BTreeMap<ParamPath, TensorId>,
    ) -> Result<Manifest, ReadError> {
        let mut changes = changed.clone();
        let (mut base, mut steps) = (base, steps);
        let mut manifest = loop {
            let source = self.source(base)?;
            let Frame::Manifest { steps: below, base: next, changed } = source.frame else {
                break self.manifest(base)?;
            };
            if below >= steps {
                let reason = "it claims as many steps as what builds on it".to_owned();
                return Err(ReadError::Frame { id: base.into(), reason });
            }
            for (path, tensor) in changed {
                changes.entry(path).or_insert(tensor);
            }
            (base, steps) = (next, below);
        };
        for (path, tensor) in changes {
            match manifest.tensors.get_mut(&path) {
                Some(place) => *place = tensor,
                None => {
                    let reason = format!("it changes `{path}`, which its base does not have");
                    return Err(ReadError::Frame { id, reason });
                }
            }
        }
        Ok(manifest)
    }

    /// Steps from what is stored as bytes.
    pub(crate) fn steps(&self, id: impl Into<ObjectId>) -> Result<u32, ReadError> {
        Ok(match self.source(id)?.frame {
            Frame::Tensor { steps, .. } | Frame::Manifest { steps, .. } => steps,
            _ => 0,
        })
    }
}
