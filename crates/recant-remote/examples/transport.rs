//! What push, clone and pull cost on a long history, through a folder:
//! `cargo run -p recant-remote --example transport`.
//!
//! Makes a store of 2,000 commits (`RECANT_BENCH_EDITS`), rank-one edits of four matrices of the demo model's size each with its
//! fact, pushes it into an empty folder, clones that, and moves one more commit. Each once, on the disk of the
//! system's temporary folder.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example prints and may fail")]

#[path = "../../recant-store/examples/made/mod.rs"]
mod made;

use std::path::Path;
use std::time::Instant;

use made::{edit, model, stamp};
use recant_remote::{Progress, Remote};
use recant_store::{Import, Name, Store};

const SHAPE: [usize; 2] = [1024, 256];

fn main() {
    let n_edits = std::env::var("RECANT_BENCH_EDITS").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    model(&at("model"), SHAPE);
    let main = Name::new("main").unwrap();
    let store = Store::init(&at("store"), main.clone(), &stamp()).unwrap();
    store.import(&at("model"), &Import::default(), &stamp(), None).unwrap();
    for seed in 0..n_edits {
        edit(&store, SHAPE, seed);
    }
    println!(
        "{n_edits} commits: {} files, {:.1} MB",
        n_files(&at("store")).0,
        megabytes(n_files(&at("store")).1)
    );
    let remote = Remote::open(&at("remote").display().to_string(), []).unwrap();
    let branches = [main];
    let push = || remote.push(&store, &branches, false, |_| ()).unwrap().sent;
    told("push", push);
    println!("remote: {} files", n_files(&at("remote")).0);
    let mut clone = None;
    told("clone", || {
        let (made, pulled) = remote.clone_to(&at("clone"), &stamp(), |_| ()).unwrap();
        clone = Some(made);
        pulled.fetched
    });
    println!("clone: {} files", n_files(&at("clone")).0);
    edit(&store, SHAPE, n_edits);
    told("push of one more", push);
    told("pull of it", || remote.pull(clone.as_ref().unwrap(), &[], &stamp(), |_| ()).unwrap().fetched);
}

fn told(what: &str, verb: impl FnOnce() -> Progress) {
    let started = Instant::now();
    let moved = verb();
    let seconds = started.elapsed().as_secs_f64();
    println!("{what:20} {seconds:7.2} s  {} objects, {:.1} MB", moved.objects, megabytes(moved.bytes));
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Files in a folder and below, and their bytes.
fn n_files(at: &Path) -> (usize, u64) {
    let entries = std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap());
    entries.fold((0, 0), |(count, bytes), entry| {
        let more = match entry.path().is_dir() {
            true => n_files(&entry.path()),
            false => (1, entry.metadata().unwrap().len()),
        };
        (count + more.0, bytes + more.1)
    })
}
