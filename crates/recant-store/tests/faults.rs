//! Fault injection: a workload's disk operations are counted, and each one is failed in turn, in three ways.
//! Whatever happens, what was acknowledged is there, the head is the old one or the new one, and fsck is
//! clean.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use common::disk::{Fault, FaultyDisk};
use common::{edit, head, name, patch, rank_one, stamp, write_model};
use recant_core::CommitId;
use recant_store::{Draft, EditKind, GcOptions, Import, MergeOptions, RevError, Store};

fn open(disk: &FaultyDisk) -> Store {
    Store::open_on(Arc::new(disk.clone()), Path::new("store")).unwrap()
}

/// As [`open`], with all small objects gathered after every operation.
fn open_gathering(disk: &FaultyDisk) -> Store {
    open(disk).with_gathering(1)
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A commit, a revert, a merge, an undo and a collection; what was acknowledged goes into `acknowledged`.
fn workload(store: &Store, acknowledged: &mut Vec<CommitId>) -> Outcome {
    let kind = EditKind::Patch(try_patch(store, 0, 5)?);
    acknowledged.push(store.commit_edit(&kind, &Draft::default(), &stamp(20), None)?);
    let newest = *acknowledged.last().unwrap();
    acknowledged.push(store.revert(newest, None, &stamp(21), None)?.commit);
    let side = store.resolve("side")?;
    acknowledged.push(store.merge(side, MergeOptions::default(), None, &stamp(22), None)?.commit);
    store.tag(&name("done"), newest, false, &stamp(23))?;
    store.gc(GcOptions::default(), &stamp(24))?;
    Ok(())
}

/// As [`patch`], without panicking.
fn try_patch(
    store: &Store,
    i: usize,
    seed: u64,
) -> Result<recant_core::WeightPatch, Box<dyn std::error::Error>> {
    let head = store.view()?.head_commit().ok_or("no head")?;
    let base =
        store.odb().manifest(store.odb().commit(head)?.manifest)?.get(&common::path(i)).ok_or("no w")?;
    let delta = recant_core::Delta::Add(rank_one(i, seed));
    Ok(recant_core::WeightPatch::one(common::path(i), recant_core::Change { base, delta }))
}

fn prepared() -> (FaultyDisk, Vec<CommitId>) {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path());
    let disk = FaultyDisk::default();
    let store = Store::init_on(Arc::new(disk.clone()), name("main"), &stamp(1)).unwrap();
    let base = store.import(dir.path(), &Import::default(), &stamp(2), None).unwrap().commit;
    store.branch(&name("side"), base, false, &stamp(3)).unwrap();
    let main = edit(&store, 0, 1);
    store.switch(&name("side"), &stamp(4)).unwrap();
    let side = edit(&store, 0, 2);
    store.switch(&name("main"), &stamp(5)).unwrap();
    (disk.copy(), vec![base, main, side])
}

/// Law 5.
#[test]
fn no_fault_loses_an_acknowledged_commit_or_the_head() {
    faults(open);
}

/// The same while objects are moved into bundles.
#[test]
fn no_fault_loses_anything_while_objects_are_gathered() {
    faults(open_gathering);
}

