//! Committing an edit.

use std::collections::{BTreeMap, BTreeSet};

use recant_core::{
    ApplyError, CommitId, Delta, HostTensor, ManifestId, ModelDigest, ObjectId, ParamPath, WeightPatch,
};

use super::sign::SecretKey;
use crate::history::{History, HistoryError, Live, expected_generation};
use crate::name::Name;
use crate::object::{Commit, Deed, FactSet, Ledger, Manifest, Record};
use crate::odb::{ReadError, WriteError};
use crate::store::{HeadError, Store, Transaction, TransactionError};
use crate::weights::{self, FoldError, Known};

/// Weights as a function of a base and a set of facts: what a ledger editor supplies.
pub trait Rebuild {
    /// The patch that writes `set` onto `base`. The same set must give the same patch, whatever happened
    /// before.
    ///
    /// # Errors
    /// Whatever stands in the way.
    fn rebuild(&self, base: &Manifest, set: &FactSet) -> Rebuilt;
}

/// A ledger that shall be live: its patch is a function of the base and the set, whose payloads say what they were
/// made with.
pub(super) struct WantedLedger<'a> {
    pub(super) set: &'a FactSet,
    pub(super) base: ManifestId,
}

impl WantedLedger<'_> {
    /// The patch that writes the set onto the base: that of the newest commit behind `tips` that has the same, or one
    /// made anew. Another machine may make other last bits of the same numbers, so only what is stored goes back to
    /// the byte everywhere.
    pub(super) fn patch(
        &self,
        history: &mut History<'_>,
        tips: &[CommitId],
        rebuild: Option<&dyn Rebuild>,
        needed_by: CommitId,
    ) -> Result<WeightPatch, CommitError> {
        let ledger = Ledger { set: self.set.id(), base: self.base };
        let mut found = None;
        for step in history.walk(tips)? {
            let (_, commit) = step?;
            if let Some(patch) = commit.patch.filter(|_| commit.ledger == Some(ledger)) {
                found = Some(patch);
                break;
            }
        }
        let odb = history.odb();
        match found {
            Some(patch) => Ok(odb.patch(patch)?),
            None => {
                let rebuild = rebuild.ok_or(CommitError::NeedsRebuild { id: needed_by })?;
                let base = odb.manifest(self.base)?;
                rebuild.rebuild(&base, self.set).map_err(|source| CommitError::Rebuild { source })
            }
        }
    }
}

/// What [`Rebuild::rebuild`] gives.
pub type Rebuilt = Result<WeightPatch, Box<dyn std::error::Error + Send + Sync>>;

/// What an edit commits.
#[derive(Debug, Clone, PartialEq)]
pub enum EditKind {
    /// A patch made for the weights of the head.
    Patch(WeightPatch),
    /// All facts of a ledger, and the patch that writes them onto the *base*.
    Ledger {
        /// The facts.
        set: FactSet,
        /// Their patch, made for the base.
        patch: WeightPatch,
    },
    /// No change of weights: states alone, such as an adapter.
    States,
}

/// A commit before it is one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Draft {
    /// What for.
    pub message: String,
    /// How it was made.
    pub record: Record,
    /// States that this commit sets; an empty vector of bytes removes one. Others go on from the parent.
    pub states: BTreeMap<Name, (Name, Vec<u8>)>,
    /// Tensors that the patch swaps in.
    pub tensors: Vec<HostTensor>,
    /// The commit that the edit was planned on; refused if the head has moved since.
    pub planned_on: Option<CommitId>,
}

/// A commit cannot be made. The store is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// There is nothing to edit.
    #[error("the store holds no model yet")]
    Empty,
    /// Somebody else committed in between.
    #[error("the head moved from {planned} to {now} while the edit was planned; plan it again")]
    Moved {
        /// Where it was planned.
        planned: CommitId,
        /// Where the head is.
        now: CommitId,
    },
    /// A score is NaN or infinite.
    #[error("score {key} is {value}")]
    Score {
        /// Its name.
        key: String,
        /// Its value.
        value: f64,
    },
    /// The commit cannot be taken back or picked.
    #[error("commit {id} is {what}; it changes no weights that could be {verb}")]
    NoChange {
        /// The commit.
        id: CommitId,
        /// What it is.
        what: &'static str,
        /// What was asked for.
        verb: &'static str,
    },
    /// What should be taken back is not there.
    #[error(
        "nothing of commit {id} is left in the weights of the head: it was taken back or replaced before"
    )]
    NotLive {
        /// The commit.
        id: CommitId,
    },
    /// The commit is no part of this history.
    #[error("commit {id} is not in the history of the head")]
    Elsewhere {
        /// The commit.
        id: CommitId,
    },
    /// The edit is there already.
    #[error("the edit of commit {id} is in the weights of the head already")]
    AlreadyLive {
        /// The commit.
        id: CommitId,
    },
    /// The histories have nothing in common.
    #[error("{ours} and {theirs} build on different bases, so their edits do not fit together")]
    Unrelated {
        /// One.
        ours: CommitId,
        /// The other.
        theirs: CommitId,
    },
    /// There is nothing to merge.
    #[error("{theirs} is in the history of the head already")]
    UpToDate {
        /// The other.
        theirs: CommitId,
    },
    /// Both sides say different things about the same.
    #[error(
        "{count} facts are written differently on both sides, the first one: {first}; choose ours, theirs or both"
    )]
    Conflicts {
        /// How many.
        count: usize,
        /// The first, for a person.
        first: String,
        /// All.
        conflicts: Vec<super::merge::Conflict>,
    },
    /// A ledger edit needs the method that rebuilds it.
    #[error("{id} is a ledger edit, and no ledger method was supplied to rebuild it")]
    NeedsRebuild {
        /// The commit.
        id: CommitId,
    },
    /// The ledger method refused.
    #[error("the ledger cannot be rebuilt: {source}")]
    Rebuild {
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// History cannot be walked.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The edit does not fit the weights.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// An object cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An object cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The newest operation cannot be read.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The store cannot be changed.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl From<FoldError> for CommitError {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::Read(error) => error.into(),
            FoldError::Write(error) => error.into(),
            FoldError::Apply(error) => error.into(),
        }
    }
}

