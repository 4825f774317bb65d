//! Walking commits, and the one law of this store: weights are a function of the set of live edits.
//!
//! A commit says which edits it made live and which it took out. Replayed from the import on, that gives the
//! set of edits that are live at a commit, ordered by generation and id. A matrix is the base's matrix with
//! the additions of the live edits that touch it, in that order, rounded after each; a swap puts its tensor
//! there instead. The order depends on the set alone, so it does not matter by which reverts, cherry-picks
//! and merges a set came about: the same set gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use recant_core::{CommitId, ManifestId, PatchId};

use crate::damage::Damage;
use crate::object::{Commit, Deed};
use crate::odb::{Odb, ReadError};

/// History cannot be walked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// An object cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A commit's generation does not follow from its parents'.
    #[error("commit {id} {source}")]
    Generation {
        /// The commit.
        id: CommitId,
        /// What it claims.
        source: Damage,
    },
    /// A commit names an edit that is none.
    #[error("commit {id} is named as an edit but changes no weights")]
    NoEdit {
        /// The commit.
        id: CommitId,
    },
}

impl HistoryError {
    pub(crate) fn generation(id: CommitId, generation: u64) -> Self {
        Self::Generation { id, source: Damage::Generation { generation } }
    }
}

/// The edits that are live at a commit, in the order in which they are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The import that they build on.
    pub import: CommitId,
    /// Its weights.
    pub base: ManifestId,
    /// The edits: (generation, commit) to patch.
    pub edits: BTreeMap<(u64, CommitId), PatchId>,
}

/// Reads commits, each once.
#[derive(Debug)]
pub struct History<'s> {
    odb: &'s Odb,
    seen: BTreeMap<CommitId, Arc<Commit>>,
}

impl<'s> History<'s> {
    /// History in these objects.
    #[must_use]
    pub fn new(odb: &'s Odb) -> Self {
        Self { odb, seen: BTreeMap::new() }
    }

    /// The objects.
    #[must_use]
    pub fn odb(&self) -> &'s Odb {
        self.odb
    }

    /// A commit.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn commit(&mut self, id: CommitId) -> Result<Arc<Commit>, HistoryError> {
        if let Some(commit) = self.seen.get(&id) {
            return Ok(commit.clone());
        }
        let commit = self.odb.commit(id)?;
        self.seen.insert(id, commit.clone());
        Ok(commit)
    }

    /// A commit's parents; its generation is one more than the greatest of theirs.
    fn parents(&mut self, id: CommitId) -> Result<Vec<(u64, CommitId)>, HistoryError> {
        let commit = self.commit(id)?;
        let mut parents = Vec::new();
        for &parent in &commit.parents {
            parents.push((self.commit(parent)?.generation, parent));
        }
        if expected_generation(parents.iter().map(|(generation, _)| *generation)) != Some(commit.generation) {
            return Err(HistoryError::generation(id, commit.generation));
        }
        Ok(parents)
    }

    /// Everything that some commits build on, themselves included: newest generation first, then by id. A
    /// commit is read when its turn comes, so the first ones cost the same however long the history is.
    ///
    /// # Errors
    /// [`HistoryError`] when a tip cannot be read.
    pub fn walk(&mut self, tips: &[CommitId]) -> Result<Walk<'_, 's>, HistoryError> {
        let mut open = BTreeSet::new();
        for &tip in tips {
            open.insert((self.commit(tip)?.generation, tip));
        }
        Ok(Walk { history: self, open })
    }

    /// All of [`History::walk`].
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn ancestors(&mut self, tips: &[CommitId]) -> Result<Vec<CommitId>, HistoryError> {
        self.walk(tips)?.map(|step| step.map(|(id, _)| id)).collect()
    }

    /// The commits from `id` back to its import, by first parents.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn first_parents(&mut self, id: CommitId) -> Result<Vec<CommitId>, HistoryError> {
        let mut line = vec![id];
        let mut at = id;
        while let Some(&(_, parent)) = self.parents(at)?.first() {
            line.push(parent);
            at = parent;
        }
        Ok(line)
    }

    /// Whether `old` is `new` or something that it builds on.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn is_ancestor(&mut self, old: CommitId, new: CommitId) -> Result<bool, HistoryError> {
        let bottom = self.commit(old)?.generation;
        let mut open = BTreeSet::from([(self.commit(new)?.generation, new)]);
        while let Some((generation, id)) = open.pop_last() {
            if id == old {
                return Ok(true);
            }
            if generation > bottom {
                open.extend(self.parents(id)?);
            }
        }
        Ok(false)
    }

    /// The newest commit that both build on.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn merge_base(&mut self, one: CommitId, other: CommitId) -> Result<Option<CommitId>, HistoryError> {
        let of_one: BTreeSet<CommitId> = self.ancestors(&[one])?.into_iter().collect();
        Ok(self.ancestors(&[other])?.into_iter().find(|id| of_one.contains(id)))
    }

    /// The live edits at a commit.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn live(&mut self, id: CommitId) -> Result<Live, HistoryError> {
        let line = self.first_parents(id)?;
        let mut live: BTreeSet<CommitId> = BTreeSet::new();
        for &id in line.iter().rev() {
            let commit = self.commit(id)?;
            live.retain(|edit| !commit.drops.contains(edit));
            live.extend(commit.takes.iter().copied());
            live.extend(commit.patch.map(|_| id));
        }
        let import = line.last().copied().unwrap_or(id);
        let base = self.commit(import)?.manifest;
        let mut edits = BTreeMap::new();
        for id in live {
            let commit = self.commit(id)?;
            let patch = commit.patch.ok_or(HistoryError::NoEdit { id })?;
            edits.insert((commit.generation, id), patch);
        }
        Ok(Live { import, base, edits })
    }

    /// What a commit made live and what it took out, against its first parent.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn changes(
        &mut self,
        id: CommitId,
    ) -> Result<(BTreeSet<CommitId>, BTreeSet<CommitId>), HistoryError> {
        let commit = self.commit(id)?;
        let mut takes = commit.takes.clone();
        takes.extend(commit.patch.map(|_| id));
        Ok((takes, commit.drops.clone()))
    }
}

/// See [`History::walk`].
#[derive(Debug)]
pub struct Walk<'h, 's> {
    history: &'h mut History<'s>,
    open: BTreeSet<(u64, CommitId)>,
}

impl Iterator for Walk<'_, '_> {
    type Item = Result<(CommitId, Arc<Commit>), HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, id) = self.open.pop_last()?;
        let step = self.history.parents(id).and_then(|parents| {
            self.open.extend(parents);
            Ok((id, self.history.commit(id)?))
        });
        if step.is_err() {
            self.open.clear();
        }
        Some(step)
    }
}

/// The generation of a commit whose parents have these: 1, or one more than the greatest; `None` when that is
/// more than can be counted.
pub(crate) fn expected_generation(parents: impl Iterator<Item = u64>) -> Option<u64> {
    parents.max().unwrap_or_default().checked_add(1)
}

impl Live {
    /// The commits of the edits.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<CommitId> {
        self.edits.keys().map(|&(_, id)| id).collect()
    }
}

impl Commit {
    /// Whether this commit brought in a base.
    #[must_use]
    pub fn is_import(&self) -> bool {
        self.deed == Deed::Import
    }
}