fn faults(open: fn(&FaultyDisk) -> Store) {
    let (disk, before) = prepared();
    let trial = disk.copy();
    let mut all = Vec::new();
    workload(&open(&trial), &mut all).unwrap();
    let n_operations = trial.count();
    assert!(n_operations > 150 && all.len() == 3, "{n_operations}");
    let mut crashes = 0;
    for at in 1..=n_operations {
        for fault in [Fault::Error, Fault::Short, Fault::Crash] {
            let disk = disk.copy();
            let store = open(&disk);
            // Opening counts too.
            disk.arm(at.saturating_sub(disk.count()).max(1), fault);
            let mut acknowledged = before.clone();
            let failed = workload(&store, &mut acknowledged).is_err();
            drop(store);
            let images = match fault {
                Fault::Crash => {
                    vec![disk.after_crash(at as u64), disk.after_crash(0), disk.after_crash(u64::MAX)]
                }
                // The process goes on, or the machine stops some time later.
                _ => vec![disk.copy(), disk.after_crash(at as u64)],
            };
            crashes += usize::from(failed);
            for image in images {
                let store = open(&image);
                let what = format!("operation {at} of {n_operations}: {fault:?}");
                let fsck = store.fsck().unwrap();
                assert!(fsck.is_clean(), "{what}: {:?}", fsck.problems);
                let tips: Vec<CommitId> = store.view().unwrap().commits().collect();
                let mut history = recant_store::History::new(store.odb());
                let known = history.ancestors(&tips).unwrap();
                for commit in &acknowledged {
                    assert!(
                        known.contains(commit),
                        "{what}: {commit} was acknowledged and is not in the log"
                    );
                }
                let verified = store.verify(head(&store), None).unwrap();
                assert_eq!(verified.wrong, [], "{what}");
                // The store goes on working.
                let draft = Draft { message: "after".to_owned(), ..Draft::default() };
                let kind = EditKind::Patch(patch(&store, 2, rank_one(2, 9)));
                store.commit_edit(&kind, &draft, &stamp(90), None).unwrap();
                let after = store.repair(&stamp(91)).unwrap();
                assert!(after.problems.is_empty(), "{what}: {:?}", after.problems);
            }
        }
    }
    // Faults in best-effort places are survived; most are not.
    assert!(crashes * 3 > n_operations, "{crashes}");
}

/// An import that is cut off leaves the store as it was, and the next attempt works.
#[test]
fn an_interrupted_import_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path());
    let empty = FaultyDisk::default();
    Store::init_on(Arc::new(empty.clone()), name("main"), &stamp(1)).unwrap();
    let trial = empty.copy();
    open(&trial).import(dir.path(), &Import::default(), &stamp(2), None).unwrap();
    for at in 1..=trial.count() {
        for fault in [Fault::Error, Fault::Short, Fault::Crash] {
            let disk = empty.copy();
            let store = open(&disk);
            disk.arm(at, fault);
            let imported = store.import(dir.path(), &Import::default(), &stamp(2), None);
            let image = if fault == Fault::Crash { disk.after_crash(at as u64) } else { disk.copy() };
            let store = open(&image);
            if imported.is_ok() {
                assert!(store.view().unwrap().head_commit().is_some());
                continue;
            }
            assert!(store.fsck().unwrap().is_clean(), "{at} {fault:?}");
            if store.view().unwrap().head_commit().is_none() {
                store.import(dir.path(), &Import::default(), &stamp(2), None).unwrap();
            }
            assert!(store.verify(head(&store), None).unwrap().wrong.is_empty(), "{at} {fault:?}");
        }
    }
}

/// A store is there or is not: FORMAT comes last.
#[test]
fn an_interrupted_init_is_no_store() {
    let trial = FaultyDisk::default();
    Store::init_on(Arc::new(trial.clone()), name("main"), &stamp(1)).unwrap();
    for at in 1..=trial.count() {
        let disk = FaultyDisk::default();
        disk.arm(at, Fault::Crash);
        let made = Store::init_on(Arc::new(disk.clone()), name("main"), &stamp(1));
        let image = disk.after_crash(at as u64);
        match Store::open_on(Arc::new(image), Path::new("store")) {
            Ok(store) => assert!(store.fsck().unwrap().is_clean(), "{at}"),
            Err(error) => {
                assert!(made.is_err() && error.to_string().contains("is not a recant store"), "{at}: {error}")
            }
        }
    }
}

/// A disk that is full, mounted read-only or forbidden, from any write on: the error says what could not be
/// written and why, the head and all objects are as they were, reading goes on, and once there is room the same
/// commands work.
#[test]
fn a_disk_that_takes_no_more_is_named_and_survived() {
    let (disk, before) = prepared();
    let kinds = [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied];
    for kind in kinds {
        let mut writes = 0;
        loop {
            let disk = disk.copy();
            let store = open(&disk);
            disk.refuse(Some((writes, kind)));
            let mut acknowledged = before.clone();
            let outcome = workload(&store, &mut acknowledged);
            let what = format!("{kind:?} after {writes} writes");
            assert!(store.fsck().unwrap().is_clean(), "{what}");
            let tips: Vec<CommitId> = store.view().unwrap().commits().collect();
            let known = recant_store::History::new(store.odb()).ancestors(&tips).unwrap();
            assert!(acknowledged.iter().all(|commit| known.contains(commit)), "{what}");
            assert_eq!(store.verify(head(&store), None).unwrap().wrong, [], "{what}");
            let Err(error) = outcome else { break };
            let text = error.to_string();
            let named =
                text.contains("of the store") && text.contains(&std::io::Error::from(kind).to_string());
            assert!(named, "{what}: {text}");
            // What is left in tmp/ is swept by the next writer.
            disk.refuse(None);
            workload(&store, &mut Vec::new())
                .unwrap_or_else(|error| assert!(error.to_string().contains("already"), "{what}: {error}"));
            assert!(disk.files().iter().all(|path| !path.starts_with("tmp")), "{what}");
            writes += 1;
        }
        assert!(writes > 60, "{writes}");
    }
}

