//! Push, pull and clone through a folder.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/mod.rs"]
mod common;

use std::path::Path;

use common::{edit, everything, name, stamp, store_in};
use recant_remote::{Remote, RemoteError, Update};
use recant_store::{MergeOptions, Store};

fn remote(dir: &Path) -> Remote {
    Remote::open(&dir.join("remote").display().to_string(), []).unwrap()
}

#[test]
fn stores_meet_through_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    everything(&remote(dir.path()), dir.path());
}

/// Many pushers of commits of their own: exactly one wins each round, and none is lost.
#[test]
fn two_pushers_never_lose_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(&dir.path().join("a"));
    remote(dir.path()).push(&store, &[name("main")], false, |_| ()).unwrap();
    let threads: Vec<_> = (0..4u64)
        .map(|i| {
            let dir = dir.path().to_owned();
            std::thread::spawn(move || {
                let remote = remote(&dir);
                let (store, _) = remote.clone_to(&dir.join(format!("s{i}")), &stamp(5), |_| ()).unwrap();
                let mut pushed = Vec::new();
                for round in 0..3 {
                    pushed.push(edit(&store, 0, 10 * i + round));
                    loop {
                        match remote.push(&store, &[name("main")], false, |_| ()) {
                            Ok(_) => break,
                            Err(RemoteError::NotAhead { .. } | RemoteError::Raced { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                        let pulled = remote.pull(&store, &[name("main")], &stamp(6), |_| ()).unwrap();
                        if let Update::Apart(beside) = &pulled.branches[0].2 {
                            let theirs = store.resolve(beside.as_str()).unwrap();
                            store.merge(theirs, MergeOptions::default(), None, &stamp(7), None).unwrap();
                        }
                    }
                }
                pushed
            })
        })
        .collect();
    let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let (whole, _) = remote(dir.path()).clone_to(&dir.path().join("whole"), &stamp(8), |_| ()).unwrap();
    let tip = whole.resolve("main").unwrap();
    let known = recant_store::History::new(whole.odb()).ancestors(&[tip]).unwrap();
    assert_eq!(all.len(), 12);
    assert!(all.iter().all(|id| known.contains(id)));
    assert!(whole.verify(tip, None).unwrap().wrong.is_empty());
    assert!(whole.fsck().unwrap().is_clean());
}

#[test]
fn what_arrives_tampered_is_refused_and_a_cut_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(&dir.path().join("a"));
    edit(&store, 0, 1);
    remote(dir.path()).push(&store, &[name("main")], false, |_| ()).unwrap();
    let id = common::tensor(&store, base, 1).id().to_string();
    let file = dir.path().join("remote/objects").join(&id[..2]).join(&id[2..]);
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bad).unwrap();
    let to = dir.path().join("b");
    let error = remote(dir.path()).clone_to(&to, &stamp(5), |_| ()).unwrap_err();
    assert!(error.to_string().contains(&id) && error.to_string().contains("tampered"), "{error}");
    std::fs::remove_file(&file).unwrap();
    let half = Store::open(&to).unwrap();
    let error = remote(dir.path()).pull(&half, &[], &stamp(6), |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Missing { .. }), "{error}");
    assert_eq!(half.view().unwrap().head_commit(), None);
    let n_objects = half.odb().ids().unwrap().len();
    std::fs::write(&file, good).unwrap();
    let pulled = remote(dir.path()).pull(&half, &[], &stamp(7), |_| ()).unwrap();
    assert!((pulled.fetched.objects as usize) < store.odb().ids().unwrap().len() && n_objects > 1);
    assert!(half.fsck().unwrap().is_clean());
    assert_eq!(half.resolve("main").unwrap(), store.resolve("main").unwrap());
}

#[test]
fn bad_places_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(&dir.path().join("a"));
    let error = remote(dir.path()).clone_to(&dir.path().join("b"), &stamp(1), |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Nothing { .. }), "{error}");
    let error = remote(dir.path()).push(&store, &[name("nowhere")], false, |_| ()).unwrap_err();
    assert!(error.to_string().contains("no branch nowhere"), "{error}");
    assert!(matches!(Remote::open("nonsense://x/y", []), Err(RemoteError::Url { .. })));
    let wants = Remote::open("gs://bucket/x", []).err();
    assert!(matches!(wants, Some(RemoteError::Feature { feature: "gcs", .. })) || cfg!(feature = "gcs"));
    std::fs::write(dir.path().join("remote/FORMAT"), "recant remote 7\n").unwrap();
    let error = remote(dir.path()).pull(&store, &[], &stamp(2), |_| ()).unwrap_err();
    assert!(error.to_string().contains("recant remote 7"), "{error}");
}
