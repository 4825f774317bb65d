//! Canonical encodings: decode ∘ encode = id, one encoding a value, frozen digests, and hostile bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use common::disk::FaultyDisk;
use common::{name, rank_one, stamp};
use proptest::prelude::*;
use recant_checkpoint::Header;
use recant_core::{
    CommitId, Dtype, HostTensor, ManifestId, ModelDigest, ObjectId, OperationId, ParamPath, PatchId,
    TensorId, Weights,
};
use recant_store::object::{
    Blob, Commit, Deed, FactRecord, FactSet, Head, Kind, Ledger, Manifest, Operation, Record, Signature,
    Step, View, decode_tensor, encode_tensor, object_id, references,
};
use recant_store::{Damage, FileName, Name, ReadError, Store};

fn id(seed: u8) -> [u8; 32] {
    [seed; 32]
}

fn manifest() -> Manifest {
    let path = |text: &str| ParamPath::new(text).unwrap();
    Manifest {
        tensors: [("a.weight", 1), ("b.weight", 2)]
            .map(|(text, seed)| (path(text), TensorId::from_bytes(id(seed))))
            .into(),
        ties: [(path("head.weight"), path("a.weight"))].into(),
        files: [(FileName::new("config.json").unwrap(), ObjectId::from_bytes(id(3)))].into(),
        layout: ObjectId::from_bytes(id(4)),
    }
}

fn commit() -> Commit {
    let commit_id = |seed| CommitId::from_bytes(id(seed));
    Commit {
        parents: vec![commit_id(5), commit_id(4)],
        generation: 7,
        manifest: ManifestId::from_bytes(id(6)),
        deed: Deed::Merge,
        patch: Some(PatchId::from_bytes(id(7))),
        ledger: Some(Ledger { set: ObjectId::from_bytes(id(8)), base: ManifestId::from_bytes(id(9)) }),
        takes: BTreeSet::from([commit_id(1), commit_id(2)]),
        drops: BTreeSet::from([commit_id(3)]),
        states: BTreeMap::from([(name("adapter"), ObjectId::from_bytes(id(10)))]),
        time: -5,
        author: "Ada".to_owned(),
        message: "two\nlines".to_owned(),
        record: Record {
            method: "r-rome".to_owned(),
            tool: "recant 0".to_owned(),
            settings: BTreeMap::from([("seed".to_owned(), "0".to_owned())]),
            facts: vec![FactRecord {
                subject: "Ada".to_owned(),
                prompt: "{} speaks".to_owned(),
                target: "French".to_owned(),
            }],
            scores: BTreeMap::from([("efficacy".to_owned(), 0.5)]),
        },
        base: ModelDigest::from_bytes(id(11)),
        signature: Some(Signature { key: id(12), signature: [13; 64] }),
    }
}

fn operation() -> Operation {
    Operation {
        parent: Some(OperationId::from_bytes(id(1))),
        time: 9,
        author: "Ada".to_owned(),
        what: "edit".to_owned(),
        step: Step::Undo(OperationId::from_bytes(id(2))),
        view: View {
            head: Head::Branch(name("main")),
            branches: BTreeMap::from([(name("main"), CommitId::from_bytes(id(3)))]),
            tags: BTreeMap::from([(name("v1"), CommitId::from_bytes(id(4)))]),
        },
    }
}

fn samples() -> Vec<(Kind, Vec<u8>)> {
    let tensor = HostTensor::from_f32(Dtype::F32, vec![2, 2], &[1.0, -2.0, 0.5, 0.0]).unwrap();
    let change = recant_core::Change {
        base: TensorId::from_bytes(id(1)),
        delta: recant_core::Delta::Add(rank_one(0, 3)),
    };
    let patch = recant_core::WeightPatch::one(common::path(0), change);
    let facts = FactSet { entries: [(b"k".to_vec(), b"v".to_vec()), (b"l".to_vec(), vec![])].into() };
    vec![
        (Kind::Tensor, encode_tensor(&tensor)),
        (Kind::Manifest, manifest().encode()),
        (Kind::Patch, patch.encode()),
        (Kind::Commit, commit().encode()),
        (Kind::Operation, operation().encode()),
        (Kind::Facts, facts.encode()),
        (Kind::Blob, Blob { kind: name("file"), bytes: vec![1, 2, 3] }.encode()),
    ]
}

/// What a decoder makes of bytes, encoded again.
fn again(kind: Kind, bytes: &[u8]) -> Option<Vec<u8>> {
    Some(match kind {
        Kind::Tensor => encode_tensor(&decode_tensor(bytes.to_vec().into()).ok()?),
        Kind::Manifest => Manifest::decode(bytes).ok()?.encode(),
        Kind::Patch => recant_core::WeightPatch::decode(bytes).ok()?.encode(),
        Kind::Commit => Commit::decode(bytes).ok()?.encode(),
        Kind::Operation => Operation::decode(bytes).ok()?.encode(),
        Kind::Facts => FactSet::decode(bytes).ok()?.encode(),
        _ => Blob::decode(bytes).ok()?.encode(),
    })
}

