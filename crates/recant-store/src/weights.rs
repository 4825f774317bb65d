//! From a set of live edits to a manifest: the fold that [`history`](crate::history) describes.

use std::collections::{BTreeMap, BTreeSet};

use recant_core::{Addend, ApplyError, Delta, HostTensor, ParamPath, PatchId, TensorId, WeightPatch};

use crate::history::Live;
use crate::object::{Manifest, TensorHead};
use crate::odb::{AT_ONCE, Odb, ReadError, WriteError, Writer};

/// Weights do not follow from a set of edits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// An object cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An object cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// An edit does not fit the base.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// What one edit does to one parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Add(PatchId),
    Put(TensorId),
}

/// Where a parameter's acts begin, and the additions from there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    start: TensorId,
    adds: Vec<PatchId>,
}

/// The lines of all parameters that the live edits touch.
fn lines(odb: &Odb, base: &Manifest, live: &Live) -> Result<BTreeMap<ParamPath, Line>, FoldError> {
    let mut lines: BTreeMap<ParamPath, Line> = BTreeMap::new();
    for &patch_id in live.edits.values() {
        let patch = odb.shared_patch(patch_id)?;
        for (named, change) in patch.changes() {
            let act = match change.delta {
                Delta::Add(_) => Act::Add(patch_id),
                Delta::Swap { after } => Act::Put(after),
            };
            let path = base.canonical(named).clone();
            let Some(&start) = base.tensors.get(&path) else {
                return Err(ApplyError::Unknown { path: named.clone() }.into());
            };
            if let Act::Put(after) = act {
                alike(&path, &odb.tensor_head(start)?, &odb.tensor_head(after)?)?;
            }
            let line = lines.entry(path).or_insert(Line { start, adds: Vec::new() });
            match act {
                Act::Add(patch) => line.adds.push(patch),
                Act::Put(tensor) => *line = Line { start: tensor, adds: Vec::new() },
            }
        }
    }
    Ok(lines)
}

/// `start` with the additions of `adds` to `path`, one after the other.
fn sum(
    odb: &Odb,
    base: &Manifest,
    path: &ParamPath,
    start: HostTensor,
    adds: &[PatchId],
) -> Result<HostTensor, FoldError> {
    let mut tensor = start;
    for together in adds.chunks(AT_ONCE) {
        let loaded = together.iter().map(|&patch| odb.shared_patch(patch)).collect::<Result<Vec<_>, _>>()?;
        let changes = loaded.iter().flat_map(|patch| patch.changes());
        let here = changes.filter(|(named, _)| base.canonical(named) == path);
        let addends: Vec<&Addend> = here
            .filter_map(|(_, change)| match &change.delta {
                Delta::Add(addend) => Some(addend),
                Delta::Swap { .. } => None,
            })
            .collect();
        tensor = Addend::all_added_to(&addends, path, &tensor)?;
    }
    Ok(tensor)
}

/// A state whose weights are known, to start from.
pub(crate) struct Known<'a> {
    pub(crate) live: &'a Live,
    pub(crate) manifest: &'a Manifest,
}

/// What a fold gave.
pub(crate) struct Folded {
    pub(crate) manifest: Manifest,
    /// Parameters whose matrix had to be summed anew, with the number of additions.
    pub(crate) replayed: BTreeMap<ParamPath, usize>,
}

