//! Folders with more in them than a remote has, by accident or by malice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/mod.rs"]
mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use common::{edit, name, stamp, store_in};
use recant_remote::{RefKind, Remote, RemoteError, Update};
use recant_store::{Store, TransferError};

fn remote(dir: &Path) -> Remote {
    Remote::open(&dir.join("remote").display().to_string(), []).unwrap()
}

/// A file of this length that takes no room.
fn sparse(path: &Path, head: &[u8], len: u64) {
    fs::write(path, head).unwrap();
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[cfg(unix)]
fn fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

fn left_in_tmp(store: &Path) -> usize {
    fs::read_dir(store.join("tmp")).unwrap().count()
}

#[test]
fn what_is_no_name_is_passed_over_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(&dir.path().join("a"));
    remote(dir.path()).push(&store, &[name("main")], false, |_| ()).unwrap();
    let first = store.resolve("main").unwrap();
    let heads = dir.path().join("remote/refs/heads");
    fs::create_dir_all(heads.join("HEAD")).unwrap();
    fs::create_dir_all(heads.join("bad")).unwrap();
    let mut stray = vec![
        ".DS_Store",
        "main/.DS_Store",
        "main/00000000000000001",
        "main/9999999999999999",
        "main/0000000000000005",
        "HEAD/0000000000000000",
        "bad/0000000000000000",
    ];
    stray.iter().for_each(|key| fs::write(heads.join(key), "Bud1").unwrap());
    fs::write(dir.path().join("remote/objects/.DS_Store"), "Bud1").unwrap();
    sparse(&heads.join("main/0000000000000006"), b"", 20 << 30);
    stray.push("main/0000000000000006");
    // What is neither a file nor listed is in the way of the next number.
    #[cfg(unix)]
    fifo(&heads.join("main/0000000000000007"));
    fs::create_dir_all(heads.join("main/0000000000000008")).unwrap();
    let told = |found: &[String]| {
        assert_eq!(found.len(), stray.len(), "{found:?}");
        stray
            .iter()
            .for_each(|key| assert!(found.iter().any(|told| told.ends_with(key)), "{key}: {found:?}"));
    };
    let refs = remote(dir.path()).refs(RefKind::Branch).unwrap();
    told(&refs.stray);
    assert_eq!(
        refs.names.into_iter().map(|(name, at)| (name, at.commit)).collect::<Vec<_>>(),
        [(name("main"), first)]
    );

    // Everything else works.
    let (clone, pulled) = remote(dir.path()).clone_to(&dir.path().join("b"), &stamp(4), |_| ()).unwrap();
    told(&pulled.stray);
    let next = edit(&clone, 0, 1);
    let pushed = remote(dir.path()).push(&clone, &[name("main")], false, |_| ()).unwrap();
    told(&pushed.stray);
    let pulled = remote(dir.path()).pull(&store, &[], &stamp(5), |_| ()).unwrap();
    assert_eq!(pulled.branches, [(name("main"), next, Update::Forward(first))]);

    // A branch that nobody can read can be pushed anew.
    store.branch(&name("bad"), next, false, &stamp(6)).unwrap();
    remote(dir.path()).push(&store, &[name("bad")], false, |_| ()).unwrap();
    assert_eq!(remote(dir.path()).refs(RefKind::Branch).unwrap().names[&name("bad")].commit, next);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_name_is_no_text_is_passed_over() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(&dir.path().join("a"));
    remote(dir.path()).push(&store, &[name("main")], false, |_| ()).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    fs::write(dir.path().join("remote/refs/heads").join(odd), "").unwrap();
    let refs = remote(dir.path()).refs(RefKind::Branch).unwrap();
    assert_eq!((refs.names.len(), refs.stray.len()), (1, 1), "{:?}", refs.stray);
}

#[test]
fn what_belongs_to_a_remote_is_a_small_plain_file() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(&dir.path().join("a"));
    remote(dir.path()).push(&store, &[name("main")], false, |_| ()).unwrap();
    let format = dir.path().join("remote/FORMAT");
    sparse(&format, b"recant remote 1\n", 20 << 30);
    let error = remote(dir.path()).pull(&store, &[], &stamp(4), |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge { len, .. } if len == 20 << 30), "{error}");
    #[cfg(unix)]
    {
        fs::remove_file(&format).unwrap();
        fifo(&format);
        let error = remote(dir.path()).pull(&store, &[], &stamp(5), |_| ()).unwrap_err();
        assert!(matches!(error, RemoteError::NotAFile { .. }), "{error}");
    }
}

