//! Checking everything, and mending what can be mended.
//!
//! Every object is read, hashed, decoded strictly, and what it refers to is looked for. Repair never deletes
//! what it does not understand: it sets it aside in `quarantine/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use recant_core::{CommitId, Delta, ObjectId, OperationId};

use crate::object::{Commit, Kind, Operation, references};
use crate::odb::{Odb, ReadError, TMP, WriteError};
use crate::store::{HeadError, Stamp, Store, TransactionError};

const QUARANTINE: &str = "quarantine";

/// Something wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The head cannot be followed.
    #[error("the head is damaged: {source}")]
    Head {
        /// What is wrong.
        source: HeadError,
    },
    /// An object cannot be read or is not what its id says.
    #[error("{source}")]
    Object {
        /// The object.
        id: ObjectId,
        /// What is wrong.
        source: ReadError,
    },
    /// An object refers to one that is not there.
    #[error("{kind} {id} refers to {missing}, which is not in the store", kind = kind.name())]
    Missing {
        /// The object.
        id: ObjectId,
        /// Its kind.
        kind: Kind,
        /// What it refers to.
        missing: ObjectId,
    },
    /// A commit's generation does not follow from its parents'.
    #[error("commit {id} claims generation {claimed}, where {expected} follows from its parents")]
    Generation {
        /// The commit.
        id: CommitId,
        /// What it claims.
        claimed: u64,
        /// What follows.
        expected: u64,
    },
    /// A file that does not belong there.
    #[error("{path} does not belong into a store")]
    Stray {
        /// The file.
        path: PathBuf,
    },
    /// An object that nothing leads to and that is not whole: its writer stopped before it published.
    #[error("object {id} was left incomplete by an interrupted writer: {missing} is not in the store")]
    Incomplete {
        /// The object.
        id: ObjectId,
        /// What it needs.
        missing: ObjectId,
    },
    /// What an interrupted writer left.
    #[error("{path} was left by an interrupted writer")]
    Temporary {
        /// The file.
        path: PathBuf,
    },
}

impl Problem {
    /// Whether the store is whole all the same.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::Temporary { .. } | Self::Incomplete { .. })
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Fsck {
    /// Objects that were read.
    pub objects: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What was mended, in words.
    pub repaired: Vec<String>,
}

impl Fsck {
    /// Whether nothing is wrong but leftovers.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.iter().all(Problem::is_harmless)
    }
}

