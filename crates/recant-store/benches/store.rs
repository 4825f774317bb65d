//! What a store costs: `cargo bench -p recant-store`. Prints one line a figure; takes a few minutes and two
//! gigabytes of temporary disk. `RECANT_BENCH_MB` sets the size of the checkpoint (default 512), `RECANT_BENCH_EDITS`
//! the number of edits (default 1000).
//!
//! Import stands beside copying and hashing the same file in the same run. Latencies are of rank-one edits of
//! a 3072 x 768 matrix of F32, each made durable, and are medians.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and may fail")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use recant_core::{Addend, Change, CommitId, Delta, Matrix, ParamPath, WeightPatch};
use recant_store::{CheckoutOptions, Draft, EditKind, Import, Name, Stamp, Store};

const SHAPE: [usize; 2] = [3072, 768];
/// Edits of one matrix behind which the first is taken back.
const DEPTH: usize = 100;

fn main() {
    let var = |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let megabytes = var("RECANT_BENCH_MB", 512);
    let dir = tempfile::tempdir().unwrap();
    throughput(dir.path(), megabytes);
    edits(dir.path(), var("RECANT_BENCH_EDITS", 1000).max(DEPTH + 1));
}

fn stamp() -> Stamp {
    Stamp { time: 0, author: "bench".to_owned() }
}

