//! Stores that somebody else wrote, object by object: what no verb of this crate makes is told by fsck and verify.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::forge::Forge;
use common::{edit, head, name, patch, path, rank_one, stamp};
use recant_core::{
    Change, CommitId, Delta, Dtype, HostTensor, ManifestId, ObjectId, ParamPath, PatchId, WeightPatch,
};
use recant_store::object::{Commit, Deed, Kind, Manifest, Part, Way, encode_tensor, object_id};
use recant_store::{CheckoutError, Draft, EditKind, FileName, Problem, SecretKey, Wrong};

fn file(path: &str) -> FileName {
    FileName::new(path).unwrap()
}

/// What a model consists of beside the numbers of its tensors is its base's: a commit that smuggles a file, a
/// tie, a tensor or a layout in is told by part, by fsck, verify and diff, and is not written out.
#[test]
fn every_part_that_no_edit_changes_is_compared_with_the_base() {
    type Change = fn(&Forge, &mut Manifest);
    let w = |i| path(i);
    let other = || ParamPath::new("other").unwrap();
    let cases: Vec<(&str, Change, Part, Way)> = vec![
        (
            "another tokenizer",
            |forge, manifest| {
                manifest.files.insert(file("tokenizer.json"), forge.blob(b"{\"evil\":1}"));
            },
            Part::File(file("tokenizer.json")),
            Way::Changed,
        ),
        (
            "an added program",
            |forge, manifest| {
                manifest.files.insert(file("modeling.py"), forge.blob(b"import os"));
            },
            Part::File(file("modeling.py")),
            Way::Added,
        ),
        (
            "no configuration",
            |_, manifest| {
                manifest.files.remove(&file("config.json"));
            },
            Part::File(file("config.json")),
            Way::Removed,
        ),
        (
            "an empty layout",
            |forge, manifest| manifest.layout = forge.blob(b"{}"),
            Part::Layout,
            Way::Changed,
        ),
        (
            "a garbage layout",
            |forge, manifest| manifest.layout = forge.blob(b"!"),
            Part::Layout,
            Way::Changed,
        ),
        (
            "a tie",
            |_, manifest| {
                manifest.ties.insert(ParamPath::new("other").unwrap(), path(0));
            },
            Part::Tie(other()),
            Way::Added,
        ),
        (
            "an added tensor",
            |_, manifest| {
                let id = manifest.tensors[&path(0)];
                manifest.tensors.insert(ParamPath::new("other").unwrap(), id);
            },
            Part::Tensor(other()),
            Way::Added,
        ),
        (
            "a tensor less",
            |_, manifest| {
                manifest.tensors.remove(&path(2));
            },
            Part::Tensor(w(2)),
            Way::Removed,
        ),
    ];
    for (what, change, part, how) in cases {
        let forge = Forge::new();
        edit(&forge.store, 0, 1);
        assert!(
            forge.problems().is_empty() && forge.wrong().is_empty() && forge.checkout().is_ok(),
            "{what}"
        );
        let forged = forge.commit(|_, manifest| change(&forge, manifest));
        // An honest edit on top of it hides nothing.
        edit(&forge.store, 1, 2);
        let told = |id: CommitId, apart: &recant_store::object::Apart| {
            id == forged && (&apart.part, apart.how) == (&part, how)
        };
        let problems = forge.problems();
        let found = problems.iter().any(|p| matches!(p, Problem::Part { id, apart } if told(*id, apart)));
        assert!(found, "{what}: {problems:?}");
        let wrong = forge.wrong();
        let is = |apart: &recant_store::object::Apart| (&apart.part, apart.how) == (&part, how);
        assert!(
            wrong.iter().any(|w| matches!(w, Wrong::Part { apart, .. } if is(apart))),
            "{what}: {wrong:?}"
        );
        let refused = forge.checkout().unwrap_err();
        assert!(matches!(refused, CheckoutError::Apart { .. }), "{what}: {refused}");
        let diff = forge.store.diff(forge.base, forged).unwrap();
        match &part {
            Part::Tensor(path) => assert!(diff.matrices.contains_key(path), "{what}"),
            _ => assert!(diff.parts.iter().any(is), "{what}: {diff:?}"),
        }
    }
}