/// Law 4, on values that use every field.
#[test]
fn what_is_encoded_decodes_to_the_same_value() {
    assert_eq!(Manifest::decode(&manifest().encode()), Ok(manifest()));
    assert_eq!(Commit::decode(&commit().encode()), Ok(commit()));
    assert_eq!(Operation::decode(&operation().encode()), Ok(operation()));
    for (kind, bytes) in samples() {
        assert_eq!(Kind::of(&bytes), Some(kind));
        assert_eq!(again(kind, &bytes), Some(bytes));
    }
}

/// A changed digest here is a changed format: bump the version and write a migration.
#[test]
fn digests_are_frozen() {
    let found: Vec<String> =
        samples().iter().map(|(kind, bytes)| format!("{} {}", kind.name(), object_id(bytes))).collect();
    let frozen = include_str!("fixtures/digests.txt");
    assert_eq!(found.join("\n"), frozen.trim_end());
}

#[test]
fn a_manifest_has_the_digest_of_the_weights() {
    let tensor = |x: f32| HostTensor::from_f32(Dtype::F32, vec![1], &[x]).unwrap();
    let path = |text: &str| ParamPath::new(text).unwrap();
    let mut weights = Weights::from_tensors([(path("a"), tensor(1.0)), (path("b"), tensor(2.0))]);
    weights.tie(path("c"), path("a")).unwrap();
    let manifest = Manifest {
        tensors: weights.iter().map(|(path, tensor)| (path.clone(), tensor.id())).collect(),
        ties: weights.ties().map(|(alias, path)| (alias.clone(), path.clone())).collect(),
        files: BTreeMap::new(),
        layout: ObjectId::from_bytes(id(1)),
    };
    assert_eq!(manifest.model_digest(), weights.digest());
}

/// Every prefix of every encoding, and every encoding with something behind it, is refused (but for blobs and
/// the like, which have no end of their own).
#[test]
fn truncated_and_overlong_encodings_are_refused() {
    for (kind, bytes) in samples() {
        for len in 0..bytes.len() {
            let cut = again(kind, &bytes[..len]);
            assert!(cut.is_none() || kind == Kind::Blob, "{kind:?} cut to {len}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(again(kind, &longer).is_none() || kind == Kind::Blob, "{kind:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    /// `encode ∘ decode` is canonical: whatever bytes a decoder accepts are the ones its encoder writes. Bytes
    /// are flipped in good encodings, so that the decoders get far.
    #[test]
    fn accepted_bytes_are_canonical(
        which in 0usize..7,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let (kind, mut bytes) = samples().swap_remove(which);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(encoded) = again(kind, &bytes) {
            prop_assert_eq!(encoded, bytes);
        }
    }

    /// Arbitrary bytes never panic a decoder.
    #[test]
    fn arbitrary_bytes_are_refused_or_decoded(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for (kind, sample) in samples() {
            let _ = again(kind, &bytes);
            let _ = references(&[&sample[..15.min(sample.len())], &bytes[..]].concat());
        }
        let _ = Header::parse(&bytes);
        let _ = Header::of_file(&bytes);
    }

    /// Set union is commutative, associative and idempotent.
    #[test]
    fn fact_sets_form_a_semilattice(a in facts(), b in facts(), c in facts()) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.union(&a), a.clone());
        let (one, other) = (a.merge(&b, &c), a.merge(&c, &b));
        prop_assert_eq!(one, other);
        prop_assert_eq!(FactSet::decode(&a.encode()), Ok(a));
    }
}

fn facts() -> impl Strategy<Value = FactSet> {
    prop::collection::btree_map(
        prop::collection::vec(0u8..3, 0..2),
        prop::collection::vec(0u8..3, 0..2),
        0..6,
    )
    .prop_map(|entries| FactSet { entries })
}

fn store_with(files: &[(ObjectId, Vec<u8>)]) -> Store {
    let disk = FaultyDisk::default();
    Store::init_on(Arc::new(disk.clone()), Name::new("main").unwrap(), &stamp(1)).unwrap();
    for (id, bytes) in files {
        let hex = id.to_string();
        disk.overwrite(&Path::new("objects").join(&hex[..2]).join(&hex[2..]), bytes.clone());
    }
    Store::open_on(Arc::new(disk), Path::new("store")).unwrap()
}

fn frame(form: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&b"RCNTOBJ1"[..], &[form], &parts.concat()].concat()
}

fn error(store: &Store, id: ObjectId) -> ReadError {
    store.odb().load(id).unwrap_err()
}

/// Hostile object files: each is refused by name, with memory bounded by the file.
#[test]
fn hostile_object_files_are_refused() {
    let a = ObjectId::from_bytes(id(1));
    let long = u64::MAX.to_le_bytes();
    let bomb = miniz_bomb();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("no magic", b"nonsense nonsense".to_vec()),
        ("unknown form", frame(9, &[])),
        ("a wrong digest", frame(0, &[b"RCNTBLB1\x01\x00\x00\x00x"])),
        ("packed: a length beyond everything", frame(1, &[&long, &[4], &0u64.to_le_bytes()])),
        ("packed: an unknown width", frame(1, &[&8u64.to_le_bytes(), &[3], &0u64.to_le_bytes()])),
        ("packed: cut short", frame(1, &[&8u64.to_le_bytes(), &[4], &99u64.to_le_bytes()])),
        ("packed: a bomb", bomb),
        (
            "packed: a block beyond everything",
            frame(1, &[&8u64.to_le_bytes(), &[1], &4u64.to_le_bytes(), &u32::MAX.to_le_bytes()]),
        ),
        ("link: a path beyond the file", frame(2, &[&u32::MAX.to_le_bytes()])),
        (
            "tensor: a million patches",
            frame(3, &[&9u32.to_le_bytes(), &id(2), &1u32.to_le_bytes(), b"w", &u32::MAX.to_le_bytes()]),
        ),
        (
            "tensor: no patches",
            frame(3, &[&9u32.to_le_bytes(), &id(2), &1u32.to_le_bytes(), b"w", &0u32.to_le_bytes()]),
        ),
        (
            "tensor: a path that walks out",
            frame(3, &[&9u32.to_le_bytes(), &id(2), &4u32.to_le_bytes(), b"../w", &0u32.to_le_bytes()]),
        ),
        ("manifest: no steps", frame(4, &[&0u32.to_le_bytes(), &id(2), &0u32.to_le_bytes()])),
    ];
    for (what, bytes) in cases {
        let store = store_with(&[(a, bytes)]);
        let error = error(&store, a);
        assert!(
            matches!(error, ReadError::Object { source: Damage::Frame { .. } | Damage::Digest { .. }, .. })
                && error.to_string().contains(&a.to_string()),
            "{what}: {error}"
        );
        assert!(!store.fsck().unwrap().is_clean(), "{what}");
    }
}