/// As many commits as it takes until two ids begin alike.
#[test]
fn an_ambiguous_prefix_names_two_commits() {
    let (disk, _) = prepared();
    let store = open(&disk);
    let mut seen = std::collections::BTreeMap::new();
    let (one, other) = (0..5000)
        .find_map(|time| {
            let draft = Draft { message: "nothing".to_owned(), ..Draft::default() };
            let id = store.commit_edit(&EditKind::States, &draft, &stamp(time), None).unwrap();
            seen.insert(id.to_string()[..4].to_owned(), id).map(|former| (former, id))
        })
        .unwrap();
    let prefix = &one.to_string()[..4];
    let error = store.resolve(prefix).unwrap_err();
    assert!(matches!(error, RevError::Ambiguous { count: 2, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(prefix) && text.contains(&one.short()) && text.contains(&other.short()), "{text}");
    assert_eq!(store.resolve(&one.to_string()).unwrap(), one);
}

/// Takes everything that leads to the source's head, as a pull does.
fn take(source: &Store, into: &Store) -> Outcome {
    let mut tx = into.begin(&stamp(30))?;
    tx.writer.remember();
    let tip = head(source);
    let mut open = vec![(tip.into(), None)];
    while let Some((id, received)) = open.pop() {
        let mut received = match received {
            Some(received) => received,
            None if tx.writer.has(id)? => continue,
            None => {
                let (len, mut file) = source.odb().outgoing(id)?;
                tx.writer.receive(id, len, &mut file)?
            }
        };
        let wants = tx.writer.wants(&mut received)?;
        if wants.is_empty() {
            tx.writer.accept(received)?;
        } else {
            open.push((id, Some(received)));
            open.extend(wants.into_iter().map(|id| (id, None)));
        }
    }
    tx.view.branches.insert(name("theirs"), tip);
    tx.publish("take")?;
    Ok(())
}

/// What arrives is held in memory and written as one bundle: before it is durable, no name leads to it.
#[test]
fn no_fault_publishes_what_arrived_before_it_is_there() {
    let (from, _) = prepared();
    let source = open(&from);
    let tips: Vec<CommitId> = (10..30).map(|seed| edit(&source, 1, seed)).collect();
    let tip = tips[19];
    let empty = FaultyDisk::default();
    Store::init_on(Arc::new(empty.clone()), name("main"), &stamp(1)).unwrap();
    let trial = empty.copy();
    take(&source, &open(&trial)).unwrap();
    let n_operations = trial.count();
    assert!(trial.files().iter().any(|path| path.starts_with("bundles")), "{n_operations}");
    for at in 1..=n_operations {
        for fault in [Fault::Error, Fault::Short, Fault::Crash] {
            let disk = empty.copy();
            let store = open(&disk);
            disk.arm(at.saturating_sub(disk.count()).max(1), fault);
            let done = take(&source, &store).is_ok();
            drop(store);
            for image in [disk.after_crash(at as u64), disk.after_crash(0), disk.after_crash(u64::MAX)] {
                let store = open(&image);
                let what = format!("operation {at} of {n_operations}: {fault:?}");
                assert!(store.fsck().unwrap().is_clean(), "{what}");
                let came = store.view().unwrap().branches.contains_key(&name("theirs"));
                assert!(came || !done, "{what}: it was acknowledged and is not there");
                // Again, or for the first time, and whole.
                take(&source, &store).unwrap();
                assert_eq!(store.resolve("theirs").unwrap(), tip, "{what}");
                assert!(
                    store.verify(tip, None).unwrap().wrong.is_empty() && store.fsck().unwrap().is_clean(),
                    "{what}"
                );
            }
        }
    }
}
