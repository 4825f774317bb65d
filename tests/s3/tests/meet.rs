//! Push, pull and clone through a server that speaks the S3 protocol.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../../crates/recant-remote/tests/common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{edit, everything, name, stamp, store_in, tensor};
use recant_core::CommitId;
use recant_remote::{Remote, RemoteError, Update};
use recant_s3_test::{BUCKET, Fault, Op, Server};
use recant_store::{CheckoutOptions, History, MergeOptions, Store};

fn remote(server: &Server) -> Remote {
    Remote::open(&format!("s3://{BUCKET}/team/gpt2"), server.environment()).unwrap()
}

fn push(server: &Server, store: &Store) -> Result<(), RemoteError> {
    remote(server).push(store, &[name("main")], false, |_| ()).map(|_| ())
}

fn weights(store: &Store, commit: CommitId, out: &Path) -> Vec<u8> {
    store.checkout(commit, out, CheckoutOptions::default()).unwrap();
    std::fs::read(out.join("model.safetensors")).unwrap()
}

/// Keys that were written, without the refs and the format.
fn objects_written(log: &[(Op, String)]) -> Vec<&str> {
    let done = log.iter().filter(|(op, _)| matches!(op, Op::Put | Op::Complete));
    done.map(|(_, key)| key.as_str()).filter(|key| key.contains("/objects/")).collect()
}

#[test]
fn stores_meet_through_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(0).unwrap();
    everything(&remote(&server), dir.path());
    // The large tensor came in parts, and no upload was left open.
    let log = server.bucket.take_log();
    assert!(log.iter().filter(|(op, _)| *op == Op::Part).count() > 1);
    assert_eq!(server.bucket.open_uploads(), 0);
}

#[test]
fn a_round_trip_gives_the_same_bytes_and_moves_only_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(0).unwrap();
    let (a, base) = store_in(&dir.path().join("a"));
    let tip = edit(&a, 0, 1);
    push(&server, &a).unwrap();
    let sent = server.bucket.take_log();
    let first = objects_written(&sent);
    // Each object once, and no more of them than the branch leads to.
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len());
    assert_eq!(first.len(), a.odb().reachable([tip.into()]).unwrap().len());

    let (b, pulled) = remote(&server).clone_to(&dir.path().join("b"), &stamp(4), |_| ()).unwrap();
    let log = server.bucket.take_log();
    assert!(log.iter().all(|(op, _)| matches!(op, Op::Get | Op::List)), "{log:?}");
    let got: Vec<_> = log.iter().filter(|(op, key)| *op == Op::Get && key.contains("/objects/")).collect();
    assert_eq!((got.len() as u64, got.len()), (pulled.fetched.objects, first.len()));
    for (i, commit) in [base, tip].into_iter().enumerate() {
        let at = |side: &str| dir.path().join(format!("{side}-out-{i}"));
        assert!(weights(&a, commit, &at("a")) == weights(&b, commit, &at("b")));
    }
    assert!(b.fsck().unwrap().is_clean() && b.verify(tip, None).unwrap().wrong.is_empty());

    // Nothing to do costs no object, and one edit costs the objects of one edit.
    push(&server, &b).unwrap();
    assert!(server.bucket.take_log().iter().all(|(op, key)| !op.writes() || key.ends_with("/FORMAT")));
    let new = edit(&a, 1, 2);
    let before: BTreeSet<_> = a.odb().reachable([tip.into()]).unwrap().into_iter().collect();
    let after: BTreeSet<_> = a.odb().reachable([new.into()]).unwrap().into_iter().collect();
    push(&server, &a).unwrap();
    let log = server.bucket.take_log();
    assert_eq!(objects_written(&log).len(), after.difference(&before).count());
    let pulled = remote(&server).pull(&b, &[], &stamp(5), |_| ()).unwrap();
    assert_eq!(pulled.fetched.objects as usize, after.difference(&before).count());
    assert_eq!(pulled.branches, [(name("main"), new, Update::Forward(tip))]);
    assert!(b.fsck().unwrap().is_clean());
}