/// A base whose layout does not hold its tensors was never imported: nothing is written from it.
#[test]
fn a_layout_of_a_base_that_does_not_hold_its_tensors_is_told() {
    for (what, layout, reason) in [
        ("empty", "{}", "no place for tensor `w0`"),
        ("garbage", "\u{7f}", "no safetensors header"),
        (
            "another shape",
            r#"{"w0":{"dtype":"F32","shape":[4,3],"data_offsets":[0,48]},"w1":{"dtype":"F32","shape":[5,2],"data_offsets":[48,88]},"w2":{"dtype":"F32","shape":[4,4],"data_offsets":[88,152]}}"#,
            "tensor `w0` is F32 [4, 3] in it, and F32 [3, 4]",
        ),
    ] {
        let forge = Forge::new();
        forge.commit(|commit, manifest| {
            manifest.layout = forge.blob(layout.as_bytes());
            (commit.deed, commit.parents, commit.generation) = (Deed::Import, vec![], 1);
        });
        let told = forge
            .problems()
            .iter()
            .any(|p| matches!(p, Problem::Layout { reason: r, .. } if r.contains(reason)));
        assert!(told, "{what}: {:?}", forge.problems());
        let told =
            forge.wrong().iter().any(|w| matches!(w, Wrong::Layout { reason: r, .. } if r.contains(reason)));
        assert!(told, "{what}: {:?}", forge.wrong());
        assert!(forge.checkout().is_err(), "{what}");
    }
}

/// The digest that a checkout gives is that of the tensors in the file, with the ties that are asked for.
#[test]
fn a_checkout_says_the_digest_of_what_it_wrote() {
    let forge = Forge::new();
    let commit = edit(&forge.store, 0, 1);
    let written = forge.checkout().unwrap();
    assert_eq!(written.digest(&[]), forge.store.model_digest(commit).unwrap());
    assert_eq!(written.tensors, forge.manifest(commit).tensors);
    let tied = (path(1), path(0));
    assert_ne!(written.digest(&[tied]), written.digest(&[]));
    // An import that claims a tie which its file does not have: what is said is what was written.
    forge.commit(|commit, manifest| {
        manifest.ties.insert(ParamPath::new("other").unwrap(), path(0));
        (commit.deed, commit.parents, commit.generation) = (Deed::Import, vec![], 1);
    });
    let written = forge.checkout().unwrap();
    assert_ne!(written.digest(&[]), forge.store.model_digest(head(&forge.store)).unwrap());
}

/// A signature that is not of its commit is wrong without any list of signers.
#[test]
fn a_false_signature_is_told_without_signers() {
    let forge = Forge::new();
    let key = SecretKey::from_seed([1; 32]);
    forge.commit(|commit, _| {
        key.sign(commit);
        commit.message = "another".to_owned();
    });
    edit(&forge.store, 0, 1);
    let told =
        forge.problems().iter().any(|p| matches!(p, Problem::Signature { key: k, .. } if *k == key.public()));
    assert!(told, "{:?}", forge.problems());
    assert!(matches!(&forge.wrong()[..], [Wrong::BadSignature { key: k, .. }] if *k == key.public()));
    // A good one of nobody known is none of plain verify's business.
    let forge = Forge::new();
    forge.commit(|commit, _| key.sign(commit));
    assert!(forge.problems().is_empty() && forge.wrong().is_empty());
}

