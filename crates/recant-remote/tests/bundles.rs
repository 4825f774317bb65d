//! Many small objects travel in bundles.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/mod.rs"]
mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use common::{edit, name, stamp, store_in};
use recant_core::CommitId;
use recant_remote::{Remote, RemoteError};
use recant_store::Store;

fn remote(dir: &Path) -> Remote {
    Remote::open(&dir.join("remote").display().to_string(), []).unwrap()
}

fn files(at: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(at) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A store with so many commits on main, and its newest one.
fn long(dir: &Path, n_edits: u64) -> (Store, CommitId) {
    let (store, _) = store_in(&dir.join("a"));
    let tips: Vec<CommitId> = (0..n_edits).map(|seed| edit(&store, (seed % 2) as usize, seed)).collect();
    (store, *tips.last().unwrap())
}

fn push(dir: &Path, store: &Store) -> u64 {
    remote(dir).push(store, &[name("main")], false, |_| ()).unwrap().sent.objects
}

#[test]
fn a_history_is_a_few_files_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (store, tip) = long(dir, 40);
    let n_objects = push(dir, &store);
    assert!(n_objects > 160, "{n_objects}");
    assert_eq!(files(&dir.join("remote/bundles")).len(), 1);
    // The large tensor alone.
    assert_eq!(files(&dir.join("remote/objects")).len(), 1);
    assert_eq!(fs::read_to_string(dir.join("remote/FORMAT")).unwrap(), "recant remote 2\n");

    let (clone, pulled) = remote(dir).clone_to(&dir.join("b"), &stamp(4), |_| ()).unwrap();
    assert_eq!(pulled.fetched.objects, n_objects);
    assert!(files(&dir.join("b")).len() < 12, "{:?}", files(&dir.join("b")));
    assert_eq!(files(&dir.join("b/tmp")).len(), 0);
    assert_eq!(clone.resolve("main").unwrap(), tip);
    assert!(clone.verify(tip, None).unwrap().wrong.is_empty());
    assert!(clone.fsck().unwrap().is_clean());

    // A few more go alone, many more in a bundle of their own; nothing goes twice.
    edit(&store, 0, 100);
    assert!(push(dir, &store) < 10);
    assert_eq!(files(&dir.join("remote/bundles")).len(), 1);
    (101..140).for_each(|seed| _ = edit(&store, 0, seed));
    let n_more = push(dir, &store);
    assert_eq!(files(&dir.join("remote/bundles")).len(), 2);
    assert_eq!(push(dir, &store), 0);
    let pulled = remote(dir).pull(&clone, &[], &stamp(5), |_| ()).unwrap();
    assert!(pulled.fetched.objects >= n_more && pulled.fetched.objects < n_more + 10);
    assert_eq!(clone.resolve("main").unwrap(), store.resolve("main").unwrap());
    assert!(clone.fsck().unwrap().is_clean());
}

/// Of a bundle of which little is lacking, that is read and no more.
#[test]
fn what_is_here_is_not_fetched_with_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    let (store, _) = long(dir.path(), 40);
    push(&here, &store);
    let (clone, _) = remote(&here).clone_to(&dir.path().join("b"), &stamp(4), |_| ()).unwrap();
    edit(&store, 0, 100);
    push(&there, &store);
    // Only the records of the lacking objects are whole in the remote's bundle.
    let mut lacking = 0;
    let pulled = remote(&there).pull(&clone, &[], &stamp(5), |got| lacking = got.objects).unwrap();
    assert!(lacking < 10 && pulled.fetched.bytes < 1 << 14, "{:?}", pulled.fetched);
    assert_eq!(clone.resolve("main").unwrap(), store.resolve("main").unwrap());
}

/// What is wrong with a bundle is an error or passed over and told, and leaves the clone able to go on.
#[test]
fn a_hostile_bundle_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (store, tip) = long(dir, 40);
    push(dir, &store);
    let file = files(&dir.join("remote/bundles")).remove(0);
    let good = fs::read(&file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let flipped = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad
    };
    let cases: [(&str, Vec<u8>); 6] = [
        // The last byte of the first record's file: what came has another digest.
        ("tampered", flipped(8 + 40 + good[40] as usize - 1)),
        // The index: no bundle.
        ("lacks object", flipped(good.len() - 60)),
        ("lacks object", good[..good.len() - 1].to_vec()),
        ("lacks object", Vec::new()),
        ("lacks object", b"RCNTBND1".to_vec()),
        ("lacks object", good[8..].to_vec()),
    ];
    let to = dir.join("b");
    for (reason, bytes) in cases {
        fs::write(&file, bytes).unwrap();
        let error = remote(dir).clone_to(&to, &stamp(4), |_| ()).unwrap_err();
        assert!(error.to_string().contains(reason), "{reason}: {error}");
        assert_eq!(files(&to.join("tmp")).len(), 0, "{reason}");
        assert_eq!(Store::open(&to).unwrap().view().unwrap().head_commit(), None);
    }
    // One that no pusher makes is not read, however it ends.
    fs::write(&file, &good).unwrap();
    let grown = File::options().write(true).open(&file).unwrap();
    grown.set_len(20 << 30).unwrap();
    let error = remote(dir).clone_to(&to, &stamp(4), |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Missing { .. }), "{error}");
    #[cfg(unix)]
    {
        fs::remove_file(&file).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        let error = remote(dir).clone_to(&to, &stamp(4), |_| ()).unwrap_err();
        assert!(matches!(error, RemoteError::Missing { .. }), "{error}");
        fs::remove_file(&file).unwrap();
    }
    fs::write(&file, &good).unwrap();
    // Stray files beside it are told.
    fs::write(dir.join("remote/bundles/.DS_Store"), "Bud1").unwrap();
    let (clone, pulled) = remote(dir).clone_to(&to, &stamp(5), |_| ()).unwrap();
    assert!(pulled.stray.iter().any(|key| key.ends_with(".DS_Store")) && !pulled.stray.contains(&name));
    assert_eq!(clone.resolve("main").unwrap(), tip);
    assert!(clone.fsck().unwrap().is_clean());
}
