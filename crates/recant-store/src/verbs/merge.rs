//! Joining two histories.

use std::collections::{BTreeMap, BTreeSet};

use recant_core::{CommitId, OnConflict, ParamPath};

use super::commit::{CommitError, Next, Rebuild, WantedLedger};
use super::revert::ledger_at;
use super::sign::SecretKey;
use crate::history::{History, HistoryError, Live, expected_generation};
use crate::object::{Deed, FactRecord, FactSet};
use crate::store::{Stamp, Store};
use crate::weights::{self, Known};

/// How to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MergeOptions {
    /// What to do about contradictions.
    pub on_conflict: OnConflict,
}

/// Two edits that write a fact differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Our edit and its fact.
    pub ours: (CommitId, FactRecord),
    /// Theirs.
    pub theirs: (CommitId, FactRecord),
}

/// What a merge did.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The commit that the head stands on now.
    pub commit: CommitId,
    /// The head only moved forward: no commit was made.
    pub fast_forward: bool,
    /// Contradictions that were decided.
    pub conflicts: Vec<Conflict>,
    /// Matrices that both sides changed, with the number of additions that were done again.
    pub replayed: BTreeMap<ParamPath, usize>,
    /// Ledgers were joined as sets and written onto the base.
    pub rebuilt: bool,
}

impl Store {
    /// Merges `theirs` into the head: the edits of both, less those that either took out since they parted.
    /// Ledgers merge as sets. Swapping the sides gives the same weights.
    ///
    /// # Errors
    /// [`CommitError`]; the store is as it was.
    pub fn merge(
        &self,
        theirs: CommitId,
        options: MergeOptions,
        rebuild: Option<&dyn Rebuild>,
        stamp: &Stamp,
        key: Option<&SecretKey>,
    ) -> Result<Merged, CommitError> {
        let mut tx = self.begin(stamp)?;
        let head = tx.view.head_commit().ok_or(CommitError::Empty)?;
        let odb = self.odb();
        let mut history = History::new(odb);
        if history.is_ancestor(theirs, head)? {
            return Err(CommitError::UpToDate { theirs });
        }
        let mut merged = Merged {
            commit: theirs,
            fast_forward: true,
            conflicts: Vec::new(),
            replayed: BTreeMap::new(),
            rebuilt: false,
        };
        if history.is_ancestor(head, theirs)? {
            tx.advance(theirs);
            tx.publish(format!("merge {} (fast-forward)", theirs.short()))?;
            return Ok(merged);
        }
        merged.fast_forward = false;
        let (ours_live, theirs_live) = (history.live(head)?, history.live(theirs)?);
        let base = history.merge_base(head, theirs)?;
        let Some(base) = base.filter(|_| ours_live.base == theirs_live.base) else {
            return Err(CommitError::Unrelated { ours: head, theirs });
        };
        let base_live = history.live(base)?;
        let mut live = three_way(&base_live, &ours_live, &theirs_live);
        merged.conflicts = conflicts(&mut history, &base_live, &ours_live, &theirs_live)?;
        decide(&mut live, &merged.conflicts, options.on_conflict)?;

        let other = history.commit(theirs)?;
        let mut next = Next::behind(&mut tx, head)?;
        next.commit.parents.push(theirs);
        let lies = HistoryError::generation(theirs, other.generation);
        let behind = expected_generation([other.generation].into_iter()).ok_or(lies)?;
        next.commit.generation = next.commit.generation.max(behind);
        next.commit.deed = Deed::Merge;
        next.commit.message = format!("Merge {}", theirs.short());
        for (name, id) in &other.states {
            let was = history.commit(base)?.states.get(name).copied();
            if next.commit.states.get(name).copied() == was {
                next.commit.states.insert(name.clone(), *id);
            }
        }
        let mut n_ledgers = 0;
        for id in live.ids() {
            n_ledgers += usize::from(history.commit(id)?.ledger.is_some());
        }
        let set = match n_ledgers > 1 {
            true => {
                let was = ledger_at(&mut history, base)?;
                let sides = (ledger_at(&mut history, head)?, ledger_at(&mut history, theirs)?);
                let (set, decided) = join(&was, (&sides.0, head), (&sides.1, theirs), options.on_conflict)?;
                merged.conflicts.extend(decided);
                Some(set)
            }
            false => None,
        };
        let (now, wanted) = (ours_live.ids(), live.ids());
        next.commit.takes = wanted.difference(&now).copied().collect();
        next.commit.drops = now.difference(&wanted).copied().collect();
        let theirs_manifest = odb.manifest(other.manifest)?;
        if let Some(set) = set {
            let wanted = WantedLedger { set: &set, base: live.base };
            let patch = wanted.patch(&mut history, &[head, theirs], rebuild, theirs)?;
            for id in live.ids() {
                if history.commit(id)?.ledger.is_some() {
                    live.edits.retain(|&(_, edit), _| edit != id);
                    next.commit.takes.remove(&id);
                    next.commit.drops.extend(now.contains(&id).then_some(id));
                }
            }
            next.put_ledger(&mut tx, &mut live, &set, &patch)?;
            merged.rebuilt = true;
        }
        let known = [
            Known { live: &ours_live, manifest: &next.parent_manifest },
            Known { live: &theirs_live, manifest: &theirs_manifest },
        ];
        let folded = weights::fold(&mut tx.writer, &live, &known)?;
        next.manifest = folded.manifest;
        merged.replayed = folded.replayed;
        if let Some(ledger) = next.commit.patch.filter(|_| merged.rebuilt) {
            // The ledger itself, which was not there before, is written and not replayed.
            for path in odb.patch(ledger)?.changes().keys().map(|named| next.manifest.canonical(named)) {
                if let Some(count) = merged.replayed.get_mut(path) {
                    *count -= 1;
                }
            }
            merged.replayed.retain(|_, count| *count > 0);
        }
        merged.commit = next.publish(tx, key, format!("merge {}", theirs.short()))?;
        Ok(merged)
    }
}