/// Each place of a commit, a manifest, a patch and an operation asks for a kind.
#[test]
fn references_of_the_wrong_kind_are_told() {
    let forge = Forge::new();
    let one = edit(&forge.store, 0, 1);
    let commit = forge.store.odb().commit(one).unwrap();
    let tensor = forge.manifest(one).tensors[&path(1)];
    let blob = forge.manifest(one).files[&file("config.json")];
    type Change<'a> = Box<dyn Fn(&mut Commit, &mut Manifest) + 'a>;
    let cases: Vec<(&str, Kind, Change<'_>)> = vec![
        (
            "patch",
            Kind::Patch,
            Box::new(|commit, _| commit.patch = Some(PatchId::from_bytes(*blob.as_bytes()))),
        ),
        (
            "takes",
            Kind::Commit,
            Box::new(|commit, _| {
                commit.takes.insert(CommitId::from_bytes(*blob.as_bytes()));
            }),
        ),
        (
            "drops",
            Kind::Commit,
            Box::new(|commit, _| {
                commit.drops.insert(CommitId::from_bytes(*tensor.as_bytes()));
            }),
        ),
        (
            "states",
            Kind::Blob,
            Box::new(|commit, _| {
                commit.states.insert(name("s"), one.into());
            }),
        ),
        (
            "files",
            Kind::Blob,
            Box::new(|_, manifest| {
                manifest.files.insert(file("config.json"), tensor.into());
            }),
        ),
        ("layout", Kind::Blob, Box::new(|_, manifest| manifest.layout = tensor.into())),
        (
            "tensors",
            Kind::Tensor,
            Box::new(|_, manifest| {
                manifest.tensors.insert(path(1), recant_core::TensorId::from_bytes(*blob.as_bytes()));
            }),
        ),
        (
            "manifest",
            Kind::Manifest,
            Box::new(|commit, _| commit.manifest = ManifestId::from_bytes(*blob.as_bytes())),
        ),
    ];
    for (what, expected, change) in cases {
        let forge = Forge::new();
        edit(&forge.store, 0, 1);
        forge.commit(change);
        let problems = forge.problems();
        let told = problems.iter().any(|p| matches!(p, Problem::Kind { expected: e, .. } if *e == expected));
        assert!(told, "{what}: {problems:?}");
    }
    let forge = Forge::new();
    forge.operation(|view| {
        view.tags.insert(name("v1"), CommitId::from_bytes(*blob.as_bytes()));
    });
    let told = forge
        .problems()
        .iter()
        .any(|p| matches!(p, Problem::Kind { kind: Kind::Operation, expected: Kind::Commit, .. }));
    assert!(told, "{:?}", forge.problems());
    assert!(commit.patch.is_some());
}

/// A generation is one more than the greatest of the parents', up to the end of counting.
#[test]
fn a_generation_that_lies_is_refused_by_whoever_walks_there() {
    for generation in [9, u64::MAX] {
        let forge = Forge::new();
        let lying = forge.commit(|commit, _| commit.generation = generation);
        assert!(forge.store.verify(lying, None).unwrap_err().to_string().contains("generation"));
        let told = |p: &Problem| matches!(p, Problem::Generation { claimed, .. } if *claimed == generation);
        assert!(forge.problems().iter().any(told), "{:?}", forge.problems());
        // Nothing follows what cannot be counted on.
        let kind = EditKind::Patch(patch(&forge.store, 0, rank_one(0, 1)));
        let made = forge.store.commit_edit(&kind, &Draft::default(), &stamp(9), None);
        assert_eq!(made.is_err(), generation == u64::MAX, "{made:?}");
        let problems = forge.problems();
        assert!(problems.iter().any(told), "{problems:?}");
    }
}

/// A swap puts a tensor of the same type and sides; verify refuses what a checkout refuses.
#[test]
fn a_swap_of_another_type_is_refused() {
    let forge = Forge::new();
    let odd = HostTensor::from_f32(Dtype::F16, vec![3, 4], &[1.0; 12]).unwrap();
    let swapped = forge.commit(|commit, manifest| {
        forge.put(&encode_tensor(&odd));
        let change = Change { base: manifest.tensors[&path(0)], delta: Delta::Swap { after: odd.id() } };
        let patch = WeightPatch::one(path(0), change);
        commit.patch = Some(PatchId::from_bytes(*forge.put(&patch.encode()).as_bytes()));
        manifest.tensors.insert(path(0), odd.id());
    });
    let refused = forge.store.verify(swapped, None).unwrap_err().to_string();
    assert!(refused.contains("w0") && refused.contains("F16"), "{refused}");
    let told = forge
        .problems()
        .iter()
        .any(|p| matches!(p, Problem::Layout { reason, .. } if reason.contains("F16")));
    assert!(told, "{:?}", forge.problems());
    assert!(forge.checkout().is_err());
    // Nor do verbs that put edits together carry it on.
    assert!(forge.store.revert(edit(&forge.store, 1, 3), None, &stamp(9), None).is_err());
}

fn derived(steps: u32, base: ObjectId, patches: &[PatchId]) -> Vec<u8> {
    let ids: Vec<u8> = patches.iter().flat_map(|id| *id.as_bytes()).collect();
    [
        &b"RCNTOBJ1\x03"[..],
        &steps.to_le_bytes(),
        base.as_bytes(),
        &2u32.to_le_bytes(),
        b"w0",
        &(patches.len() as u32).to_le_bytes(),
        &ids,
    ]
    .concat()
}

