//! Several processes on one store: this test's executable starts itself again as writers.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; a writer reports by printing"
)]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{name, path, rank_one, stamp, store_in};
use recant_core::{Change, CommitId, Delta, WeightPatch};
use recant_store::{CommitError, Draft, EditKind, History, Store};

const ROLE: &str = "RECANT_TEST_WRITER";

/// Commits until it is killed or its time is over; prints each acknowledged id. Not a test of its own: it
/// does nothing unless started by another test.
#[test]
fn writer() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (dir, rest) = role.split_once('|').unwrap();
    let (seed, seconds) = rest.split_once('|').unwrap();
    let (seed, seconds): (u64, u64) = (seed.parse().unwrap(), seconds.parse().unwrap());
    let store = Store::open(Path::new(dir)).unwrap();
    // Its time begins with its first commit, so that a busy machine gives every writer a turn.
    let mut started = None::<Instant>;
    let mut n_commits = 0;
    while started.is_none_or(|started| started.elapsed() < Duration::from_secs(seconds)) {
        let head = store.view().unwrap().head_commit().unwrap();
        let manifest = store.odb().manifest(store.odb().commit(head).unwrap().manifest).unwrap();
        let delta = Delta::Add(rank_one(0, seed * 1000 + n_commits));
        let patch = WeightPatch::one(path(0), Change { base: manifest.get(&path(0)).unwrap(), delta });
        let draft =
            Draft { planned_on: Some(head), message: format!("{seed} {n_commits}"), ..Draft::default() };
        match store.commit_edit(&EditKind::Patch(patch), &draft, &stamp(n_commits as i64), None) {
            Ok(id) => {
                n_commits += 1;
                started.get_or_insert_with(Instant::now);
                println!("ack {id}");
                std::io::stdout().flush().unwrap();
            }
            Err(CommitError::Moved { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn start(store: &Path, seed: u64, seconds: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{}|{seed}|{seconds}", store.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn acknowledged(child: Child) -> Vec<CommitId> {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The last line of a killed process may be cut.
    text.lines().filter_map(|line| line.split("ack ").nth(1)?.parse().ok()).collect()
}

/// Two processes commit at once for some seconds; another is killed in the middle again and again. Every
/// acknowledged commit is in the log, readers are never stopped, and fsck is clean.
#[test]
fn every_acknowledged_commit_is_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(dir.path());
    let at = dir.path().join("store");
    let mut writers = [start(&at, 1, 3), start(&at, 2, 3)];
    let mut all = Vec::new();
    let mut n_kills = 0;
    while n_kills < 4 || writers.iter_mut().any(|writer| writer.try_wait().unwrap().is_none()) {
        let mut victim = start(&at, 10 + n_kills, 60);
        std::thread::sleep(Duration::from_millis(150 + 13 * n_kills));
        let read = Instant::now();
        store.view().unwrap();
        // A writer's patience is a minute; a reader that took the lock would wait for its turn.
        assert!(read.elapsed() < Duration::from_secs(20), "a reader waited");
        victim.kill().unwrap();
        all.extend(acknowledged(victim));
        n_kills += 1;
    }
    let by_writers: Vec<Vec<CommitId>> = writers.into_iter().map(acknowledged).collect();
    assert!(by_writers.iter().all(|acks| !acks.is_empty()), "both writers got their turn");
    all.extend(by_writers.into_iter().flatten());
    let tip = store.resolve("main").unwrap();
    let known: std::collections::BTreeSet<CommitId> =
        History::new(store.odb()).ancestors(&[tip]).unwrap().into_iter().collect();
    assert!(all.len() >= 4, "{} commits, {n_kills} kills", all.len());
    for id in &all {
        assert!(known.contains(id), "{id} was acknowledged and is not in the log");
    }
    let fsck = store.fsck().unwrap();
    assert!(fsck.is_clean(), "{:?}", fsck.problems);
    assert!(store.verify(tip, None).unwrap().wrong.is_empty());
}

/// The lock file of a dead process holds nobody up.
#[test]
fn a_lock_file_that_stayed_behind_means_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    assert!(dir.path().join("store/lock").exists());
    let held = store.begin(&stamp(5)).unwrap();
    let other = Store::open(&dir.path().join("store")).unwrap().with_patience(Duration::from_millis(20));
    let busy = other.tag(&name("v1"), base, false, &stamp(6)).unwrap_err();
    assert!(busy.to_string().contains("another process"), "{busy}");
    drop(held);
    other.tag(&name("v1"), base, false, &stamp(6)).unwrap();
}