/// What is live on a side and either new there or kept by the other.
fn three_way(base: &Live, ours: &Live, theirs: &Live) -> Live {
    let mut edits = ours.edits.clone();
    edits.extend(theirs.edits.iter().map(|(&key, &patch)| (key, patch)));
    edits.retain(|key, _| {
        let (was, one, other) =
            (base.edits.contains_key(key), ours.edits.contains_key(key), theirs.edits.contains_key(key));
        if was { one && other } else { one || other }
    });
    Live { edits, ..ours.clone() }
}

/// New facts of both sides about the same subject and prompt with different targets.
fn conflicts(
    history: &mut History<'_>,
    base: &Live,
    ours: &Live,
    theirs: &Live,
) -> Result<Vec<Conflict>, CommitError> {
    let mut facts_of = |live: &Live, beside: &Live| -> Result<Vec<(CommitId, FactRecord)>, CommitError> {
        let mut facts = Vec::new();
        for key in live.edits.keys() {
            if !base.edits.contains_key(key) && !beside.edits.contains_key(key) {
                let commit = history.commit(key.1)?;
                // Those of ledgers are found by `join`.
                if commit.ledger.is_none() {
                    facts.extend(commit.record.facts.iter().map(|fact| (key.1, fact.clone())));
                }
            }
        }
        Ok(facts)
    };
    let (ours, theirs) = (facts_of(ours, theirs)?, facts_of(theirs, ours)?);
    Ok(contradictions(&ours, &theirs))
}

fn contradictions(ours: &[(CommitId, FactRecord)], theirs: &[(CommitId, FactRecord)]) -> Vec<Conflict> {
    let pair = |(ours, theirs): (&(CommitId, FactRecord), &(CommitId, FactRecord))| Conflict {
        ours: ours.clone(),
        theirs: theirs.clone(),
    };
    let pairs = ours.iter().flat_map(|one| theirs.iter().map(move |other| (one, other)));
    pairs.filter(|(one, other)| one.1.contradicts(&other.1)).map(pair).collect()
}

fn refuse(conflicts: &[Conflict]) -> Result<(), CommitError> {
    let Some(first) = conflicts.first() else { return Ok(()) };
    let (ours, theirs) = (&first.ours.1, &first.theirs.1);
    Err(CommitError::Conflicts {
        count: conflicts.len(),
        first: format!("{:?} is {:?} here and {:?} there", ours.text(), ours.target, theirs.target),
        conflicts: conflicts.to_vec(),
    })
}

fn decide(live: &mut Live, conflicts: &[Conflict], on_conflict: OnConflict) -> Result<(), CommitError> {
    let loses: BTreeSet<CommitId> = match on_conflict {
        OnConflict::Refuse => return refuse(conflicts),
        OnConflict::Ours => conflicts.iter().map(|conflict| conflict.theirs.0).collect(),
        OnConflict::Theirs => conflicts.iter().map(|conflict| conflict.ours.0).collect(),
        OnConflict::Both => BTreeSet::new(),
    };
    live.edits.retain(|(_, id), _| !loses.contains(id));
    Ok(())
}

/// Two ledgers that grew apart since `base`, as one, and the contradictions that were decided.
pub(super) fn join(
    base: &FactSet,
    (ours, our_commit): (&FactSet, CommitId),
    (theirs, their_commit): (&FactSet, CommitId),
    on_conflict: OnConflict,
) -> Result<(FactSet, Vec<Conflict>), CommitError> {
    let mut union = base.merge(ours, theirs);
    // Facts of one side alone that the union keeps: new there, because what the other side took out is gone.
    let own = |set: &FactSet, beside: &FactSet, commit: CommitId| -> Vec<(CommitId, FactRecord)> {
        let keys = union.set.entries.keys().filter(|&key| set.entries.contains_key(key));
        let keys = keys.filter(|&key| !beside.entries.contains_key(key));
        keys.filter_map(|key| Some((commit, FactRecord::from_key(key)?))).collect()
    };
    let conflicts = contradictions(&own(ours, theirs, our_commit), &own(theirs, ours, their_commit));
    let side = match on_conflict {
        OnConflict::Refuse => {
            refuse(&conflicts)?;
            let Some(key) = union.conflicts.first() else { return Ok((union.set, conflicts)) };
            let fact = FactRecord::from_key(key).map(|fact| format!("{} {}", fact.text(), fact.target));
            let fact = fact.unwrap_or_else(|| String::from_utf8_lossy(key).into_owned());
            let first = format!("the ledgers' entry {fact:?}, which has other contents on both sides");
            return Err(CommitError::Conflicts {
                count: union.conflicts.len(),
                first,
                conflicts: Vec::new(),
            });
        }
        OnConflict::Ours => ours,
        OnConflict::Theirs => theirs,
        OnConflict::Both => return Ok((union.set, conflicts)),
    };
    for key in union.conflicts.drain(..) {
        match side.entries.get(&key) {
            Some(payload) => union.set.entries.insert(key, payload.clone()),
            None => union.set.entries.remove(&key),
        };
    }
    for conflict in &conflicts {
        let loses = if on_conflict == OnConflict::Ours { &conflict.theirs } else { &conflict.ours };
        union.set.entries.remove(&loses.1.key());
    }
    Ok((union.set, conflicts))
}
