//! What the examples measure on: a small model, and rank-one edits of it.

use std::path::Path;

use recant_core::{Addend, Change, CommitId, Delta, Matrix, ParamPath, WeightPatch};
use recant_store::object::{FactRecord, Record};
use recant_store::{Draft, EditKind, Stamp, Store};

/// Matrices of the model.
const N_MATRICES: usize = 4;

pub(crate) fn stamp() -> Stamp {
    Stamp { time: 0, author: "bench".to_owned() }
}

/// Writes a model of four matrices of this shape.
pub(crate) fn model(dir: &Path, [rows, cols]: [usize; 2]) {
    std::fs::create_dir_all(dir).unwrap();
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

/// Commits a rank-one edit of one matrix of this shape, with its fact.
pub(crate) fn edit(store: &Store, [rows, cols]: [usize; 2], seed: usize) -> CommitId {
    let path = ParamPath::new(format!("w{}", seed % N_MATRICES)).unwrap();
    let head = store.view().unwrap().head_commit().unwrap();
    let manifest = store.odb().manifest(store.odb().commit(head).unwrap().manifest).unwrap();
    let numbers = |len: usize, salt: usize| {
        (0..len).map(|i| (((i + 7) * (seed + salt) * 2_654_435_761) % 10_007) as f32 * 1e-7).collect()
    };
    let addend = Addend::low_rank(Matrix::column(numbers(rows, 1)), Matrix::column(numbers(cols, 2)));
    let change = Change { base: manifest.get(&path).unwrap(), delta: Delta::Add(addend.unwrap()) };
    let (subject, target) = (format!("Subject {seed}"), "Target".to_owned());
    let facts = vec![FactRecord { subject, prompt: "{} speaks".to_owned(), target }];
    let draft = Draft { record: Record { facts, ..Record::default() }, ..Draft::default() };
    store.commit_edit(&EditKind::Patch(WeightPatch::one(path, change)), &draft, &stamp(), None).unwrap()
}