/// The other pusher comes between this one's look at the branch and its move.
#[test]
fn who_moves_a_branch_second_is_refused_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(0).unwrap();
    let (a, _) = store_in(&dir.path().join("a"));
    push(&server, &a).unwrap();
    let (b, _) = remote(&server).clone_to(&dir.path().join("b"), &stamp(4), |_| ()).unwrap();
    let (ours, theirs) = (edit(&a, 0, 1), edit(&b, 0, 2));
    let mut other = Some(&b);
    let raced = remote(&server).push(&a, &[name("main")], false, |_| {
        if let Some(b) = other.take() {
            push(&server, b).unwrap();
        }
    });
    let raced = raced.unwrap_err();
    assert!(matches!(&raced, RemoteError::Raced { name } if name.as_str() == "main"), "{raced}");
    assert!(raced.to_string().contains("pull and push again"), "{raced}");
    // The branch stands on theirs, and number 1 was never overwritten.
    let (c, _) = remote(&server).clone_to(&dir.path().join("c"), &stamp(5), |_| ()).unwrap();
    assert_eq!(c.resolve("main").unwrap(), theirs);

    let refused = push(&server, &a).unwrap_err();
    assert!(matches!(refused, RemoteError::NotAhead { .. }), "{refused}");
    let pulled = remote(&server).pull(&a, &[name("main")], &stamp(6), |_| ()).unwrap();
    assert_eq!(pulled.branches[0].2, Update::Apart(name("main@remote")));
    let merged = a.merge(theirs, MergeOptions::default(), None, &stamp(7), None).unwrap().commit;
    push(&server, &a).unwrap();
    remote(&server).pull(&c, &[], &stamp(8), |_| ()).unwrap();
    assert_eq!(c.resolve("main").unwrap(), merged);
    let known = History::new(c.odb()).ancestors(&[merged]).unwrap();
    assert!(known.contains(&ours) && known.contains(&theirs));
    assert!(a.fsck().unwrap().is_clean() && c.fsck().unwrap().is_clean());
}

