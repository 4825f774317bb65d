//! Small object files gathered in bundles, and what a long history costs, in operations on the disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::disk::FaultyDisk;
use common::{edit, head, name, stamp, store_in, tensor, write_model};
use recant_core::{CommitId, ObjectId};
use recant_store::object::{FactRecord, Record};
use recant_store::{Damage, Draft, EditKind, GcOptions, History, Import, Problem, ReadError, Store};

fn bundles(at: &Path) -> Vec<PathBuf> {
    match std::fs::read_dir(at.join("bundles")) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    }
}

fn alone(at: &Path) -> usize {
    let shards = std::fs::read_dir(at.join("objects")).unwrap();
    shards.map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count()).sum()
}

fn format(at: &Path) -> String {
    std::fs::read_to_string(at.join("FORMAT")).unwrap()
}

/// Commits gather, collections gather what is kept, and everything reads as before.
#[test]
fn commits_and_collections_gather_small_objects() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    let at = dir.path().join("store");
    let commits: Vec<CommitId> = (0..6).map(|seed| edit(&store, 0, seed)).collect();
    assert_eq!((bundles(&at).len(), format(&at).as_str()), (0, "recant store 1\n"));
    let (ids, before) = (store.odb().ids().unwrap(), tensor(&store, commits[5], 0));
    let gathering = Store::open(&at).unwrap().with_gathering(10);
    let last = edit(&gathering, 1, 7);
    assert_eq!((bundles(&at).len(), alone(&at), format(&at).as_str()), (1, 0, "recant store 2\n"));
    let store = Store::open(&at).unwrap();
    assert!(ids.iter().all(|&id| store.odb().contains(id).unwrap()));
    assert_eq!(tensor(&store, commits[5], 0), before);
    assert_eq!(store.resolve(&last.to_string()[..12]).unwrap(), last);
    assert!(store.fsck().unwrap().problems.is_empty());
    assert!(store.verify(last, None).unwrap().wrong.is_empty());
    // A small bundle goes into the next one; garbage goes with a collection.
    for seed in 8..11 {
        edit(&gathering, 2, seed);
    }
    assert!(bundles(&at).len() <= 2);
    for _ in 0..3 {
        store.undo(&stamp(50)).unwrap();
    }
    let gone = gathering.gc(GcOptions { forget: true, dry_run: false }, &stamp(60)).unwrap();
    assert!(gone.removed.len() > 20, "{}", gone.removed.len());
    let store = Store::open(&at).unwrap();
    assert_eq!(store.odb().ids().unwrap().len(), gone.kept);
    assert_eq!((bundles(&at).len(), head(&store)), (1, last));
    assert!(gone.removed.iter().all(|&id| !store.odb().contains(id).unwrap()));
    assert!(store.fsck().unwrap().problems.is_empty());
    assert_eq!(tensor(&store, base, 2), tensor(&store, last, 2));
}

/// What was collected is written again by the next edit that needs it, whoever collected it: a handle has bundles
/// open that are gone, and can read them still.
#[test]
fn what_was_collected_is_not_taken_to_be_there() {
    for by_another_process in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("store");
        let (store, _) = store_in(dir.path());
        let store = store.with_gathering(1);
        let first = edit(&store, 0, 1);
        let before = tensor(&store, first, 0);
        let collector = match by_another_process {
            true => Store::open(&at).unwrap().with_gathering(1),
            false => store.clone(),
        };
        collector.undo(&stamp(50)).unwrap();
        let gone = collector.gc(GcOptions { forget: true, dry_run: false }, &stamp(60)).unwrap();
        assert!(gone.removed.contains(&first.into()));
        // The same tensors and the same manifest as in the commit that was undone.
        let again = edit(&store, 0, 1);
        let fresh = Store::open(&at).unwrap();
        assert_eq!(tensor(&fresh, again, 0), before, "by another process: {by_another_process}");
        assert!(fresh.fsck().unwrap().problems.is_empty());
    }
}

