//! What the tests of remotes share; the test against an S3 server uses it too.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part")]

use std::path::Path;

use recant_core::{Addend, Change, CommitId, Delta, HostTensor, Matrix, ParamPath, WeightPatch};
use recant_remote::{Remote, RemoteError, Update};
use recant_store::{CheckoutOptions, Draft, EditKind, Import, MergeOptions, Name, Stamp, Store};

pub(crate) fn stamp(time: i64) -> Stamp {
    Stamp { time, author: "Ada".to_owned() }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn path(i: usize) -> ParamPath {
    ParamPath::new(format!("w{i}")).unwrap()
}

/// A store in `dir/store` with a model of two 8 x 8 matrices and a large one, linked in place.
pub(crate) fn store_in(dir: &Path) -> (Store, CommitId) {
    let model = dir.join("model");
    std::fs::create_dir_all(&model).unwrap();
    // The large one is more than one part of an upload.
    let sizes = [64usize, 64, 3 << 20];
    let entry = |i: usize, shape: &str, begin: usize| {
        let end = begin + 4 * sizes[i];
        format!(r#""w{i}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    let header =
        format!("{{{},{},{}}}", entry(0, "[8,8]", 0), entry(1, "[8,8]", 256), entry(2, "[3145728]", 512));
    let numbers = (0..sizes.iter().sum()).flat_map(|i| ((i % 1013) as f32 * 0.01).to_le_bytes());
    let data: Vec<u8> = numbers.collect();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(model.join("model.safetensors"), file).unwrap();
    std::fs::write(model.join("config.json"), "{}").unwrap();
    let store = Store::init(&dir.join("store"), name("main"), &stamp(1)).unwrap();
    let import = Import { link: true, ..Import::default() };
    let base = store.import(&model, &import, &stamp(2), None).unwrap().commit;
    (store, base)
}

pub(crate) fn edit(store: &Store, i: usize, seed: u64) -> CommitId {
    let head = store.view().unwrap().head_commit().unwrap();
    let manifest = store.odb().manifest(store.odb().commit(head).unwrap().manifest).unwrap();
    let numbers = |k: u64| (0..8).map(|j| ((seed * 31 + j * 7 + k) % 17) as f32 * 0.1).collect();
    let addend = Addend::low_rank(Matrix::column(numbers(0)), Matrix::column(numbers(5))).unwrap();
    let change = Change { base: manifest.get(&path(i)).unwrap(), delta: Delta::Add(addend) };
    let draft = Draft { message: format!("{seed}"), ..Draft::default() };
    let kind = EditKind::Patch(WeightPatch::one(path(i), change));
    store.commit_edit(&kind, &draft, &stamp(10), None).unwrap()
}

pub(crate) fn tensor(store: &Store, commit: CommitId, i: usize) -> HostTensor {
    let manifest = store.odb().manifest(store.odb().commit(commit).unwrap().manifest).unwrap();
    store.odb().tensor(manifest.get(&path(i)).unwrap()).unwrap()
}

/// Two stores work together through a remote.
pub(crate) fn everything(remote: &Remote, dir: &Path) {
    let (a, base) = store_in(&dir.join("a"));
    edit(&a, 0, 1);
    a.tag(&name("v1"), base, false, &stamp(3)).unwrap();
    let pushed = remote.push(&a, &[name("main")], true, |_| ()).unwrap();
    assert_eq!(pushed.moved.len(), 2);
    assert!(pushed.sent.bytes > 12 << 20);
    assert_eq!(remote.push(&a, &[name("main")], true, |_| ()).unwrap().moved, []);

    // Linked tensors arrive as bytes: the clone stands on its own.
    let (b, pulled) = remote.clone_to(&dir.join("b"), &stamp(4), |_| ()).unwrap();
    assert_eq!((pulled.branches.len(), pulled.tags.len()), (1, 1));
    std::fs::rename(dir.join("a/model"), dir.join("a/moved")).unwrap();
    b.checkout(base, &dir.join("out"), CheckoutOptions::default()).unwrap();
    std::fs::rename(dir.join("a/moved"), dir.join("a/model")).unwrap();
    let read = |at: &str| std::fs::read(dir.join(at).join("model.safetensors")).unwrap();
    assert!(read("out") == read("a/model"));
    assert!(b.verify(b.resolve("main").unwrap(), None).unwrap().wrong.is_empty());

    // An edit travels as its factors.
    let theirs = edit(&b, 0, 2);
    let pushed = remote.push(&b, &[name("main")], false, |_| ()).unwrap();
    assert!(pushed.sent.bytes < 10_000 && pushed.sent.objects <= 5, "{pushed:?}");

    // Both went on: who comes second is refused, merges, and pushes again.
    let ours = edit(&a, 0, 3);
    let refused = remote.push(&a, &[name("main")], false, |_| ()).unwrap_err();
    assert!(matches!(refused, RemoteError::NotAhead { .. }), "{refused}");
    let pulled = remote.pull(&a, &[name("main")], &stamp(5), |_| ()).unwrap();
    assert_eq!(pulled.branches, [(name("main"), theirs, Update::Apart(name("main@remote")))]);
    assert_eq!(a.resolve("main").unwrap(), ours);
    let merged = a.merge(theirs, MergeOptions::default(), None, &stamp(6), None).unwrap().commit;
    remote.push(&a, &[name("main")], false, |_| ()).unwrap();
    let pulled = remote.pull(&b, &[], &stamp(7), |_| ()).unwrap();
    assert_eq!(pulled.branches, [(name("main"), merged, Update::Forward(theirs))]);
    assert_eq!(a.model_digest(merged).unwrap(), b.model_digest(merged).unwrap());
    assert_eq!(remote.pull(&b, &[], &stamp(8), |_| ()).unwrap().branches[0].2, Update::Current);
    assert!(a.fsck().unwrap().is_clean() && b.fsck().unwrap().is_clean());
}
