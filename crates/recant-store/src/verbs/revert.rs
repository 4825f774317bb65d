//! Taking one commit back, whichever it is, and doing one again.

use std::collections::BTreeMap;

use recant_core::{Change, CommitId, Delta, ParamPath, WeightPatch};

use super::commit::{CommitError, EditKind, Next, Rebuild, WantedLedger, first_line};
use super::merge::{MergeOptions, join};
use super::sign::SecretKey;
use crate::history::{History, Live};
use crate::object::{Commit, Deed, FactSet};
use crate::store::{Stamp, Store, Transaction};
use crate::weights::{self, Known};

/// How the former weights were got.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum How {
    /// Nothing later touched the matrices: the exact former tensors were put back.
    Swapped,
    /// Later edits of the same matrices were added again, onto weights that never saw the one taken back:
    /// parameter to number of additions. What those edits were planned on is not what they stand on now.
    Replayed(BTreeMap<ParamPath, usize>),
    /// A ledger without the facts was written onto the base, as if they had never been there.
    Rebuilt,
}

/// What a revert did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverted {
    /// The commit that took it back.
    pub commit: CommitId,
    /// How.
    pub how: How,
}

impl Store {
    /// Takes back what `target` did: a new commit on the head, whose weights are those of the other live
    /// edits. Reverting a revert puts the edit back in its old place.
    ///
    /// # Errors
    /// [`CommitError`]; the store is as it was.
    pub fn revert(
        &self,
        target: CommitId,
        rebuild: Option<&dyn Rebuild>,
        stamp: &Stamp,
        key: Option<&SecretKey>,
    ) -> Result<Reverted, CommitError> {
        let mut tx = self.begin(stamp)?;
        let head = tx.view.head_commit().ok_or(CommitError::Empty)?;
        let odb = self.odb();
        let mut history = History::new(odb);
        let commit = history.commit(target)?;
        let Some(&parent) = commit.parents.first() else {
            return Err(CommitError::NoChange { id: target, what: "an import", verb: "taken back" });
        };
        if !history.is_ancestor(target, head)? {
            return Err(CommitError::Elsewhere { id: target });
        }
        if commit.ledger.is_some() && history.live(head)?.ids().iter().any(|&id| is_ledger(&mut history, id))
        {
            return self.revert_ledger(tx, target, &commit, rebuild, key);
        }
        let (added, dropped) = history.changes(target)?;
        let before = history.live(head)?;
        let now = before.ids();
        let mut next = Next::behind(&mut tx, head)?;
        next.commit.drops = added.intersection(&now).copied().collect();
        next.commit.takes = dropped.difference(&now).copied().collect();
        if added.is_empty() && dropped.is_empty() && former_states(odb, &commit, &next.commit)?.is_none() {
            return Err(CommitError::NoChange { id: target, what: "without effect", verb: "taken back" });
        }
        let touches = !added.is_empty() || !dropped.is_empty();
        if touches && next.commit.drops.is_empty() && next.commit.takes.is_empty() {
            return Err(CommitError::NotLive { id: target });
        }
        let mut live = before.clone();
        live.edits.retain(|(_, id), _| !next.commit.drops.contains(id));
        for &id in &next.commit.takes.clone() {
            let taken = history.commit(id)?;
            let patch = taken.patch.ok_or(crate::HistoryError::NoEdit { id })?;
            live.edits.insert((taken.generation, id), patch);
        }
        let former = history.live(parent)?;
        let former_manifest = odb.manifest(history.commit(parent)?.manifest)?;
        let folded = {
            let known = [
                Known { live: &former, manifest: &former_manifest },
                Known { live: &before, manifest: &next.parent_manifest },
            ];
            weights::fold(&mut tx.writer, &live, &known)?
        };
        next.manifest = folded.manifest;
        if let Some(states) = former_states(odb, &commit, &next.commit)? {
            next.commit.states = states;
        }
        let how = match folded.replayed.is_empty() {
            true => How::Swapped,
            false => How::Replayed(folded.replayed),
        };
        next.commit.deed = Deed::Revert(target);
        next.commit.message = format!("Revert \"{}\"", first_line(&commit.message));
        next.commit.record.method.clone_from(&commit.record.method);
        next.commit.record.facts.clone_from(&commit.record.facts);
        let what = format!("revert {}", target.short());
        Ok(Reverted { commit: next.publish(tx, key, what)?, how })
    }

    /// Takes a ledger edit's facts out of the live ledger, and puts back those it replaced.
    fn revert_ledger(
        &self,
        mut tx: Transaction,
        target: CommitId,
        commit: &Commit,
        rebuild: Option<&dyn Rebuild>,
        key: Option<&SecretKey>,
    ) -> Result<Reverted, CommitError> {
        let odb = self.odb().clone();
        let head = tx.view.head_commit().ok_or(CommitError::Empty)?;
        let mut history = History::new(&odb);
        let parent = commit.parents.first().copied().unwrap_or(head);
        let (ours, former) = (ledger_at(&mut history, parent)?, ledger_at(&mut history, target)?);
        let now = ledger_at(&mut history, head)?;
        // Three-way with the roles turned round: from what the commit left, to what it found.
        let set = former.merge(&now, &ours).set;
        // A merge of ledgers may have brought other edits along.
        let live_now = history.live(head)?.ids();
        let (added, dropped) = history.changes(target)?;
        let mut next = Next::behind(&mut tx, head)?;
        for id in added.intersection(&live_now) {
            next.commit.drops.extend((!is_ledger(&mut history, *id)).then_some(*id));
        }
        for id in dropped.difference(&live_now) {
            next.commit.takes.extend((!is_ledger(&mut history, *id)).then_some(*id));
        }
        if set == now && next.commit.drops.is_empty() && next.commit.takes.is_empty() {
            return Err(CommitError::NotLive { id: target });
        }
        let base = history.live(head)?.base;
        let wanted = WantedLedger { set: &set, base };
        let patch = wanted.patch(&mut history, &[head], rebuild, target)?;
        next.set_ledger(&mut tx, &set, &patch)?;
        next.commit.deed = Deed::Revert(target);
        next.commit.message = format!("Revert \"{}\"", first_line(&commit.message));
        next.commit.record.method.clone_from(&commit.record.method);
        next.commit.record.facts.clone_from(&commit.record.facts);
        let what = format!("revert {}", target.short());
        Ok(Reverted { commit: next.publish(tx, key, what)?, how: How::Rebuilt })
    }