impl Store {
    /// Commits an edit onto the head and publishes it. When this returns, the commit is durable.
    ///
    /// # Errors
    /// [`CommitError`]; the store is as it was.
    pub fn commit_edit(
        &self,
        kind: &EditKind,
        draft: &Draft,
        stamp: &crate::Stamp,
        key: Option<&SecretKey>,
    ) -> Result<CommitId, CommitError> {
        let mut tx = self.begin(stamp)?;
        let parent = tx.view.head_commit().ok_or(CommitError::Empty)?;
        if let Some(planned) = draft.planned_on.filter(|&planned| planned != parent) {
            return Err(CommitError::Moved { planned, now: parent });
        }
        let bad = draft.record.scores.iter().find(|(_, score)| !score.is_finite());
        if let Some((key, &value)) = bad {
            return Err(CommitError::Score { key: key.clone(), value });
        }
        for tensor in &draft.tensors {
            tx.writer.put_tensor(tensor)?;
        }
        let mut next = Next::behind(&mut tx, parent)?;
        next.apply(&mut tx, kind)?;
        next.commit.record = draft.record.clone();
        next.commit.message.clone_from(&draft.message);
        next.set_states(&mut tx, &draft.states)?;
        let what = format!("edit: {}", first_line(&draft.message));
        next.publish(tx, key, what)
    }
}

pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A commit in the making, with the weights it builds on.
pub(crate) struct Next {
    pub(crate) commit: Commit,
    pub(crate) parent: CommitId,
    pub(crate) parent_manifest: Manifest,
    pub(crate) parent_manifest_id: ManifestId,
    pub(crate) manifest: Manifest,
}

impl Next {
    /// An edit behind `parent` that changes nothing yet.
    pub(crate) fn behind(tx: &mut Transaction, parent: CommitId) -> Result<Self, CommitError> {
        let odb = tx.store().odb();
        let former = odb.commit(parent)?;
        let generation = expected_generation([former.generation].into_iter());
        let lies = HistoryError::generation(parent, former.generation);
        let parent_manifest = odb.manifest(former.manifest)?;
        let commit = Commit {
            parents: vec![parent],
            generation: generation.ok_or(lies)?,
            manifest: former.manifest,
            deed: Deed::Edit,
            patch: None,
            ledger: None,
            takes: BTreeSet::new(),
            drops: BTreeSet::new(),
            states: former.states.clone(),
            time: tx.stamp.time,
            author: tx.stamp.author.clone(),
            message: String::new(),
            record: Record::default(),
            base: former.base,
            signature: None,
        };
        Ok(Self {
            commit,
            parent,
            parent_manifest_id: former.manifest,
            manifest: parent_manifest.clone(),
            parent_manifest,
        })
    }

    pub(crate) fn apply(&mut self, tx: &mut Transaction, kind: &EditKind) -> Result<(), CommitError> {
        match kind {
            EditKind::Patch(patch) => self.add_patch(tx, patch),
            EditKind::Ledger { set, patch } => self.set_ledger(tx, set, patch),
            EditKind::States => Ok(()),
        }
    }

