//! Models of a store's commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use recant_backend::Device;
use recant_checkpoint::Source;
use recant_core::{Blobs, Change, CommitId, Delta, HostTensor, ParamPath, WeightPatch};
use recant_model::{Architecture, Model};
use recant_store::Store;
use recant_store::object::Manifest;

use super::StoreError;
use crate::model_ref::open_source;
use crate::observer::Observer;

/// Which matrices of a model are one, by its configuration.
///
/// # Errors
/// [`StoreError::Source`], [`StoreError::Config`].
pub fn ties(source: &dyn Source) -> Result<Vec<(ParamPath, ParamPath)>, StoreError> {
    let path = source.place().join("config.json");
    let config = source.file("config.json")?.unwrap_or_default();
    let architecture = Architecture::parse(&config).map_err(|source| StoreError::Config { path, source })?;
    let has = |name: &str| ParamPath::new(name).is_ok_and(|name| source.layout().find(&name).is_some());
    Ok(architecture.ties(&has))
}

/// The model at a commit, of which nothing is written anywhere.
pub(super) fn open_at(
    store: &Store,
    id: CommitId,
    device: &Device,
    observer: &dyn Observer,
) -> Result<Model, StoreError> {
    Ok(open_source(Arc::new(store.source(id)?), device, observer)?)
}

/// The model at another commit: the tensors that differ are swapped.
pub(super) fn moved(store: &Store, model: &Model, from: CommitId, to: CommitId) -> Result<Model, StoreError> {
    let (before, after) = (manifest(store, from)?, manifest(store, to)?);
    let mut tensors = BTreeMap::new();
    for (path, &base) in &before.tensors {
        let Some(&id) = after.tensors.get(path).filter(|&&id| id != base) else { continue };
        tensors.insert(path.clone(), store.odb().tensor(id)?);
    }
    swapped(model, &before, tensors)
}

/// The model with these tensors in the place of those of its manifest.
pub(super) fn swapped(
    model: &Model,
    manifest: &Manifest,
    tensors: BTreeMap<ParamPath, HostTensor>,
) -> Result<Model, StoreError> {
    let mut patch = WeightPatch::identity();
    let mut blobs = Blobs::new();
    for (path, tensor) in tensors {
        let Some(base) = manifest.get(&path) else { continue };
        let after = tensor.id();
        blobs.insert(after, tensor);
        let one = WeightPatch::one(path, Change { base, delta: Delta::Swap { after } });
        // Each parameter stands once, so composing only gathers.
        patch = patch.then(&one).unwrap_or(patch);
    }
    Ok(model.apply(&patch, &blobs)?.0)
}

pub(super) fn manifest(store: &Store, id: CommitId) -> Result<Manifest, StoreError> {
    Ok(store.odb().manifest(store.odb().commit(id)?.manifest)?)
}