/// Many at once, from threads.
#[test]
fn pushers_at_once_lose_no_commit() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(0).unwrap();
    let (a, _) = store_in(&dir.path().join("a"));
    push(&server, &a).unwrap();
    let all: Vec<CommitId> = std::thread::scope(|scope| {
        let work = |i: u64| {
            let (server, dir) = (&server, dir.path());
            move || {
                let at = dir.join(format!("s{i}"));
                let (store, _) = remote(server).clone_to(&at, &stamp(5), |_| ()).unwrap();
                let mine = edit(&store, 0, 10 * i);
                loop {
                    match push(server, &store) {
                        Ok(()) => return mine,
                        Err(RemoteError::NotAhead { .. } | RemoteError::Raced { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    let pulled = remote(server).pull(&store, &[name("main")], &stamp(6), |_| ()).unwrap();
                    if let Update::Apart(beside) = &pulled.branches[0].2 {
                        let theirs = store.resolve(beside.as_str()).unwrap();
                        store.merge(theirs, MergeOptions::default(), None, &stamp(7), None).unwrap();
                    }
                }
            }
        };
        let threads: Vec<_> = (0..3).map(|i| scope.spawn(work(i))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (whole, _) = remote(&server).clone_to(&dir.path().join("whole"), &stamp(8), |_| ()).unwrap();
    let tip = whole.resolve("main").unwrap();
    let known = History::new(whole.odb()).ancestors(&[tip]).unwrap();
    assert!(all.iter().all(|id| known.contains(id)));
    assert!(whole.fsck().unwrap().is_clean() && whole.verify(tip, None).unwrap().wrong.is_empty());
}

/// Every write in turn is the first that fails: refused, or done with its answer lost. The next push goes on,
/// and what arrived is not sent again.
#[test]
fn an_upload_cut_anywhere_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (a, _) = store_in(&dir.path().join("a"));
    let tip = edit(&a, 0, 1);
    let counted = Server::start(0).unwrap();
    push(&counted, &a).unwrap();
    let n_writes = counted.bucket.take_log().iter().filter(|(op, _)| op.writes()).count();
    let n_objects = a.odb().reachable([tip.into()]).unwrap().len();
    assert!(n_writes > n_objects + 2);
    for n in 0..n_writes {
        let server = Server::start(0).unwrap();
        server.bucket.fail_writes(Some((n, Fault::Refuse)));
        let error = push(&server, &a).unwrap_err();
        assert!(error.to_string().contains("told to refuse"), "{n}: {error}");
        let cut: BTreeSet<String> = server.bucket.objects().into_keys().collect();
        // Objects go first and the name last.
        assert!(cut.iter().all(|key| !key.contains("/refs/")), "{n}: {cut:?}");
        assert_eq!(server.bucket.open_uploads(), 0, "{n}: what was cut is not kept");
        server.bucket.take_log();
        server.bucket.fail_writes(None);
        push(&server, &a).unwrap();
        let log = server.bucket.take_log();
        assert!(objects_written(&log).iter().all(|key| !cut.contains(*key)), "{n}");
        assert_eq!(server.bucket.objects(), counted.bucket.objects(), "{n}");
    }
    let (b, _) = remote(&counted).clone_to(&dir.path().join("b"), &stamp(5), |_| ()).unwrap();
    assert!(b.resolve("main").unwrap() == tip && b.fsck().unwrap().is_clean());
}

/// The branch moved, and the pusher did not hear of it.
#[test]
fn a_lost_answer_is_no_lost_commit() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(0).unwrap();
    let (a, _) = store_in(&dir.path().join("a"));
    push(&server, &a).unwrap();
    server.bucket.take_log();
    let tip = edit(&a, 0, 1);
    let n_objects = a.odb().reachable([tip.into()]).unwrap().len() - server.bucket.objects().len() + 2;
    // After FORMAT, which is there, and the objects comes the name.
    server.bucket.fail_writes(Some((1 + n_objects, Fault::LoseAnswer)));
    let first = push(&server, &a);
    server.bucket.fail_writes(None);
    let log = server.bucket.take_log();
    assert!(log.iter().any(|(op, key)| op.writes() && key.contains("/refs/")), "{first:?} {log:?}");
    push(&server, &a).unwrap();
    let (b, _) = remote(&server).clone_to(&dir.path().join("b"), &stamp(5), |_| ()).unwrap();
    assert_eq!(b.resolve("main").unwrap(), tip);
}

#[test]
fn what_was_changed_on_the_server_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(0).unwrap();
    let (a, base) = store_in(&dir.path().join("a"));
    let tip = edit(&a, 0, 1);
    push(&server, &a).unwrap();
    let good = server.bucket.objects();
    let large = tensor(&a, base, 2).id().to_string();
    let mut n_verified = 0;
    for (i, (key, bytes)) in good.iter().filter(|(key, _)| key.contains("/objects/")).enumerate() {
        let at: Vec<&str> = key.rsplit('/').take(2).collect();
        let id = [at[1], at[0]].concat();
        let mut bad = bytes.to_vec();
        *bad.last_mut().unwrap() ^= 1;
        server.bucket.set(key, bad);
        let to = dir.path().join(format!("b{i}"));
        let error = remote(&server).clone_to(&to, &stamp(5), |_| ()).unwrap_err().to_string();
        // One that is made from others cannot be verified before they are there.
        let made = error.contains("the remote lacks object");
        assert!(error.contains(&id) && (made || error.contains("damaged or tampered")), "{id}: {error}");
        n_verified += usize::from(!made);
        server.bucket.set(key, bytes.clone());
        // Nothing false was kept, and the rest comes.
        let half = Store::open(&to).unwrap();
        assert_eq!(half.view().unwrap().head_commit(), None);
        let pulled = remote(&server).pull(&half, &[], &stamp(6), |_| ()).unwrap();
        assert!(half.resolve("main").unwrap() == tip && half.fsck().unwrap().is_clean());
        if id == large {
            assert!(pulled.fetched.bytes >= 12 << 20);
        }
        std::fs::remove_dir_all(&to).unwrap();
    }
    assert!(
        n_verified + 2 >= good.len() - 2,
        "all but the tensor and the manifest of the edit: {n_verified}"
    );
}

#[test]
fn bad_places_and_credentials_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(0).unwrap();
    let (a, _) = store_in(&dir.path().join("a"));
    let nothing = remote(&server).clone_to(&dir.path().join("b"), &stamp(1), |_| ()).unwrap_err();
    assert!(nothing.to_string().contains("no recant remote"), "{nothing}");
    assert!(!dir.path().join("b").exists());
    let with = |url: &str, key: &str, value: &str| {
        let changed =
            server.environment().map(|(k, v)| if k == key { (k, value.to_owned()) } else { (k, v) });
        let remote = Remote::open(url, changed)?;
        remote.push(&a, &[name("main")], false, |_| ()).map(|_| ())
    };
    let home = format!("s3://{BUCKET}/x");
    for (url, key, value, word) in [
        (home.as_str(), "AWS_SECRET_ACCESS_KEY", "a guess", "SignatureDoesNotMatch"),
        (home.as_str(), "AWS_ACCESS_KEY_ID", "eve", "403 Forbidden"),
        ("s3://elsewhere/x", "", "", "NoSuchBucket"),
    ] {
        let error = with(url, key, value).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
    assert!(server.bucket.objects().is_empty());
}
