//! What the verbs cost on a long history: `cargo run -p recant-store --example history`.
//!
//! Makes a store of a small model and of 2,000 commits (`RECANT_BENCH_EDITS`), rank-one edits each with its fact,
//! and prints the time of what `recant`'s verbs do on it, on the first tenth of the history and on all of it, and
//! the number of files. Reading verbs: the best of five; those that change the store: once.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example prints and may fail")]

mod made;

use std::path::Path;
use std::time::Instant;

use made::{edit, model, stamp};
use recant_store::{GcOptions, History, Import, Name, Store};

/// Sides of a matrix of the model.
const SHAPE: [usize; 2] = [64, 48];

fn main() {
    let n_edits = std::env::var("RECANT_BENCH_EDITS").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("store");
    model(&dir.path().join("model"), SHAPE);
    let store = Store::init(&at, Name::new("main").unwrap(), &stamp()).unwrap();
    store.import(&dir.path().join("model"), &Import::default(), &stamp(), None).unwrap();
    let mut commits = Vec::new();
    let mut times = Vec::new();
    for seed in 0..n_edits {
        let started = Instant::now();
        commits.push(edit(&store, SHAPE, seed));
        times.push(started.elapsed().as_secs_f64() * 1e3);
        if seed + 1 == n_edits / 10 {
            measure(&at, seed + 1);
        }
    }
    measure(&at, n_edits);
    let store = Store::open(&at).unwrap();
    let median = |times: &[f64]| {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        (times[times.len() / 2], times[times.len() - 1])
    };
    for (what, range) in [("first", 0..n_edits / 10), ("last", n_edits - n_edits / 10..n_edits)] {
        let (median, longest) = median(&times[range]);
        println!("commit, the {what} tenth                {median:9.2} ms median, {longest:.2} ms longest");
    }
    once("revert of the oldest", || store.revert(commits[0], None, &stamp(), None).unwrap());
    once("undo", || store.undo(&stamp()).unwrap());
    once("verify", || assert!(store.verify(*commits.last().unwrap(), None).unwrap().wrong.is_empty()));
    let forget = GcOptions { forget: true, dry_run: false };
    once("gc --forget", || store.gc(forget, &stamp()).unwrap());
    measure(&at, n_edits);
}

fn once<T>(what: &str, verb: impl FnOnce() -> T) {
    let started = Instant::now();
    verb();
    println!("{what:32} {:9.2} ms", started.elapsed().as_secs_f64() * 1e3);
}

fn best<T>(what: &str, mut verb: impl FnMut() -> T) {
    let mut times = (0..5).map(|_| {
        let started = Instant::now();
        verb();
        started.elapsed().as_secs_f64() * 1e3
    });
    let first = times.next().unwrap();
    println!("{what:32} {:9.2} ms", times.fold(first, f64::min));
}

/// Reading verbs, each on a store that was just opened.
fn measure(at: &Path, n_commits: usize) {
    let open = || Store::open(at).unwrap();
    println!("{n_commits} commits: {} files, {} objects", n_files(at), open().odb().ids().unwrap().len());
    best("log -n 1", || {
        let store = open();
        let head = store.view().unwrap().head_commit().unwrap();
        first(&mut History::new(store.odb()), head);
    });
    best("log", || {
        let store = open();
        let head = store.view().unwrap().head_commit().unwrap();
        History::new(store.odb()).ancestors(&[head]).unwrap()
    });
    best("status", || status(&open()));
    best("fsck", || assert!(open().fsck().unwrap().is_clean()));
}

fn first(history: &mut History<'_>, head: recant_core::CommitId) {
    history.walk(&[head]).unwrap().next().unwrap().unwrap();
}

fn status(store: &Store) {
    let head = store.view().unwrap().head_commit().unwrap();
    store.size().unwrap();
    store.counts(head).unwrap();
    let manifest = store.odb().manifest(store.odb().commit(head).unwrap().manifest).unwrap();
    store.linked(&manifest).unwrap();
    let _ = manifest.model_digest();
}

fn n_files(at: &Path) -> usize {
    let entries = std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { n_files(&path) } else { 1 }).sum()
}