/// A model directory of so many matrices; the numbers are those of no model, and do not compress.
fn model(dir: &Path, n_matrices: usize) -> u64 {
    std::fs::create_dir_all(dir).unwrap();
    let len = 4 * SHAPE[0] * SHAPE[1];
    let [rows, cols] = SHAPE;
    let entry = |i: usize| {
        let offsets = format!("[{},{}]", i * len, (i + 1) * len);
        format!(r#""w{i}":{{"dtype":"F32","shape":[{rows},{cols}],"data_offsets":{offsets}}}"#)
    };
    let header = format!("{{{}}}", (0..n_matrices).map(entry).collect::<Vec<_>>().join(","));
    let mut file = File::create(dir.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let mut dice = 1u64;
    for _ in 0..n_matrices {
        let number = |_| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((dice >> 40) as f32 / 16_777_216.0 - 0.5).to_le_bytes()
        };
        let bytes: Vec<u8> = (0..SHAPE[0] * SHAPE[1]).flat_map(number).collect();
        file.write_all(&bytes).unwrap();
    }
    file.sync_all().unwrap();
    std::fs::write(dir.join("config.json"), "{}").unwrap();
    (n_matrices * len) as u64
}

fn timed<T>(what: &str, bytes: u64, action: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let out = action();
    let seconds = started.elapsed().as_secs_f64();
    println!("{what:34} {seconds:7.2} s  {:6.2} GB/s", bytes as f64 / seconds / 1e9);
    out
}

fn hash(path: &Path) {
    let mut file = File::open(path).unwrap();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    while let Ok(len @ 1..) = file.read(&mut buffer) {
        hasher.update(&buffer[..len]);
    }
    std::hint::black_box(hasher.finalize());
}

fn throughput(dir: &Path, megabytes: usize) {
    let from = dir.join("model");
    let n_matrices = (megabytes * 1_000_000).div_ceil(4 * SHAPE[0] * SHAPE[1]);
    let bytes = model(&from, n_matrices);
    let file = from.join("model.safetensors");
    println!("checkpoint of {:.0} MB, {n_matrices} tensors, read from the page cache", bytes as f64 / 1e6);
    timed("BLAKE3 of the file", bytes, || hash(&file));
    timed("copy of the file, synced", bytes, || {
        std::fs::copy(&file, dir.join("copy")).unwrap();
        File::open(dir.join("copy")).unwrap().sync_all().unwrap();
    });
    timed("copy, synced, and BLAKE3", bytes, || {
        std::fs::copy(&file, dir.join("copy")).unwrap();
        File::open(dir.join("copy")).unwrap().sync_all().unwrap();
        hash(&dir.join("copy"));
    });
    std::fs::remove_file(dir.join("copy")).unwrap();
    let init = |name: &str| Store::init(&dir.join(name), Name::new("main").unwrap(), &stamp()).unwrap();
    let (copied, linked, packed) = (init("copied"), init("linked"), init("packed"));
    let import = |store: &Store, import: Import| store.import(&from, &import, &stamp(), None).unwrap().commit;
    let commit = timed("import", bytes, || import(&copied, Import::default()));
    let link = Import { link: true, ..Import::default() };
    timed("import --link", bytes, || import(&linked, link));
    if megabytes <= 1024 {
        let pack = Import { pack: true, ..Import::default() };
        timed("import --pack", bytes, || import(&packed, pack));
    }
    let out = dir.join("out");
    timed("checkout, verified and synced", bytes, || {
        copied.checkout(commit, &out, CheckoutOptions::default()).unwrap();
    });
    timed("verify", bytes, || copied.verify(commit, None).unwrap());
    for name in ["copied", "linked", "packed", "out"] {
        std::fs::remove_dir_all(dir.join(name)).unwrap();
    }
}

fn edit(store: &Store, seed: usize) -> (CommitId, Duration) {
    let path = ParamPath::new("w0").unwrap();
    let head = store.view().unwrap().head_commit().unwrap();
    let manifest = store.odb().manifest(store.odb().commit(head).unwrap().manifest).unwrap();
    let numbers = |len: usize| (0..len).map(|i| ((i * 31 + seed * 17) % 101) as f32 * 1e-4).collect();
    let addend = Addend::low_rank(Matrix::column(numbers(SHAPE[0])), Matrix::column(numbers(SHAPE[1])));
    let change = Change { base: manifest.get(&path).unwrap(), delta: Delta::Add(addend.unwrap()) };
    let kind = EditKind::Patch(WeightPatch::one(path, change));
    let started = Instant::now();
    let commit = store.commit_edit(&kind, &Draft::default(), &stamp(), None).unwrap();
    (commit, started.elapsed())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn edits(dir: &Path, n_edits: usize) {
    let at = dir.join("edits");
    let store = Store::init(&at, Name::new("main").unwrap(), &stamp()).unwrap();
    model(&dir.join("small"), 2);
    store.import(&dir.join("small"), &Import::default(), &stamp(), None).unwrap();
    let size = || -> u64 {
        let ids = store.odb().ids().unwrap();
        ids.into_iter().map(|id| store.odb().file_len(id).unwrap()).sum()
    };
    let before = size();
    let (first, _) = edit(&store, 0);
    println!("one rank-one edit of 3072 x 768: {} bytes in files", size() - before);
    let revert = |id| {
        let started = Instant::now();
        store.revert(id, None, &stamp(), None).unwrap();
        started.elapsed().as_secs_f64() * 1e3
    };
    let mut commits: Vec<(CommitId, Duration)> = (1..DEPTH).map(|seed| edit(&store, seed)).collect();
    let at_depth = revert(first);
    store.undo(&stamp()).unwrap();
    commits.extend((DEPTH..n_edits).map(|seed| edit(&store, seed)));
    let times = |range: &[(CommitId, Duration)]| range.iter().map(|(_, time)| *time).collect::<Vec<_>>();
    println!("{n_edits} rank-one edits: {:.2} MB in files", (size() - before) as f64 / 1e6);
    println!("commit of an edit, the first 50:   {:7.1} ms", median(times(&commits[..50])));
    println!("commit of an edit, all of them:    {:7.1} ms", median(times(&commits)));
    println!("revert of the first of {DEPTH}:         {at_depth:7.1} ms");
    println!("revert of the newest, a swap:      {:7.1} ms", revert(commits[commits.len() - 1].0));
    println!("revert of the first of all of them: {:6.1} ms", revert(first));
    let started = Instant::now();
    let head = store.view().unwrap().head_commit().unwrap();
    assert!(store.verify(head, None).unwrap().wrong.is_empty());
    println!("verify from the base:              {:7.1} ms", started.elapsed().as_secs_f64() * 1e3);
}
