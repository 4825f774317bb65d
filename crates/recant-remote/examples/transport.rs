//! What push, clone and pull cost on a long history, through a folder:
//! `cargo run -p recant-remote --example transport`.
//!
//! Makes a store of 2,000 commits (`RECANT_BENCH_EDITS`), rank-one edits of four matrices of the demo model's size each with its
//! fact, pushes it into an empty folder, clones that, and moves one more commit. Each once, on the disk of the
//! system's temporary folder.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example prints and may fail")]

use std::path::Path;
use std::time::Instant;

use recant_core::{Addend, Change, Delta, Matrix, ParamPath, WeightPatch};
use recant_remote::{Progress, Remote};
use recant_store::object::{FactRecord, Record};
use recant_store::{Draft, EditKind, Import, Name, Stamp, Store};

const N_MATRICES: usize = 4;
const SHAPE: [usize; 2] = [1024, 256];

fn main() {
    let n_edits = std::env::var("RECANT_BENCH_EDITS").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    model(&at("model"));
    let main = Name::new("main").unwrap();
    let store = Store::init(&at("store"), main.clone(), &stamp()).unwrap();
    store.import(&at("model"), &Import::default(), &stamp(), None).unwrap();
    (0..n_edits).for_each(|seed| edit(&store, seed));
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
    edit(&store, n_edits);
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

fn stamp() -> Stamp {
    Stamp { time: 0, author: "bench".to_owned() }
}

fn model(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let [rows, cols] = SHAPE;
    let len = 4 * rows * cols;
    let entry = |i: usize| {
        let offsets = format!("[{},{}]", i * len, (i + 1) * len);
        format!(r#""w{i}":{{"dtype":"F32","shape":[{rows},{cols}],"data_offsets":{offsets}}}"#)
    };
    let header = format!("{{{}}}", (0..N_MATRICES).map(entry).collect::<Vec<_>>().join(","));
    let numbers = (0..N_MATRICES * rows * cols).flat_map(|i| ((i % 977) as f32 * 1e-3).to_le_bytes());
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &numbers.collect::<Vec<u8>>()];
    std::fs::write(dir.join("model.safetensors"), file.concat()).unwrap();
    std::fs::write(dir.join("config.json"), "{}").unwrap();
}

fn edit(store: &Store, seed: usize) {
    let path = ParamPath::new(format!("w{}", seed % N_MATRICES)).unwrap();
    let head = store.view().unwrap().head_commit().unwrap();
    let manifest = store.odb().manifest(store.odb().commit(head).unwrap().manifest).unwrap();
    let numbers = |len: usize, salt: usize| {
        (0..len).map(|i| (((i + 7) * (seed + salt) * 2_654_435_761) % 10_007) as f32 * 1e-7).collect()
    };
    let addend = Addend::low_rank(Matrix::column(numbers(SHAPE[0], 1)), Matrix::column(numbers(SHAPE[1], 2)));
    let change = Change { base: manifest.get(&path).unwrap(), delta: Delta::Add(addend.unwrap()) };
    let (subject, target) = (format!("Subject {seed}"), "Target".to_owned());
    let facts = vec![FactRecord { subject, prompt: "{} speaks".to_owned(), target }];
    let draft = Draft { record: Record { facts, ..Record::default() }, ..Draft::default() };
    store.commit_edit(&EditKind::Patch(WeightPatch::one(path, change)), &draft, &stamp(), None).unwrap();
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
