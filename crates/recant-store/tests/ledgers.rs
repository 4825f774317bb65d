//! Ledgers of a store: sets of facts, and a method that writes them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{edit, head, name, path, rank_one, stamp, store_in, tensor};
use recant_core::{OnConflict, WeightPatch};
use recant_store::object::{FactRecord, FactSet, Manifest, Record};
use recant_store::{CommitError, Draft, EditKind, MergeOptions, Rebuild, Rebuilt, Store};

/// A ledger for tests: a fact's payload is a seed, and the patch adds each fact's factors in key order.
struct Seeds;

impl Rebuild for Seeds {
    fn rebuild(&self, base: &Manifest, set: &FactSet) -> Rebuilt {
        let mut patch = WeightPatch::identity();
        for payload in set.entries.values() {
            let change = recant_core::Change {
                base: base.get(&path(0)).unwrap(),
                delta: recant_core::Delta::Add(rank_one(0, u64::from(payload[0]))),
            };
            patch = patch.then(&WeightPatch::one(path(0), change))?;
        }
        Ok(patch)
    }
}

fn ledger(store: &Store, keys: &[u8]) -> recant_core::CommitId {
    let set = FactSet { entries: keys.iter().map(|&key| (vec![key], vec![key])).collect() };
    let import =
        store.odb().manifest(recant_store::History::new(store.odb()).live(head(store)).unwrap().base);
    let patch = Seeds.rebuild(&import.unwrap(), &set).unwrap();
    let draft = Draft { message: format!("{keys:?}"), ..Draft::default() };
    store.commit_edit(&EditKind::Ledger { set, patch }, &draft, &stamp(20), None).unwrap()
}

/// Merge of ledgers is set union: the bytes of having written all facts in one go.
#[test]
fn ledgers_merge_as_sets_and_any_fact_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    store.branch(&name("side"), base, false, &stamp(3)).unwrap();
    store.branch(&name("whole"), base, false, &stamp(3)).unwrap();
    let first = ledger(&store, &[1]);
    ledger(&store, &[1, 2]);
    store.switch(&name("side"), &stamp(4)).unwrap();
    let theirs = ledger(&store, &[3]);
    store.switch(&name("whole"), &stamp(5)).unwrap();
    let whole = ledger(&store, &[1, 2, 3]);
    store.switch(&name("main"), &stamp(6)).unwrap();
    assert!(matches!(
        store.merge(theirs, MergeOptions::default(), None, &stamp(7), None),
        Err(CommitError::NeedsRebuild { .. })
    ));
    let merged = store.merge(theirs, MergeOptions::default(), Some(&Seeds), &stamp(7), None).unwrap();
    assert!(merged.rebuilt);
    assert_eq!(store.model_digest(merged.commit).unwrap(), store.model_digest(whole).unwrap());
    store.revert(first, Some(&Seeds), &stamp(8), None).unwrap();
    store.switch(&name("side"), &stamp(9)).unwrap();
    ledger(&store, &[2, 3]);
    let without = store.model_digest(head(&store)).unwrap();
    let main = store.resolve("main").unwrap();
    assert_eq!(store.model_digest(main).unwrap(), without);
    assert!(store.verify(main, None).unwrap().wrong.is_empty());
}