/// The work that a derived object asks for is bounded before any of it is done.
#[test]
fn derived_objects_are_bounded_before_they_are_computed() {
    let forge = Forge::new();
    let one = edit(&forge.store, 0, 1);
    let patch = forge.store.odb().commit(one).unwrap().patch.unwrap();
    let base: ObjectId = forge.manifest(forge.base).tensors[&path(0)].into();
    let refused = |id: ObjectId, why: &str| {
        let error = forge.store.odb().load(id).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(
            forge.problems().iter().any(|p| p.to_string().contains(why)),
            "{why}: {:?}",
            forge.problems()
        );
    };
    // Two million repeats of one patch; said to be so, and not.
    let bomb = object_id(b"bomb");
    forge.write(bomb, &derived(2_000_000, base, &vec![patch; 2_000_000]));
    refused(bomb, "claims 2000000 steps");
    forge.write(bomb, &derived(1, base, &vec![patch; 2_000_000]));
    refused(bomb, "fewer steps than it has patches");
    // A hundred files of a hundred steps each.
    let chain: Vec<ObjectId> = (0..100u32).map(|i| object_id(&i.to_le_bytes())).collect();
    for (i, &id) in chain.iter().enumerate() {
        let below = if i == 0 { base } else { chain[i - 1] };
        forge.write(id, &derived(100, below, &vec![patch; 100]));
    }
    forge.write(bomb, &derived(100, chain[99], &[patch]));
    refused(bomb, "more than 1024 steps");
}

/// What a derived object claims is counted by fsck, and set right by a repair.
#[test]
fn a_false_count_of_steps_is_told_and_mended() {
    let forge = Forge::new();
    let commits = [edit(&forge.store, 0, 1), edit(&forge.store, 0, 2)];
    let id = |commit: CommitId| ObjectId::from(forge.manifest(commit).tensors[&path(0)]);
    let patch = |commit: CommitId| forge.store.odb().commit(commit).unwrap().patch.unwrap();
    for claimed in [1, 3, 128] {
        forge.write(id(commits[1]), &derived(claimed, id(commits[0]), &[patch(commits[1])]));
        let problems = forge.problems();
        let told = |p: &Problem| matches!(p, Problem::Steps { claimed: c, counted: 2, .. } if *c == claimed);
        assert!(problems.len() == 1 && told(&problems[0]), "{claimed}: {problems:?}");
        assert!(forge.store.repair(&stamp(9)).unwrap().problems.is_empty());
        assert!(forge.wrong().is_empty());
    }
    // The same of a manifest.
    let manifest: ObjectId = forge.store.odb().commit(commits[1]).unwrap().manifest.into();
    let mut file = std::fs::read(forge.file(manifest)).unwrap();
    file[9] = 40;
    std::fs::write(forge.file(manifest), file).unwrap();
    assert!(matches!(&forge.problems()[..], [Problem::Steps { claimed: 40, counted: 2, .. }]));
    assert!(forge.store.repair(&stamp(9)).unwrap().problems.is_empty());
}

/// A file that arrives is taken whatever steps it claims, and says the right ones here.
#[test]
fn what_arrives_counts_its_steps_anew() {
    let forge = Forge::new();
    let commits = [edit(&forge.store, 0, 1), edit(&forge.store, 0, 2)];
    let id = ObjectId::from(forge.manifest(commits[1]).tensors[&path(0)]);
    let below = ObjectId::from(forge.manifest(commits[0]).tensors[&path(0)]);
    let patch = forge.store.odb().commit(commits[1]).unwrap().patch.unwrap();
    std::fs::remove_file(forge.file(id)).unwrap();
    let mut tx = forge.store.begin(&stamp(9)).unwrap();
    let file = derived(77, below, &[patch]);
    let mut received = tx.writer.receive(id, file.len() as u64, &mut &file[..]).unwrap();
    assert_eq!(tx.writer.wants(&mut received).unwrap(), []);
    tx.writer.accept(received).unwrap();
    tx.writer.flush().unwrap();
    drop(tx);
    assert!(forge.problems().is_empty(), "{:?}", forge.problems());
    assert!(forge.file(id).exists());
}