/// A store cannot be checked or repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FsckError {
    /// A folder cannot be listed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Something cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store cannot be changed.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl Store {
    /// Reads everything and says what is wrong.
    ///
    /// # Errors
    /// [`FsckError`] when the store cannot even be looked at.
    pub fn fsck(&self) -> Result<Fsck, FsckError> {
        let odb = self.odb();
        let mut fsck = Fsck::default();
        let mut present = BTreeSet::new();
        for (path, id) in odb.files()? {
            match id {
                Some(id) => {
                    present.insert(id);
                }
                None => fsck.problems.push(Problem::Stray { path }),
            }
        }
        let tmp = PathBuf::from(TMP);
        let left = odb.disk.list(&tmp).map_err(|source| ReadError::Io { path: tmp.clone(), source })?;
        fsck.problems.extend(left.into_iter().map(|name| Problem::Temporary { path: tmp.join(name) }));
        let mut generations = BTreeMap::new();
        for &id in &present {
            fsck.objects += 1;
            match check(odb, id, &mut generations) {
                Ok((kind, needs)) => {
                    let missing = needs.into_iter().filter(|needed| !present.contains(needed));
                    fsck.problems.extend(missing.map(|missing| Problem::Missing { id, kind, missing }));
                }
                Err(source) => fsck.problems.push(Problem::Object { id, source: odb.explain(source) }),
            }
        }
        for (&id, (claimed, parents)) in &generations {
            let known =
                parents.iter().map(|parent| generations.get(parent).map(|(generation, _)| *generation));
            // A missing parent is a problem of its own.
            let Some(above) = known.collect::<Option<Vec<u64>>>() else { continue };
            let expected = above.into_iter().max().unwrap_or_default() + 1;
            if *claimed != expected {
                fsck.problems.push(Problem::Generation { id, claimed: *claimed, expected });
            }
        }
        match self.operations() {
            Ok(operations) => self.tell_leftovers(&operations, &mut fsck),
            Err(source) => fsck.problems.push(Problem::Head { source }),
        }
        Ok(fsck)
    }

    /// Objects that miss something but that no operation leads to are no loss.
    fn tell_leftovers(&self, operations: &[(OperationId, Operation)], fsck: &mut Fsck) {
        let roots = operations.iter().map(|(id, _)| ObjectId::from(*id));
        // If the reachable part is damaged itself, every problem stays one.
        let Ok(reached) = self.odb().reachable(roots) else { return };
        for problem in &mut fsck.problems {
            let found = match problem {
                Problem::Missing { id, missing, .. } => Some((*id, *missing)),
                Problem::Object { id, source: ReadError::Missing { id: missing } } => Some((*id, *missing)),
                _ => None,
            };
            if let Some((id, missing)) = found.filter(|(id, _)| !reached.contains(id)) {
                *problem = Problem::Incomplete { id, missing };
            }
        }
    }

    /// Checks, and mends what can be mended: sweeps leftovers, sets damaged objects and stray files aside,
    /// computes lost tensors again from what they follow from, and finds the newest operation if the head is
    /// lost. Then checks again; `problems` are those that remain.
    ///
    /// # Errors
    /// [`FsckError`].
    pub fn repair(&self, stamp: &Stamp) -> Result<Fsck, FsckError> {
        let mut repaired = Vec::new();
        {
            let _lock = self.lock()?;
            // What refers to something incomplete is incomplete once that is gone.
            loop {
                let n_repaired = repaired.len();
                for problem in &self.fsck()?.problems {
                    repaired.extend(self.mend(problem)?);
                }
                if repaired.len() == n_repaired {
                    break;
                }
            }
        }
        if self.operations().is_err() {
            repaired.extend(self.find_head()?);
        }
        if self.operations().is_ok() {
            repaired.extend(self.derive_lost(stamp)?);
        }
        let mut after = self.fsck()?;
        after.repaired = repaired;
        Ok(after)
    }

    fn mend(&self, problem: &Problem) -> Result<Option<String>, FsckError> {
        let disk = &*self.odb().disk;
        let io = |path: &Path, source| FsckError::Write(WriteError::Io { path: path.to_owned(), source });
        let aside = |path: &Path| -> Result<Option<String>, FsckError> {
            let dir = Path::new(QUARANTINE);
            disk.make_dir(dir).map_err(|source| io(dir, source))?;
            let name: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let to = dir.join(name.join("-"));
            disk.rename(path, &to).map_err(|source| io(path, source))?;
            Ok(Some(format!("set {} aside as {}", path.display(), to.display())))
        };
        match problem {
            Problem::Temporary { path } => {
                disk.remove(path).map_err(|source| io(path, source))?;
                Ok(Some(format!("removed {}", path.display())))
            }
            Problem::Incomplete { id, .. } => {
                let path = Odb::path(*id);
                if disk.exists(&path).map_err(|source| io(&path, source))? {
                    disk.remove(&path).map_err(|source| io(&path, source))?;
                }
                Ok(Some(format!("removed incomplete object {id}")))
            }
            Problem::Stray { path } => aside(path),
            Problem::Object { id, source } => match source {
                // The object's file is sound, and what it is made from is not there: it may come back.
                ReadError::Link { .. } | ReadError::Io { .. } => Ok(None),
                ReadError::Missing { id: other } if other != id => Ok(None),
                _ => aside(&Odb::path(*id)),
            },
            _ => Ok(None),
        }
    }

    /// Points the head at the newest operation that is whole: the one that no other follows; of several,
    /// the latest.
    fn find_head(&self) -> Result<Option<String>, FsckError> {
        let odb = self.odb();
        let mut operations: BTreeMap<OperationId, Operation> = BTreeMap::new();
        for id in odb.ids()? {
            if odb.kind(id).is_ok_and(|kind| kind == Some(Kind::Operation)) {
                let id = OperationId::from_bytes(*id.as_bytes());
                if let Ok(operation) = odb.operation(id) {
                    operations.insert(id, operation);
                }
            }
        }
        let parents: BTreeSet<OperationId> = operations.values().filter_map(|op| op.parent).collect();
        let tips = operations.iter().filter(|(id, op)| {
            let whole = op.view.commits().all(|commit| odb.commit(commit).is_ok());
            whole && !parents.contains(id)
        });
        let Some((&id, _)) = tips.max_by_key(|(id, op)| (op.time, **id)) else { return Ok(None) };
        let _lock = self.lock()?;
        self.point(id)?;
        Ok(Some(format!("pointed the head at operation {}", id.short())))
    }

    /// Tensors of commits that are gone but follow from their parents and patches.
    fn derive_lost(&self, stamp: &Stamp) -> Result<Vec<String>, FsckError> {
        let odb = self.odb();
        let mut tx = self.begin(stamp)?;
        let mut commits = Vec::new();
        for id in odb.ids()? {
            if odb.kind(id).is_ok_and(|kind| kind == Some(Kind::Commit))
                && let Ok(commit) = odb.commit(CommitId::from_bytes(*id.as_bytes()))
            {
                commits.push(commit);
            }
        }
        commits.sort_by_key(|commit| commit.generation);
        let mut found = Vec::new();
        for commit in commits {
            // What cannot be derived stays a problem, which the second check reports.
            found.extend(derive_one(odb, &mut tx, &commit).unwrap_or_default());
        }
        if !found.is_empty() {
            tx.writer.sync()?;
        }
        Ok(found)
    }
}