/// The file of the clone's large tensor is replaced by one that cannot be it.
#[test]
fn an_object_is_bounded_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(&dir.path().join("a"));
    remote(dir.path()).push(&store, &[name("main")], false, |_| ()).unwrap();
    let id = common::tensor(&store, base, 2).id().to_string();
    let file = dir.path().join("remote/objects").join(&id[..2]).join(&id[2..]);
    let good = fs::read(&file).unwrap();
    let plain = |magic: &str| [b"RCNTOBJ1\0", magic.as_bytes()].concat();
    let cases = [
        (Vec::new(), "object file"),
        (plain(""), "begins like no object"),
        (plain("RCNTPAT1"), "too many for a patch"),
        (good[..200].to_vec(), "not what a tensor"),
        (b"RCNTOBJ1\x01\0\0\0\0\0\0\0\x01\x01\x08\0\0\0\0\0\0\0".to_vec(), "packed bytes"),
        (b"RCNTOBJ1\x03".to_vec(), "too many for its form"),
    ];
    let to = dir.path().join("b");
    for (head, reason) in cases {
        sparse(&file, &head, 20 << 30);
        let mut fetched = 0;
        let error = remote(dir.path()).clone_to(&to, &stamp(4), |got| fetched = got.bytes).unwrap_err();
        assert!(matches!(&error, RemoteError::Transfer(TransferError::Refused { .. })), "{error}");
        let told = error.to_string();
        assert!(told.contains(&id) && (told.contains(reason) || head.is_empty()), "{reason}: {told}");
        assert!(fetched < 1 << 20);
        assert_eq!(left_in_tmp(&to), 0, "{reason}");
    }
    // A tensor's head and what it needs, with one byte changed: found after all of it came, and swept.
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&file, bad).unwrap();
    let error = remote(dir.path()).clone_to(&to, &stamp(4), |_| ()).unwrap_err();
    assert!(error.to_string().contains(&id), "{error}");
    assert_eq!(left_in_tmp(&to), 0);
    #[cfg(unix)]
    {
        fs::remove_file(&file).unwrap();
        fifo(&file);
        let error = remote(dir.path()).clone_to(&to, &stamp(4), |_| ()).unwrap_err();
        assert!(matches!(error, RemoteError::NotAFile { .. }), "{error}");
        fs::remove_file(&file).unwrap();
    }

    // Each of these clones went on with what the one before it left, and so does the last.
    fs::write(&file, good).unwrap();
    let (clone, _) = remote(dir.path()).clone_to(&to, &stamp(5), |_| ()).unwrap();
    assert_eq!(clone.resolve("main").unwrap(), base);
    assert!(clone.fsck().unwrap().is_clean());
    let error = remote(dir.path()).clone_to(&to, &stamp(6), |_| ()).unwrap_err();
    assert!(error.to_string().contains("already holds something"), "{error}");
}

#[test]
fn a_clone_of_nothing_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let error = remote(dir.path()).clone_to(&dir.path().join("b"), &stamp(1), |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Nothing { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// At every point of it, an interrupted `init` is repeated, and so is a clone whose `init` was.
#[test]
fn a_store_that_was_not_finished_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(&dir.path().join("a"));
    remote(dir.path()).push(&store, &[name("main")], false, |_| ()).unwrap();
    let begun: [&[&str]; 4] =
        [&[], &["lock"], &["lock", "tmp/12-head"], &["lock", "tmp/12-head", "objects/ab/cd", "head"]];
    let left = |at: &PathBuf, files: &[&str]| {
        for file in files.iter().map(|file| at.join(file)) {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
    };
    for (i, files) in begun.iter().enumerate() {
        let at = dir.path().join(format!("init{i}"));
        left(&at, files);
        if !files.is_empty() {
            // Without the marker it may be anybody's.
            let error = Store::init(&at, name("main"), &stamp(1)).unwrap_err();
            assert!(error.to_string().contains("already holds something"), "{error}");
        }
        left(&at, &["UNFINISHED", "mine"]);
        assert!(Store::init(&at, name("main"), &stamp(1)).is_err());
        assert!(!at.join("FORMAT").exists());
        fs::remove_file(at.join("mine")).unwrap();
        let (clone, _) = remote(dir.path()).clone_to(&at, &stamp(2), |_| ()).unwrap();
        assert_eq!(clone.resolve("main").unwrap(), base);
        assert!(!at.join("UNFINISHED").exists());
        assert_eq!(left_in_tmp(&at), 0);
    }
}