    /// Does another branch's edit again on the head: the same additions, onto the weights of the head; of a
    /// ledger edit, the facts that it added and took out, with the ledger of the head written anew.
    ///
    /// # Errors
    /// [`CommitError`]; the store is as it was.
    pub fn cherry_pick(
        &self,
        target: CommitId,
        options: MergeOptions,
        rebuild: Option<&dyn Rebuild>,
        stamp: &Stamp,
        key: Option<&SecretKey>,
    ) -> Result<CommitId, CommitError> {
        let mut tx = self.begin(stamp)?;
        let head = tx.view.head_commit().ok_or(CommitError::Empty)?;
        let odb = self.odb();
        let mut history = History::new(odb);
        let commit = history.commit(target)?;
        let (Some(patch), Some(&parent)) = (commit.patch, commit.parents.first()) else {
            return Err(CommitError::NoChange { id: target, what: commit.deed.name(), verb: "picked" });
        };
        let (ours, theirs) = (history.live(head)?, history.live(target)?);
        if ours.base != theirs.base {
            return Err(CommitError::Unrelated { ours: head, theirs: target });
        }
        if ours.ids().contains(&target) {
            return Err(CommitError::AlreadyLive { id: target });
        }
        let mut next = Next::behind(&mut tx, head)?;
        if commit.ledger.is_some() {
            let (was, made) = (ledger_at(&mut history, parent)?, ledger_at(&mut history, target)?);
            let now = ledger_at(&mut history, head)?;
            let (set, _) = join(&was, (&now, head), (&made, target), options.on_conflict)?;
            if set == now {
                return Err(CommitError::AlreadyLive { id: target });
            }
            let wanted = WantedLedger { set: &set, base: ours.base };
            let patch = wanted.patch(&mut history, &[head, target], rebuild, target)?;
            next.set_ledger(&mut tx, &set, &patch)?;
            // What the ledger needs to be written again, where the head never had one.
            for (name, &id) in &commit.states {
                next.commit.states.entry(name.clone()).or_insert(id);
            }
        } else {
            let patch = rebased(&odb.patch(patch)?, &next.manifest)?;
            next.apply(&mut tx, &EditKind::Patch(patch))?;
        }
        next.commit.deed = Deed::Pick(target);
        next.commit.message.clone_from(&commit.message);
        next.commit.record.clone_from(&commit.record);
        // Scores were measured on other weights.
        next.commit.record.scores.clear();
        next.publish(tx, key, format!("cherry-pick {}", target.short()))
    }
}

/// The same deltas, made for other weights.
fn rebased(patch: &WeightPatch, manifest: &crate::object::Manifest) -> Result<WeightPatch, CommitError> {
    let mut rebased = WeightPatch::identity();
    for (named, change) in patch.changes() {
        let base =
            manifest.get(named).ok_or_else(|| recant_core::ApplyError::Unknown { path: named.clone() })?;
        let delta: Delta = change.delta.clone();
        let one = WeightPatch::one(named.clone(), Change { base, delta });
        // The names differ, so composing only gathers.
        rebased =
            rebased.then(&one).map_err(|_| recant_core::ApplyError::TiedTwice { path: named.clone() })?;
    }
    Ok(rebased)
}

fn is_ledger(history: &mut History<'_>, id: CommitId) -> bool {
    history.commit(id).is_ok_and(|commit| commit.ledger.is_some())
}

/// The facts of the live ledger at a commit; of several (after a merge), their union.
pub(super) fn ledger_at(history: &mut History<'_>, id: CommitId) -> Result<FactSet, CommitError> {
    let live: Live = history.live(id)?;
    let mut set = FactSet::default();
    for id in live.ids() {
        if let Some(ledger) = history.commit(id)?.ledger {
            set = set.union(&history.odb().facts(ledger.set)?);
        }
    }
    Ok(set)
}

/// The states before `commit`, where it changed them and nobody did since; `None` when there is nothing to
/// put back.
fn former_states(
    odb: &crate::Odb,
    commit: &Commit,
    next: &Commit,
) -> Result<Option<BTreeMap<crate::Name, recant_core::ObjectId>>, CommitError> {
    let Some(&parent) = commit.parents.first() else { return Ok(None) };
    let former = &odb.commit(parent)?.states;
    let mut states = next.states.clone();
    for name in former.keys().chain(commit.states.keys()) {
        let (was, made, now) = (former.get(name), commit.states.get(name), next.states.get(name));
        if was != made && made == now {
            match was {
                Some(&id) => states.insert(name.clone(), id),
                None => states.remove(name),
            };
        }
    }
    Ok((states != next.states).then_some(states))
}