    /// Adds a patch made for the parent's weights. Its generation is the highest, so it comes last in the
    /// fold and its sum continues what is there.
    fn add_patch(&mut self, tx: &mut Transaction, patch: &WeightPatch) -> Result<(), CommitError> {
        let odb = tx.store().odb().clone();
        weights::fits(&odb, &self.manifest, patch)?;
        let id = recant_core::PatchId::from_bytes(*tx.writer.put(&patch.encode())?.as_bytes());
        for (named, change) in patch.changes() {
            let path = self.manifest.canonical(named).clone();
            let after = match &change.delta {
                Delta::Swap { after } => *after,
                Delta::Add(addend) => {
                    let tensor = addend.added_to(&path, &odb.tensor(change.base)?)?;
                    if *named == path {
                        tx.writer.put_derived(&tensor, change.base, &path, &[id])?
                    } else {
                        tx.writer.put_tensor(&tensor)?
                    }
                }
            };
            self.manifest.tensors.insert(path, after);
        }
        self.commit.patch = Some(id);
        Ok(())
    }

    /// Writes a ledger in place of the one before, with what the commit takes and drops beside it.
    pub(crate) fn set_ledger(
        &mut self,
        tx: &mut Transaction,
        set: &FactSet,
        patch: &WeightPatch,
    ) -> Result<(), CommitError> {
        let odb = tx.store().odb().clone();
        let mut history = History::new(&odb);
        let before = history.live(self.parent)?;
        let base = odb.manifest(before.base)?;
        weights::fits(&odb, &base, patch)?;
        let mut live = before.clone();
        live.edits.retain(|(_, id), _| !self.commit.drops.contains(id));
        for &id in &self.commit.takes {
            let taken = history.commit(id)?;
            let patch = taken.patch.ok_or(HistoryError::NoEdit { id })?;
            live.edits.insert((taken.generation, id), patch);
        }
        for &(generation, id) in before.edits.keys() {
            if history.commit(id)?.ledger.is_some() {
                live.edits.remove(&(generation, id));
                self.commit.drops.insert(id);
            }
        }
        self.put_ledger(tx, &mut live, set, patch)?;
        let known = [Known { live: &before, manifest: &self.parent_manifest }];
        self.manifest = weights::fold(&mut tx.writer, &live, &known)?.manifest;
        Ok(())
    }

    /// Stores a ledger and makes it this commit's edit, last among `live`.
    pub(crate) fn put_ledger(
        &mut self,
        tx: &mut Transaction,
        live: &mut Live,
        set: &FactSet,
        patch: &WeightPatch,
    ) -> Result<(), CommitError> {
        let patch_id = recant_core::PatchId::from_bytes(*tx.writer.put(&patch.encode())?.as_bytes());
        // The commit's own id is not known yet, and its generation alone puts it last.
        live.edits.insert((self.commit.generation, CommitId::from_bytes([0; 32])), patch_id);
        self.commit.patch = Some(patch_id);
        self.commit.ledger = Some(Ledger { set: tx.writer.put(&set.encode())?, base: live.base });
        Ok(())
    }

    fn set_states(
        &mut self,
        tx: &mut Transaction,
        states: &BTreeMap<Name, (Name, Vec<u8>)>,
    ) -> Result<(), CommitError> {
        for (name, (kind, bytes)) in states {
            if bytes.is_empty() {
                self.commit.states.remove(name);
                continue;
            }
            let blob = crate::object::Blob { kind: kind.clone(), bytes: bytes.clone() };
            let id: ObjectId = tx.writer.put(&blob.encode())?;
            self.commit.states.insert(name.clone(), id);
        }
        Ok(())
    }

    /// Stores the commit, moves the head to it and publishes.
    pub(crate) fn publish(
        mut self,
        mut tx: Transaction,
        key: Option<&SecretKey>,
        what: String,
    ) -> Result<CommitId, CommitError> {
        let base = Some((self.parent_manifest_id, &self.parent_manifest));
        self.commit.manifest = tx.writer.put_manifest(&self.manifest, base)?;
        if let Some(key) = key {
            key.sign(&mut self.commit);
        }
        let id = tx.put_commit(&self.commit)?;
        tx.advance(id);
        tx.publish(what)?;
        Ok(id)
    }
}

impl Store {
    /// The facts of the ledger at a commit; none where it has no ledger.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn ledger(&self, id: CommitId) -> Result<FactSet, CommitError> {
        super::revert::ledger_at(&mut History::new(self.odb()), id)
    }

    /// The weights that committing a ledger's patch at `id` would give, before it is committed: the parameters
    /// that differ from the base's.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn with_ledger(
        &self,
        id: CommitId,
        patch: &WeightPatch,
    ) -> Result<BTreeMap<ParamPath, HostTensor>, CommitError> {
        let mut history = History::new(self.odb());
        let mut live = history.live(id)?;
        for edit in live.ids() {
            if history.commit(edit)?.ledger.is_some() {
                live.edits.retain(|&(_, id), _| id != edit);
            }
        }
        Ok(weights::behind(self.odb(), &live, patch)?)
    }

    /// The digest of all weights at a commit, from ids alone.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn model_digest(&self, id: CommitId) -> Result<ModelDigest, ReadError> {
        let commit = self.odb().commit(id)?;
        Ok(self.odb().manifest(commit.manifest)?.model_digest())
    }
}