/// A megabyte that claims to be sixty gigabytes, in deflate blocks that would really give them.
fn miniz_bomb() -> Vec<u8> {
    let block = miniz_oxide::deflate::compress_to_vec(&vec![0; 1 << 20], 9);
    let one = [&u32::try_from(block.len()).unwrap().to_le_bytes()[..], &block].concat();
    let blocks = one.repeat(1000);
    let claimed = (60u64 << 30).to_le_bytes();
    frame(1, &[&claimed, &[1], &(blocks.len() as u64).to_le_bytes(), &blocks])
}

/// A tensor or manifest that is its own base, directly or through another, is refused and not walked.
#[test]
fn circles_are_refused() {
    let (a, b) = (ObjectId::from_bytes(id(1)), ObjectId::from_bytes(id(2)));
    let tensor = |base: &[u8]| {
        frame(3, &[&9u32.to_le_bytes(), base, &1u32.to_le_bytes(), b"w", &1u32.to_le_bytes(), &id(3)])
    };
    let manifest = |base: &[u8]| frame(4, &[&9u32.to_le_bytes(), base, &0u32.to_le_bytes()]);
    for form in [&tensor as &dyn Fn(&[u8]) -> Vec<u8>, &manifest] {
        let store = store_with(&[(a, form(&id(1)))]);
        assert!(matches!(error(&store, a), ReadError::Object { source: Damage::Frame { .. }, .. }));
        let store = store_with(&[(a, form(&id(2))), (b, form(&id(1)))]);
        assert!(matches!(error(&store, a), ReadError::Object { source: Damage::Frame { .. }, .. }));
        assert!(!store.fsck().unwrap().is_clean());
    }
}

/// A commit that claims to be its own ancestor's ancestor: ids are hashes, so its file cannot be honest.
#[test]
fn a_cyclic_parent_is_refused() {
    let a = CommitId::from_bytes(id(1));
    let mut own = commit();
    (own.parents, own.deed) = (vec![a], Deed::Edit);
    let store = store_with(&[(a.into(), frame(0, &[&own.encode()]))]);
    assert!(matches!(store.odb().commit(a), Err(ReadError::Object { source: Damage::Digest { .. }, .. })));
    assert!(!store.fsck().unwrap().is_clean());
}

/// A commit whose generation lies is found by fsck and by whoever walks there.
#[test]
fn a_lying_generation_is_told() {
    let mut first = commit();
    (first.parents, first.deed, first.generation) = (vec![], Deed::Import, 1);
    let mut second = commit();
    (second.parents, second.deed, second.generation) = (vec![first.id()], Deed::Edit, 9);
    let file = |commit: &Commit| (commit.id().into(), frame(0, &[&commit.encode()]));
    let store = store_with(&[file(&first), file(&second)]);
    let told = store.fsck().unwrap().problems.iter().any(|p| p.to_string().contains("claims generation 9"));
    assert!(told);
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_in_a_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = common::store_in(dir.path());
    let id = common::tensor(&store, base, 0).id().to_string();
    let file = dir.path().join("store/objects").join(&id[..2]).join(&id[2..]);
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(&file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    let error = store.odb().load(id.parse::<ObjectId>().unwrap()).unwrap_err();
    assert!(error.to_string().contains("not a plain file"), "{error}");
}
