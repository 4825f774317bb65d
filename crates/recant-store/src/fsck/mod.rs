//! Checking everything, and mending what can be mended.
//!
//! Every object is read, hashed, decoded strictly, and what it refers to is looked for and has to be of the
//! right kind. Repair never deletes
//! what it does not understand: it sets it aside in `quarantine/`.

mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use recant_core::{CommitId, Delta, ManifestId, ObjectId, OperationId};

use self::check::Check;
use crate::damage::Damage;
use crate::name::{Name, NameError};
use crate::object::{Apart, Commit, Kind, Operation, View};
use crate::odb::bundle::BUNDLES;
use crate::odb::{Odb, ReadError, WriteError, Writer};
use crate::store::{HeadError, Stamp, Store, TransactionError};
use crate::verbs::PublicKey;

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
    /// An object refers to one of another kind than belongs there.
    #[error("{kind} {id} refers to {other} as a {expected}, and that is a {found}", kind = kind.name(), expected = expected.name(), found = found.name())]
    Kind {
        /// The object.
        id: ObjectId,
        /// Its kind.
        kind: Kind,
        /// What it refers to.
        other: ObjectId,
        /// The other's kind.
        found: Kind,
        /// The kind that belongs there.
        expected: Kind,
    },
    /// A commit's generation does not follow from its parents'.
    #[error("commit {id} claims generation {claimed}, where {} follows from its parents", match expected {
        Some(expected) => expected.to_string(),
        None => "none".to_owned(),
    })]
    Generation {
        /// The commit.
        id: CommitId,
        /// What it claims.
        claimed: u64,
        /// What follows; `None` when that is more than can be counted.
        expected: Option<u64>,
    },
    /// A commit has another part than its parent, which no edit changes.
    #[error("commit {id}: {apart} against its parent, which no edit does")]
    Part {
        /// The commit.
        id: CommitId,
        /// The part, and how it differs.
        apart: Apart,
    },
    /// The layout of the weights' file is none, or not one of the manifest's tensors.
    #[error("manifest {id}: the layout of its weights' file is not theirs: {reason}")]
    Layout {
        /// The manifest.
        id: ManifestId,
        /// What is wrong.
        reason: String,
    },
    /// A signature does not belong to its commit.
    #[error("the signature of commit {id} by key {key} is not one of this commit: it was tampered with")]
    Signature {
        /// The commit.
        id: CommitId,
        /// The key.
        key: PublicKey,
    },
    /// A derived object claims other steps than there are.
    #[error("object {id} claims to follow in {claimed} steps, and follows in {counted}")]
    Steps {
        /// The object.
        id: ObjectId,
        /// What it claims.
        claimed: u32,
        /// What there are.
        counted: u32,
    },
    /// A branch or a tag has a name that reads as something else.
    #[error("{kind} {source}; {kind}/{name} reaches it all the same; make another for its commit and delete it", name = source.name)]
    Name {
        /// Branch or tag.
        kind: &'static str,
        /// The name, and what it could be taken for.
        source: NameError,
    },
    /// A bundle of objects is not what its name says.
    #[error("bundle {name} is damaged: {reason}")]
    Bundle {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The file that says how much is live does not say what is.
    #[error("{path} of the store is wrong: {reason}", path = crate::live::FILE)]
    Live {
        /// What is wrong.
        reason: String,
    },
    /// The file with the names of remotes cannot be used.
    #[error("{path} of the store is wrong: {reason}", path = crate::remotes::FILE)]
    Remotes {
        /// What is wrong.
        reason: String,
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
    /// An object that nothing leads to and that claims other steps than there are: a crash brought it back after it
    /// had been collected. It is written anew when it is needed again.
    #[error(
        "object {id}, which nothing leads to, claims to follow in {claimed} steps, and follows in {counted}"
    )]
    Forgotten {
        /// The object.
        id: ObjectId,
        /// What it claims.
        claimed: u32,
        /// What there are.
        counted: u32,
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
        matches!(self, Self::Temporary { .. } | Self::Incomplete { .. } | Self::Forgotten { .. })
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
        let odb = self.odb().remembering();
        let mut check = Check::new(&odb);
        check.run()?;
        let mut fsck = check.fsck;
        fsck.problems.extend(self.wrong_snapshot().map(|reason| Problem::Live { reason }));
        fsck.problems.extend(self.wrong_remotes().map(|reason| Problem::Remotes { reason }));
        match self.operations() {
            Ok(operations) => {
                self.tell_leftovers(&operations, &mut fsck);
                let view = operations.first().map(|(_, operation)| &operation.view);
                fsck.problems.extend(view.into_iter().flat_map(unfit_names));
            }
            Err(source) => fsck.problems.push(Problem::Head { source }),
        }
        Ok(fsck)
    }

    /// Objects that miss something, or that were made from something else, but that no operation leads to are no
    /// loss.
    fn tell_leftovers(&self, operations: &[(OperationId, Operation)], fsck: &mut Fsck) {
        let lacks = |problem: &Problem| {
            let lost =
                |source: &ReadError| matches!(source, ReadError::Object { source: Damage::Missing, .. });
            matches!(problem, Problem::Missing { .. } | Problem::Steps { .. })
                || matches!(problem, Problem::Object { source, .. } if lost(source))
        };
        if !fsck.problems.iter().any(lacks) {
            return;
        }
        let roots = operations.iter().map(|(id, _)| ObjectId::from(*id));
        // If the reachable part is damaged itself, every problem stays one.
        let Ok(reached) = self.odb().reachable(roots) else { return };
        for problem in &mut fsck.problems {
            if let &mut Problem::Steps { id, claimed, counted } = problem
                && !reached.contains(&id)
            {
                *problem = Problem::Forgotten { id, claimed, counted };
            }
            let found = match problem {
                Problem::Missing { id, missing, .. } => Some((*id, *missing)),
                Problem::Object {
                    id,
                    source: ReadError::Object { id: missing, source: Damage::Missing },
                } => Some((*id, *missing)),
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
            Problem::Bundle { name, .. } => self.take_apart(name).map(Some),
            Problem::Incomplete { id, .. } => {
                self.take_apart_around(*id)?;
                let path = Odb::path(*id);
                if disk.exists(&path).map_err(|source| io(&path, source))? {
                    disk.remove(&path).map_err(|source| io(&path, source))?;
                }
                Ok(Some(format!("removed incomplete object {id}")))
            }
            Problem::Stray { path } => aside(path),
            // It is counted anew when it is written next.
            Problem::Live { .. } => aside(Path::new(crate::live::FILE)),
            // What it said is still to be seen there.
            Problem::Remotes { .. } => aside(Path::new(crate::remotes::FILE)),
            Problem::Steps { id, counted, .. } | Problem::Forgotten { id, counted, .. } => {
                let mut writer = Writer::new(self.odb().clone());
                let mended = writer.restep(*id, *counted)?;
                writer.sync()?;
                Ok(mended.then(|| format!("counted the steps of object {id}: {counted}")))
            }
            Problem::Object { id, source } => match source {
                // The object's file is sound, and what it is made from is not there: it may come back.
                ReadError::Link { .. } | ReadError::Io { .. } => Ok(None),
                ReadError::Object { id: other, source: Damage::Missing } if other != id => Ok(None),
                // Told as a problem of the bundle.
                ReadError::Bundle { .. } => Ok(None),
                _ => {
                    self.take_apart_around(*id)?;
                    aside(&Odb::path(*id))
                }
            },
            _ => Ok(None),
        }
    }

    /// Takes the bundles apart that hold an object, so that its file stands alone.
    fn take_apart_around(&self, id: ObjectId) -> Result<(), FsckError> {
        for bundle in self.odb().bundles()?.iter().filter(|bundle| bundle.find(id).is_some()) {
            self.take_apart(&bundle.name)?;
        }
        Ok(())
    }

    fn take_apart(&self, name: &str) -> Result<String, FsckError> {
        let disk = &*self.odb().disk;
        let dir = Path::new(QUARANTINE);
        let failed = |source| WriteError::Io { path: dir.to_owned(), source };
        disk.make_dir(dir).map_err(failed)?;
        let to = dir.join(format!("{BUNDLES}-{name}"));
        let count = self.unbundle(name, &to)?;
        Ok(format!("took {count} objects out of bundle {name}, which is set aside as {}", to.display()))
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

/// Names of earlier versions, which took any.
fn unfit_names(view: &View) -> Vec<Problem> {
    let unfit = |(kind, name): (&'static str, &Name)| {
        name.check_ref().err().map(|source| Problem::Name { kind, source })
    };
    let branches = view.branches.keys().map(|name| ("branch", name));
    branches.chain(view.tags.keys().map(|name| ("tag", name))).filter_map(unfit).collect()
}