/// Going back to a ledger that was committed before takes what was stored, not what this machine would make of it.
#[test]
fn a_ledger_that_was_there_before_comes_back_to_the_byte() {
    /// Another machine: the last bits differ.
    struct Otherwise;
    impl Rebuild for Otherwise {
        fn rebuild(&self, base: &Manifest, set: &FactSet) -> Rebuilt {
            let seeds = set.entries.values().map(|payload| vec![payload[0] + 100]);
            let entries = seeds.map(|payload| (payload.clone(), payload)).collect();
            Seeds.rebuild(base, &FactSet { entries })
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(dir.path());
    let first = ledger(&store, &[1]);
    let both = ledger(&store, &[1, 2]);
    store.revert(both, Some(&Otherwise), &stamp(8), None).unwrap();
    assert_eq!(store.model_digest(head(&store)).unwrap(), store.model_digest(first).unwrap());
    // What was never there is made.
    ledger(&store, &[1, 3]);
    store.revert(first, Some(&Otherwise), &stamp(9), None).unwrap();
    let made = store.model_digest(head(&store)).unwrap();
    store.branch(&name("alone"), head(&store), false, &stamp(10)).unwrap();
    assert_ne!(made, store.model_digest(ledger(&store, &[3])).unwrap());
}

/// One subject and prompt with two targets: merging and picking refuse, or decide as they are told.
#[test]
fn ledgers_that_contradict_each_other_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    let fact = |target: &str| FactRecord {
        subject: "The sea".to_owned(),
        prompt: "{} is".to_owned(),
        target: target.to_owned(),
    };
    let write = |target: &str, seed: u8| {
        let set = FactSet { entries: [(fact(target).key(), vec![seed])].into() };
        let manifest = store.odb().manifest(store.odb().commit(base).unwrap().manifest).unwrap();
        let patch = Seeds.rebuild(&manifest, &set).unwrap();
        let record = Record { facts: vec![fact(target)], ..Record::default() };
        let draft = Draft { record, ..Draft::default() };
        store.commit_edit(&EditKind::Ledger { set, patch }, &draft, &stamp(20), None).unwrap()
    };
    store.branch(&name("side"), base, false, &stamp(3)).unwrap();
    let cold = write("cold", 1);
    let alone = store.model_digest(cold).unwrap();
    store.switch(&name("side"), &stamp(4)).unwrap();
    let old = write("old", 2);
    assert_eq!(store.facts(old).unwrap(), [(old, fact("old"))]);
    let with = |on_conflict| store.merge(cold, MergeOptions { on_conflict }, Some(&Seeds), &stamp(5), None);
    let Err(CommitError::Conflicts { count: 1, first, conflicts }) = with(OnConflict::Refuse) else {
        panic!("a contradiction was merged")
    };
    assert!(first.contains("The sea is") && first.contains("cold") && first.contains("old"), "{first}");
    assert_eq!((&conflicts[0].ours, &conflicts[0].theirs), (&(old, fact("old")), &(cold, fact("cold"))));
    let picked = |options| store.cherry_pick(cold, options, Some(&Seeds), &stamp(6), None);
    assert!(matches!(picked(MergeOptions::default()), Err(CommitError::Conflicts { .. })));
    assert_eq!(head(&store), old);

    let merged = with(OnConflict::Theirs).unwrap();
    assert_eq!((merged.conflicts.len(), store.model_digest(merged.commit).unwrap()), (1, alone));
    assert_eq!(store.facts(merged.commit).unwrap(), [(cold, fact("cold"))]);
    let diff = store.diff(old, merged.commit).unwrap();
    assert_eq!((diff.added, diff.removed), (vec![(cold, fact("cold"))], vec![(old, fact("old"))]));
    store.undo(&stamp(7)).unwrap();
    let ours = with(OnConflict::Ours).unwrap().commit;
    assert_eq!(store.model_digest(ours).unwrap(), store.model_digest(old).unwrap());
    store.undo(&stamp(8)).unwrap();
    let both = with(OnConflict::Both).unwrap().commit;
    assert_eq!(store.ledger(both).unwrap().entries.len(), 2);
    store.undo(&stamp(9)).unwrap();
    // Picked onto a branch without a ledger, it is that ledger.
    store.undo(&stamp(10)).unwrap();
    let picked = picked(MergeOptions::default()).unwrap();
    assert_eq!(store.model_digest(picked).unwrap(), alone);
    store.revert(picked, Some(&Seeds), &stamp(11), None).unwrap();
    assert_eq!(store.model_digest(head(&store)).unwrap(), store.model_digest(base).unwrap());
}

/// A merge that brought a ledger's facts and a plain edit is taken back as one.
#[test]
fn a_merge_of_ledgers_and_edits_is_taken_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    store.branch(&name("side"), base, false, &stamp(3)).unwrap();
    ledger(&store, &[1]);
    let before = store.model_digest(head(&store)).unwrap();
    store.switch(&name("side"), &stamp(4)).unwrap();
    edit(&store, 1, 5);
    let theirs = ledger(&store, &[3]);
    store.switch(&name("main"), &stamp(6)).unwrap();
    let merged = store.merge(theirs, MergeOptions::default(), Some(&Seeds), &stamp(7), None).unwrap().commit;
    assert_ne!(tensor(&store, merged, 1), tensor(&store, base, 1));
    store.revert(merged, Some(&Seeds), &stamp(8), None).unwrap();
    assert_eq!(store.model_digest(head(&store)).unwrap(), before);
    assert!(store.verify(head(&store), None).unwrap().wrong.is_empty());
}