fn derive_one(odb: &Odb, tx: &mut crate::Transaction, commit: &Commit) -> Option<Vec<String>> {
    let manifest = odb.manifest(commit.manifest).ok()?;
    let patch_id = commit.patch?;
    let patch = odb.patch(patch_id).ok()?;
    let mut found = Vec::new();
    for (named, change) in patch.changes() {
        let path = manifest.canonical(named);
        let wanted = manifest.get(path)?;
        let Delta::Add(addend) = &change.delta else { continue };
        if odb.contains(wanted).ok()? {
            continue;
        }
        let tensor = addend.added_to(path, &odb.tensor(change.base).ok()?).ok()?;
        if tensor.id() == wanted {
            tx.writer.put_derived(&tensor, change.base, path, &[patch_id]).ok()?;
            found.push(format!("computed tensor {} of `{path}` again", wanted.short()));
        }
    }
    Some(found)
}

type Generations = BTreeMap<CommitId, (u64, Vec<CommitId>)>;

/// An object's kind and what it needs, after its bytes have been hashed and decoded.
fn check(odb: &Odb, id: ObjectId, generations: &mut Generations) -> Result<(Kind, Vec<ObjectId>), ReadError> {
    let needs = odb.needs(id)?;
    let kind = odb.kind(id)?;
    if kind == Some(Kind::Tensor) {
        // Large: hashed in passing, and the head decoded.
        let mut head = FirstBytes(Vec::new());
        let copied = odb.copy(id, &mut head)?;
        copied.map_err(|source| ReadError::Io { path: Odb::path(id), source })?;
        crate::object::TensorHead::decode(&head.0).map_err(|source| ReadError::Decode { id, source })?;
        return Ok((Kind::Tensor, needs));
    }
    let payload = odb.load(id)?;
    let (kind, _) = references(&payload).map_err(|source| ReadError::Decode { id, source })?;
    if kind == Kind::Commit {
        let commit = Commit::decode(&payload).map_err(|source| ReadError::Decode { id, source })?;
        generations.insert(CommitId::from_bytes(*id.as_bytes()), (commit.generation, commit.parents));
    }
    Ok((kind, needs))
}

/// Keeps the first bytes: enough for a tensor's head.
struct FirstBytes(Vec<u8>);

impl std::io::Write for FirstBytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = 256usize.saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