/// What a dead process with this one's number left is in nobody's way.
#[test]
fn a_collection_sweeps_before_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(dir.path());
    let commit = edit(&store, 0, 1);
    let tmp = dir.path().join("store/tmp");
    for name in ["0-1", "live", "FORMAT"] {
        std::fs::write(tmp.join(format!("{}-{name}", std::process::id())), "left").unwrap();
    }
    store.with_gathering(1).gc(GcOptions::default(), &stamp(9)).unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    assert_eq!((alone(&dir.path().join("store")), head(&store)), (0, commit));
    assert!(store.fsck().unwrap().problems.is_empty());
}

/// A handle that looked before the objects moved, and while bundles go into others, finds everything.
#[test]
fn a_reader_from_before_finds_what_was_gathered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(dir.path());
    let at = dir.path().join("store");
    let reader = Store::open(&at).unwrap();
    let gathering = store.with_gathering(5);
    for seed in 0..12 {
        let commit = edit(&gathering, 0, seed);
        assert_eq!(tensor(&reader, commit, 0), tensor(&gathering, commit, 0));
        assert_eq!(head(&reader), commit);
        let missing = ObjectId::from_bytes([seed as u8; 32]);
        assert!(matches!(reader.odb().load(missing), Err(ReadError::Object { source: Damage::Missing, .. })));
    }
    assert!(!bundles(&at).is_empty());
}

/// Whatever is wrong with a bundle is told; a repair takes out of it what is whole, and sets it aside.
#[test]
fn damaged_bundles_are_told_and_taken_apart() {
    for what in ["a record", "the index", "the trailer", "the end"] {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = store_in(dir.path());
        let at = dir.path().join("store");
        let commit = edit(&store.with_gathering(1), 0, 1);
        let store = Store::open(&at).unwrap();
        let before = tensor(&store, commit, 0);
        let [file] = &bundles(&at)[..] else { panic!("one bundle") };
        let mut bytes = std::fs::read(file).unwrap();
        let len = bytes.len();
        // Of a record: the author of an operation or a commit, which anything else can be made without.
        let author = bytes.windows(4).position(|window| window == b"Ada ").unwrap();
        match what {
            "a record" => bytes[author] ^= 1,
            "the index" => bytes[len - 60] ^= 1,
            "the trailer" => bytes[len - 40] ^= 1,
            _ => bytes.truncate(len - 100),
        }
        std::fs::write(file, bytes).unwrap();
        let store = Store::open(&at).unwrap();
        let found = store.fsck().unwrap();
        assert!(
            found.problems.iter().any(|p| matches!(p, Problem::Bundle { .. })),
            "{what}: {:?}",
            found.problems
        );
        let mended = store.repair(&stamp(9)).unwrap();
        assert!(
            mended.repaired.iter().any(|line| line.contains("out of bundle")),
            "{what}: {:?}",
            mended.repaired
        );
        assert!(bundles(&at).is_empty(), "{what}");
        assert_eq!(
            std::fs::read_dir(at.join("quarantine")).unwrap().count(),
            1 + usize::from(what == "a record")
        );
        if what != "a record" {
            assert!(mended.problems.is_empty(), "{what}: {:?}", mended.problems);
            assert_eq!(tensor(&store, commit, 0), before, "{what}");
        }
    }
}

/// A folder's other files are no bundles.
#[test]
fn strays_among_bundles_are_told_and_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(dir.path());
    let at = dir.path().join("store");
    let commit = edit(&store.with_gathering(1), 0, 1);
    std::fs::write(at.join("bundles/.DS_Store"), "stray").unwrap();
    let store = Store::open(&at).unwrap();
    tensor(&store, commit, 0);
    assert!(matches!(&store.fsck().unwrap().problems[..], [Problem::Stray { .. }]));
    assert!(store.repair(&stamp(9)).unwrap().problems.is_empty());
    assert!(at.join("quarantine/bundles-.DS_Store").exists());
}

