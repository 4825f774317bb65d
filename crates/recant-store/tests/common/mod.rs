//! What the tests of the store share: a disk that fails and forgets, and a tiny model.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod disk;
pub(crate) mod forge;

use std::path::Path;

use recant_core::{Addend, Change, CommitId, Delta, HostTensor, Matrix, ParamPath, WeightPatch};
use recant_store::{Draft, EditKind, Import, Name, Stamp, Store};

/// Sides of the matrices `w0`, `w1`, `w2`.
pub(crate) const SIDES: [[usize; 2]; 3] = [[3, 4], [5, 2], [4, 4]];

pub(crate) fn stamp(time: i64) -> Stamp {
    Stamp { time, author: "Ada <ada@example.org>".to_owned() }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn path(i: usize) -> ParamPath {
    ParamPath::new(format!("w{i}")).unwrap()
}

/// A safetensors file of F32 matrices, sides and numbers given.
pub(crate) fn safetensors(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, shape, numbers) in tensors {
        let begin = data.len();
        data.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// The numbers of `w{i}` in the base.
pub(crate) fn base_numbers(i: usize) -> Vec<f32> {
    (0..SIDES[i][0] * SIDES[i][1]).map(|j| ((j * 37 + i * 11) % 19) as f32 * 0.37 - 3.0).collect()
}

/// A model directory with three matrices and two other files.
pub(crate) fn write_model(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let numbers: Vec<Vec<f32>> = (0..3).map(base_numbers).collect();
    let names = ["w0", "w1", "w2"];
    let tensors: Vec<(&str, &[usize], &[f32])> =
        (0..3).map(|i| (names[i], &SIDES[i][..], &numbers[i][..])).collect();
    std::fs::write(dir.join("model.safetensors"), safetensors(&tensors)).unwrap();
    std::fs::write(dir.join("config.json"), "{\"model_type\": \"none\"}\n").unwrap();
    std::fs::write(dir.join("tokenizer.json"), "{}").unwrap();
}

/// A store under `dir/store` with the model of `dir/model` imported.
pub(crate) fn store_in(dir: &Path) -> (Store, CommitId) {
    write_model(&dir.join("model"));
    let store = Store::init(&dir.join("store"), name("main"), &stamp(1)).unwrap();
    let base = store.import(&dir.join("model"), &Import::default(), &stamp(2), None).unwrap().commit;
    (store, base)
}

/// Rank-one factors from a seed.
pub(crate) fn rank_one(i: usize, seed: u64) -> Addend {
    let number =
        |j: usize| ((seed.wrapping_mul(2_654_435_761).wrapping_add(j as u64 * 97) % 23) as f32) * 0.1 - 1.1;
    let u = (0..SIDES[i][0]).map(number).collect();
    let v = (0..SIDES[i][1]).map(|j| number(j + 100)).collect();
    Addend::low_rank(Matrix::column(u), Matrix::column(v)).unwrap()
}

/// The patch that adds to `w{i}` as it is at the head.
pub(crate) fn patch(store: &Store, i: usize, addend: Addend) -> WeightPatch {
    let head = store.view().unwrap().head_commit().unwrap();
    let manifest = store.odb().manifest(store.odb().commit(head).unwrap().manifest).unwrap();
    WeightPatch::one(path(i), Change { base: manifest.get(&path(i)).unwrap(), delta: Delta::Add(addend) })
}

/// Commits a rank-one edit of `w{i}`.
pub(crate) fn edit(store: &Store, i: usize, seed: u64) -> CommitId {
    let draft = Draft { message: format!("w{i} {seed}"), ..Draft::default() };
    let kind = EditKind::Patch(patch(store, i, rank_one(i, seed)));
    store.commit_edit(&kind, &draft, &stamp(10 + seed as i64), None).unwrap()
}

/// A matrix at a commit.
pub(crate) fn tensor(store: &Store, commit: CommitId, i: usize) -> HostTensor {
    let manifest = store.odb().manifest(store.odb().commit(commit).unwrap().manifest).unwrap();
    store.odb().tensor(manifest.get(&path(i)).unwrap()).unwrap()
}

pub(crate) fn head(store: &Store) -> CommitId {
    store.view().unwrap().head_commit().unwrap()
}
