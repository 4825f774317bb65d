//! What lies between two commits.

use std::collections::{BTreeMap, BTreeSet};

use recant_core::{CommitId, Delta, ParamPath, TensorId};

use super::commit::CommitError;
use crate::history::History;
use crate::object::{Apart, Deed, FactRecord, Part};
use crate::store::Store;

/// How one matrix differs.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixDiff {
    /// The tensor in the first commit.
    pub before: Option<TensorId>,
    /// The tensor in the second commit.
    pub after: Option<TensorId>,
    /// Sides.
    pub shape: Vec<usize>,
    /// Frobenius norm of the difference; `None` when one is missing or they have different forms.
    pub norm: Option<f64>,
    /// An upper bound of the difference's rank, from the factors of the edits between; `None` when an edit
    /// is of full rank.
    pub rank: Option<usize>,
}

/// The difference between two commits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Diff {
    /// Facts that the second has and the first has not, with the commit that wrote them.
    pub added: Vec<(CommitId, FactRecord)>,
    /// Facts that the first has and the second has not.
    pub removed: Vec<(CommitId, FactRecord)>,
    /// Files, ties and the layout, where they differ. Edits leave them alone.
    pub parts: Vec<Apart>,
    /// Matrices that differ.
    pub matrices: BTreeMap<ParamPath, MatrixDiff>,
}

impl Store {
    /// The facts that are live at a commit, each with the commit that wrote it; the oldest edit first.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn facts(&self, id: CommitId) -> Result<Vec<(CommitId, FactRecord)>, CommitError> {
        self.facts_in(&mut History::new(self.odb()), id)
    }

    fn facts_in(
        &self,
        history: &mut History<'_>,
        id: CommitId,
    ) -> Result<Vec<(CommitId, FactRecord)>, CommitError> {
        let mut facts = Vec::new();
        for &(_, edit) in history.live(id)?.edits.keys() {
            let commit = history.commit(edit)?;
            let Some(ledger) = commit.ledger else {
                facts.extend(commit.record.facts.iter().map(|fact| (edit, fact.clone())));
                continue;
            };
            // A ledger's commit holds the facts of those before it; each stands under the first that has it.
            let set = self.odb().facts(ledger.set)?;
            let mut left: BTreeSet<FactRecord> =
                set.entries.keys().filter_map(|key| FactRecord::from_key(key)).collect();
            for at in history.ancestors(&[edit])? {
                let commit = history.commit(at)?;
                if matches!(commit.deed, Deed::Edit | Deed::Pick(_)) && commit.ledger.is_some() {
                    let wrote = commit.record.facts.iter().filter(|&fact| left.remove(fact));
                    facts.extend(wrote.map(|fact| (at, fact.clone())));
                }
            }
            facts.extend(left.into_iter().map(|fact| (edit, fact)));
        }
        Ok(facts)
    }

    /// What changes from `one` to `other`.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn diff(&self, one: CommitId, other: CommitId) -> Result<Diff, CommitError> {
        let odb = self.odb();
        let mut history = History::new(odb);
        let (live_one, live_other) = (history.live(one)?, history.live(other)?);
        let (facts_one, facts_other) =
            (self.facts_in(&mut history, one)?, self.facts_in(&mut history, other)?);
        let beside = |facts: &[(CommitId, FactRecord)], others: &[(CommitId, FactRecord)]| {
            facts.iter().filter(|fact| !others.contains(fact)).cloned().collect()
        };
        let mut diff = Diff {
            added: beside(&facts_other, &facts_one),
            removed: beside(&facts_one, &facts_other),
            ..Diff::default()
        };
        let mut ranks: BTreeMap<ParamPath, Option<usize>> = BTreeMap::new();
        let manifest = odb.manifest(odb.commit(one)?.manifest)?;
        let between = live_one.edits.iter().filter(|(key, _)| !live_other.edits.contains_key(key));
        let between =
            between.chain(live_other.edits.iter().filter(|(key, _)| !live_one.edits.contains_key(key)));
        for (_, &patch) in between {
            for (named, change) in odb.patch(patch)?.changes() {
                let rank = match &change.delta {
                    Delta::Add(addend) => addend.rank(),
                    Delta::Swap { .. } => None,
                };
                let sum = ranks.entry(manifest.canonical(named).clone()).or_insert(Some(0));
                *sum = sum.zip(rank).map(|(sum, rank)| sum + rank);
            }
        }
        let other_manifest = odb.manifest(odb.commit(other)?.manifest)?;
        diff.parts = manifest.parts_apart(&other_manifest);
        // Those are among the matrices.
        diff.parts.retain(|apart| !matches!(apart.part, Part::Tensor(_)));
        let paths: BTreeSet<&ParamPath> =
            manifest.tensors.keys().chain(other_manifest.tensors.keys()).collect();
        for path in paths {
            let (before, after) =
                (manifest.tensors.get(path).copied(), other_manifest.tensors.get(path).copied());
            if before == after {
                continue;
            }
            let load = |id: Option<TensorId>| id.map(|id| odb.tensor(id)).transpose();
            let (a, b) = (load(before)?, load(after)?);
            let shape = a.as_ref().or(b.as_ref()).map(|t| t.shape().to_vec()).unwrap_or_default();
            let norm = a.zip(b).filter(|(a, b)| a.shape() == b.shape()).map(|(a, b)| {
                let squares = a.to_f64().into_iter().zip(b.to_f64()).map(|(x, y)| (y - x) * (y - x));
                squares.sum::<f64>().sqrt()
            });
            let full = shape.iter().copied().min().unwrap_or_default();
            let rank = ranks.get(path).copied().flatten().filter(|&rank| rank <= full);
            diff.matrices.insert(path.clone(), MatrixDiff { before, after, shape, norm, rank });
        }
        Ok(diff)
    }
}