/// A history of so many edits, each with a fact, on a disk that counts.
fn long(n_edits: u64, gather: usize) -> (FaultyDisk, Store, Vec<CommitId>) {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path());
    let disk = FaultyDisk::default();
    let store =
        Store::init_on(Arc::new(disk.clone()), name("main"), &stamp(1)).unwrap().with_gathering(gather);
    store.import(dir.path(), &Import::default(), &stamp(2), None).unwrap();
    let commits = (0..n_edits).map(|seed| {
        let subject = format!("S{seed}");
        let fact = FactRecord { subject, prompt: "{} is".to_owned(), target: "x".to_owned() };
        let record = Record { facts: vec![fact], ..Record::default() };
        let draft = Draft { record, ..Draft::default() };
        let kind = EditKind::Patch(common::patch(&store, 0, common::rank_one(0, seed)));
        store.commit_edit(&kind, &draft, &stamp(3), None).unwrap()
    });
    let commits = commits.collect();
    (disk, store, commits)
}

/// Operations on the disk that a reading takes, on a handle of its own.
fn cost(disk: &FaultyDisk, read: impl FnOnce(&Store)) -> usize {
    let store = Store::open_on(Arc::new(disk.clone()), Path::new("store")).unwrap();
    let before = disk.count();
    read(&store);
    disk.count() - before
}

#[test]
fn the_newest_commits_are_read_without_the_others() {
    let costs = [10, 60].map(|n_edits| {
        let (disk, ..) = long(n_edits, usize::MAX);
        cost(&disk, |store| {
            let mut history = History::new(store.odb());
            assert_eq!(history.walk(&[head(store)]).unwrap().take(2).count(), 2);
        })
    });
    assert_eq!(costs[0], costs[1]);
    let (disk, store, commits) = long(20, usize::MAX);
    let all: Vec<CommitId> = History::new(store.odb()).ancestors(&[head(&store)]).unwrap();
    assert_eq!(all.iter().rev().skip(1).copied().collect::<Vec<_>>(), commits);
    let operations = cost(&disk, |store| assert_eq!(store.walk_operations().unwrap().take(2).count(), 2));
    assert!(operations <= 4, "{operations}");
}

#[test]
fn status_counts_on_from_what_is_known() {
    let costs = [40, 120].map(|n_edits| {
        let (disk, store, commits) = long(n_edits, 20);
        let counts = store.counts(head(&store)).unwrap();
        assert_eq!((counts.edits, counts.facts), (commits.len(), commits.len()));
        assert_eq!(store.facts(head(&store)).unwrap().len(), commits.len());
        let older = store.counts(commits[2]).unwrap();
        assert_eq!((older.edits, older.facts), (3, 3), "behind the snapshot");
        cost(&disk, |store| {
            store.counts(head(store)).unwrap();
        })
    });
    assert!(costs.iter().all(|&cost| cost < 40), "{costs:?}");
    // A snapshot that lies is told, and gone after a repair; one that is damaged is not used.
    let (disk, store, commits) = long(40, 20);
    store.revert(commits[3], None, &stamp(5), None).unwrap();
    assert_eq!(store.counts(head(&store)).unwrap().edits, 39);
    assert!(store.fsck().unwrap().problems.is_empty());
    disk.overwrite(Path::new("live"), b"RCNTLIV1 nonsense".to_vec());
    assert_eq!(store.counts(head(&store)).unwrap().edits, 39);
    assert!(matches!(&store.fsck().unwrap().problems[..], [Problem::Live { .. }]));
    assert!(store.repair(&stamp(6)).unwrap().problems.is_empty());
}

/// Checking, collecting and taking the oldest edit back read each object a few times, however long the lines of
/// derived objects are.
#[test]
fn long_lines_are_read_once() {
    let costs = [30, 60].map(|n_edits| {
        let (disk, _, commits) = long(n_edits, usize::MAX);
        let fsck = cost(&disk, |store| assert!(store.fsck().unwrap().problems.is_empty()));
        let forget = GcOptions { forget: true, dry_run: true };
        let gc = cost(&disk, |store| {
            store.gc(forget, &stamp(9)).unwrap();
        });
        let revert = cost(&disk, |store| {
            store.revert(commits[0], None, &stamp(9), None).unwrap();
        });
        [fsck, gc, revert]
    });
    for (what, (short, long)) in ["fsck", "gc", "revert"].into_iter().zip(costs[0].into_iter().zip(costs[1]))
    {
        assert!(long * 10 < short * 23, "{what}: {short} operations for 30 edits, {long} for 60");
    }
}