/// The weights of a set of live edits, stored. A matrix whose line equals that of a known state is taken from
/// there; a line that continues a known one is continued; the rest is summed from the base.
pub(crate) fn fold(writer: &mut Writer, live: &Live, known: &[Known<'_>]) -> Result<Folded, FoldError> {
    // The same patches are looked at for each known state, and added after that.
    let odb = writer.odb().remembering();
    let base = odb.manifest(live.base)?;
    let wanted = lines(&odb, &base, live)?;
    let known: Vec<(BTreeMap<ParamPath, Line>, &Manifest)> = known
        .iter()
        .filter(|known| known.live.base == live.base)
        .map(|known| Ok((lines(&odb, &base, known.live)?, known.manifest)))
        .collect::<Result<_, FoldError>>()?;
    let mut manifest = base.clone();
    let mut replayed = BTreeMap::new();
    for (path, line) in &wanted {
        // The known state that leaves the fewest additions to do.
        let mut start = (line.start, 0);
        for (lines, at) in &known {
            let Some(id) = at.tensors.get(path) else { continue };
            let done = match lines.get(path) {
                Some(known) if known.start == line.start && line.adds.starts_with(&known.adds) => {
                    known.adds.len()
                }
                _ => continue,
            };
            if done > start.1 {
                start = (*id, done);
            }
        }
        let (from, rest) = (start.0, &line.adds[start.1..]);
        let id = if rest.is_empty() {
            from
        } else {
            let tensor = sum(&odb, &base, path, odb.tensor(from)?, rest)?;
            replayed.insert(path.clone(), rest.len());
            store_sum(writer, &odb, &base, path, &tensor, from, rest)?
        };
        manifest.tensors.insert(path.clone(), id);
    }
    Ok(Folded { manifest, replayed })
}

/// Stores a sum as what it follows from. A patch that names the parameter by its second name cannot be
/// named by path, so the bytes are stored then.
fn store_sum(
    writer: &mut Writer,
    odb: &Odb,
    base: &Manifest,
    path: &ParamPath,
    tensor: &HostTensor,
    from: TensorId,
    adds: &[PatchId],
) -> Result<TensorId, FoldError> {
    for &patch in adds {
        let loaded = odb.shared_patch(patch)?;
        let by_name = loaded.changes().keys().filter(|named| base.canonical(named) == path);
        if !by_name.eq([path]) {
            return Ok(writer.put_tensor(tensor)?);
        }
    }
    Ok(writer.put_derived(tensor, from, path, adds)?)
}

/// The weights of a set of live edits, computed from the base alone and stored nowhere: the tensor ids of
/// the parameters that the edits touch.
pub(crate) fn rederive(odb: &Odb, live: &Live) -> Result<BTreeMap<ParamPath, TensorId>, FoldError> {
    let odb = &odb.remembering();
    let base = odb.manifest(live.base)?;
    let mut ids = BTreeMap::new();
    for (path, line) in lines(odb, &base, live)? {
        let tensor = sum(odb, &base, &path, odb.tensor(line.start)?, &line.adds)?;
        ids.insert(path, tensor.id());
    }
    Ok(ids)
}

/// The parameters that differ from the base's when a patch of the base comes behind all live edits; stored
/// nowhere.
pub(crate) fn behind(
    odb: &Odb,
    live: &Live,
    last: &WeightPatch,
) -> Result<BTreeMap<ParamPath, HostTensor>, FoldError> {
    let base = odb.manifest(live.base)?;
    let mut tensors = BTreeMap::new();
    for (path, line) in lines(odb, &base, live)? {
        let tensor = sum(odb, &base, &path, odb.tensor(line.start)?, &line.adds)?;
        tensors.insert(path, tensor);
    }
    for (named, change) in last.changes() {
        let path = base.canonical(named).clone();
        let start = match (tensors.remove(&path), base.tensors.get(&path)) {
            (Some(tensor), _) => tensor,
            (None, Some(&id)) => odb.tensor(id)?,
            (None, None) => return Err(ApplyError::Unknown { path: named.clone() }.into()),
        };
        let tensor = match &change.delta {
            Delta::Add(addend) => addend.added_to(&path, &start)?,
            Delta::Swap { after } => odb.tensor(*after)?,
        };
        tensors.insert(path, tensor);
    }
    Ok(tensors)
}

/// Checks that a patch was made for these weights and each of its swaps has its tensor.
pub(crate) fn fits(odb: &Odb, manifest: &Manifest, patch: &WeightPatch) -> Result<(), FoldError> {
    let mut seen = BTreeSet::new();
    for (named, change) in patch.changes() {
        let path = manifest.canonical(named);
        let Some(found) = manifest.get(path) else {
            return Err(ApplyError::Unknown { path: named.clone() }.into());
        };
        if change.base != found {
            return Err(ApplyError::Base { path: path.clone(), expected: change.base, found }.into());
        }
        if !seen.insert(path.clone()) {
            return Err(ApplyError::TiedTwice { path: path.clone() }.into());
        }
        if let Delta::Swap { after } = change.delta {
            // Read to its end, so that what is swapped in is known to be whole.
            let after = odb.tensor(after)?;
            let after = TensorHead { dtype: after.dtype(), shape: after.shape().to_vec() };
            alike(path, &odb.tensor_head(found)?, &after)?;
        }
    }
    Ok(())
}

/// Checks that a tensor has the type and the sides of the one in whose place it is put.
fn alike(path: &ParamPath, before: &TensorHead, after: &TensorHead) -> Result<(), ApplyError> {
    if before == after {
        return Ok(());
    }
    let (before, after) = (before.to_string(), after.to_string());
    Err(ApplyError::Unlike { path: path.clone(), before, after })
}
