//! A store written by version 1 of the format is opened by every later one.
//!
//! `fixtures/store-1` was made by the second test here with `RECANT_WRITE_FIXTURE` set to its path; it is never
//! made again for the same version.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};

use common::{base_numbers, edit, name, path, rank_one, stamp, store_in};
use recant_core::{Dtype, HostTensor};
use recant_store::{MergeOptions, SecretKey, Store};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-1")
}

/// A history with every kind of commit.
fn write(dir: &Path) -> Store {
    let (store, base) = store_in(dir);
    store.branch(&name("side"), base, false, &stamp(3)).unwrap();
    let one = edit(&store, 0, 1);
    edit(&store, 0, 2);
    store.switch(&name("side"), &stamp(4)).unwrap();
    let side = edit(&store, 1, 3);
    store.switch(&name("main"), &stamp(5)).unwrap();
    store.merge(side, MergeOptions::default(), None, &stamp(40), None).unwrap();
    let key = SecretKey::from_seed([7; 32]);
    store.revert(one, None, &stamp(41), Some(&key)).unwrap();
    store.tag(&name("v1"), one, false, &stamp(42)).unwrap();
    store
}

#[test]
fn a_store_of_version_1_opens() {
    // On a copy, because a store is opened for writing too.
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("store");
    copy(&fixture(), &at);
    let store = Store::open(&at).unwrap();
    let fsck = store.fsck().unwrap();
    assert!(fsck.problems.is_empty(), "{:?}", fsck.problems);
    let head = store.resolve("HEAD").unwrap();
    assert!(store.verify(head, None).unwrap().wrong.is_empty());
    let base =
        |i: usize| HostTensor::from_f32(Dtype::F32, common::SIDES[i].to_vec(), &base_numbers(i)).unwrap();
    let sum = |i: usize, seed| rank_one(i, seed).added_to(&path(i), &base(i)).unwrap();
    assert_eq!(common::tensor(&store, head, 0), sum(0, 2));
    assert_eq!(common::tensor(&store, head, 1), sum(1, 3));
    assert_eq!(common::tensor(&store, head, 2), base(2));
    assert_eq!(common::tensor(&store, store.resolve("v1").unwrap(), 0), sum(0, 1));
    edit(&store, 2, 9);
}

/// The same history made today has the same ids: the format has not moved.
#[test]
fn the_same_history_has_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let made = write(dir.path());
    if let Some(to) = std::env::var_os("RECANT_WRITE_FIXTURE") {
        copy(&dir.path().join("store"), Path::new(&to));
    }
    let kept = Store::open(&fixture()).unwrap();
    assert_eq!(made.head_operation().unwrap(), kept.head_operation().unwrap());
    assert_eq!(made.odb().ids().unwrap(), kept.odb().ids().unwrap());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}
