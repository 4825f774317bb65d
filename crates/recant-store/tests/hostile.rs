//! Stores that somebody else wrote, object by object: what no verb of this crate makes is told by fsck and verify.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};

use common::{edit, head, name, patch, path, rank_one, stamp, store_in, write_model};
use recant_core::{
    Change, CommitId, Delta, Dtype, HostTensor, ManifestId, ObjectId, ParamPath, PatchId, WeightPatch,
};
use recant_store::object::{Blob, Commit, Deed, Head, Kind, Manifest, Operation, Part, Step, View, Way};
use recant_store::object::{encode_tensor, object_id};
use recant_store::{
    CheckoutError, CheckoutOptions, Draft, EditKind, Import, NamesError, Problem, RevError, SecretKey, Store,
    TransactionError, Wrong,
};

/// A store in a folder, and means to write into it past every check.
struct Forge {
    dir: tempfile::TempDir,
    store: Store,
    base: CommitId,
}

impl Forge {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, base) = store_in(dir.path());
        Self { dir, store, base }
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn file(&self, id: ObjectId) -> PathBuf {
        let hex = id.to_string();
        self.at().join("objects").join(&hex[..2]).join(&hex[2..])
    }

    fn write(&self, id: ObjectId, file: &[u8]) {
        let path = self.file(id);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
    }

    fn put(&self, payload: &[u8]) -> ObjectId {
        let id = object_id(payload);
        self.write(id, &[b"RCNTOBJ1\0", payload].concat());
        id
    }

    fn blob(&self, bytes: &[u8]) -> ObjectId {
        self.put(&Blob { kind: name("file"), bytes: bytes.to_vec() }.encode())
    }

    fn manifest(&self, of: CommitId) -> Manifest {
        self.store.odb().manifest(self.store.odb().commit(of).unwrap().manifest).unwrap()
    }

    /// A commit behind the head, changed at will, with its manifest, and the head put onto it.
    fn commit(&self, change: impl FnOnce(&mut Commit, &mut Manifest)) -> CommitId {
        let parent = head(&self.store);
        let mut commit = (*self.store.odb().commit(parent).unwrap()).clone();
        let mut manifest = self.manifest(parent);
        (commit.deed, commit.parents, commit.generation) = (Deed::Edit, vec![parent], commit.generation + 1);
        (commit.patch, commit.takes, commit.drops) = (None, Default::default(), Default::default());
        let before = manifest.id();
        commit.manifest = before;
        change(&mut commit, &mut manifest);
        if manifest.id() != before {
            commit.manifest = ManifestId::from_bytes(*self.put(&manifest.encode()).as_bytes());
        }
        self.put(&commit.encode());
        let commit = commit.id();
        self.operation(|view| drop(view.branches.insert(name("main"), commit)));
        commit
    }

    fn operation(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.store.view().unwrap();
        change(&mut view);
        let parent = Some(self.store.head_operation().unwrap());
        let operation = Operation {
            parent,
            time: 9,
            author: "eve".to_owned(),
            what: "forged".to_owned(),
            step: Step::Forward,
            view,
        };
        self.put(&operation.encode());
        std::fs::write(self.at().join("head"), format!("{}\n", operation.id())).unwrap();
    }

    fn problems(&self) -> Vec<Problem> {
        self.store.fsck().unwrap().problems
    }

    fn wrong(&self) -> Vec<Wrong> {
        self.store.verify(head(&self.store), None).unwrap().wrong
    }

    fn checkout(&self) -> Result<recant_store::Written, CheckoutError> {
        let out = tempfile::tempdir().unwrap();
        self.store.checkout(head(&self.store), &out.path().join("out"), CheckoutOptions::default())
    }
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
                drop(manifest.files.insert(name("tokenizer.json"), forge.blob(b"{\"evil\":1}")))
            },
            Part::File(name("tokenizer.json")),
            Way::Changed,
        ),
        (
            "an added program",
            |forge, manifest| drop(manifest.files.insert(name("modeling.py"), forge.blob(b"import os"))),
            Part::File(name("modeling.py")),
            Way::Added,
        ),
        (
            "no configuration",
            |_, manifest| drop(manifest.files.remove(&name("config.json"))),
            Part::File(name("config.json")),
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
            |_, manifest| drop(manifest.ties.insert(ParamPath::new("other").unwrap(), path(0))),
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
            |_, manifest| drop(manifest.tensors.remove(&path(2))),
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

/// A name that reads as an id or as the head is refused whoever makes it; one that a store has already neither
/// hides a commit nor is out of reach.
#[test]
fn a_name_never_hides_a_commit() {
    let forge = Forge::new();
    let (store, base) = (&forge.store, forge.base);
    let evil = edit(store, 0, 1);
    let whole = base.to_string();
    let prefix = &whole[..8];
    for text in [whole.as_str(), prefix, "HEAD", "@", "deadbeef"] {
        let before = store.view().unwrap();
        let refused = |made: Result<_, NamesError>| match made.unwrap_err() {
            NamesError::Transaction(TransactionError::Name(error)) => assert_eq!(error.name, text),
            error => panic!("{text}: {error}"),
        };
        refused(store.tag(&name(text), evil, true, &stamp(5)));
        refused(store.branch(&name(text), evil, true, &stamp(5)));
        let import = Import { branch: Some(name(text)), ..Import::default() };
        assert!(store.import(&forge.dir.path().join("model"), &import, &stamp(5), None).is_err(), "{text}");
        assert!(Store::init(&forge.dir.path().join("new"), name(text), &stamp(5)).is_err(), "{text}");
        assert!(!forge.dir.path().join("new").exists());
        assert_eq!(store.view().unwrap(), before);
    }
    // As an earlier version, or another hand, made them.
    forge.operation(|view| {
        for text in [whole.as_str(), prefix, "HEAD", "deadbeef"] {
            view.tags.insert(name(text), evil);
        }
    });
    assert_eq!(store.resolve(&whole).unwrap(), base, "64 digits are the commit");
    assert_eq!(store.resolve(&format!("{whole}~0")).unwrap(), base);
    assert_eq!(store.verify(store.resolve(&whole).unwrap(), None).unwrap().commit, base);
    assert_eq!(store.resolve("HEAD").unwrap(), evil);
    for text in [prefix, "deadbeef"] {
        assert!(matches!(store.resolve(text), Err(RevError::Unfit { kind: "tag", .. })), "{text}");
        assert_eq!(store.resolve(&format!("tag/{text}")).unwrap(), evil);
    }
    let told = forge.problems();
    assert_eq!(told.iter().filter(|p| matches!(p, Problem::Name { kind: "tag", .. })).count(), 4, "{told:?}");
    // The store goes on working, and the names can be taken away.
    edit(store, 1, 2);
    for text in [whole.as_str(), prefix, "HEAD", "deadbeef"] {
        store.delete_tag(&name(text), &stamp(6)).unwrap();
    }
    assert!(forge.problems().is_empty());
    assert_eq!(store.resolve(prefix).unwrap(), base);
    assert_eq!(store.resolve("branch/main").unwrap(), head(store));
}

/// Ids of commits that are not there are unknown, even where a name spells them.
#[test]
fn an_id_of_nothing_is_unknown() {
    let forge = Forge::new();
    let nothing = "ab".repeat(32);
    forge.operation(|view| drop(view.tags.insert(name(&nothing), forge.base)));
    assert!(matches!(forge.store.resolve(&nothing), Err(RevError::Unknown { .. })));
    let tensor = forge.manifest(forge.base).tensors[&path(0)].to_string();
    assert!(matches!(forge.store.resolve(&tensor), Err(RevError::Unknown { .. })), "a tensor is no commit");
}

/// A verb that leaves the names as they were is no operation, so undo takes back the one before.
#[test]
fn what_changes_nothing_is_no_operation() {
    let forge = Forge::new();
    let store = &forge.store;
    store.tag(&name("v1"), forge.base, false, &stamp(3)).unwrap();
    let one = edit(store, 0, 1);
    let operations = store.operations().unwrap().len();
    let same = store.head_operation().unwrap();
    assert_eq!(store.switch(&name("main"), &stamp(4)).unwrap(), same);
    assert_eq!(store.tag(&name("v1"), forge.base, true, &stamp(4)).unwrap(), same);
    assert_eq!(store.branch(&name("main"), one, true, &stamp(4)).unwrap(), same);
    assert_eq!(store.operations().unwrap().len(), operations);
    store.undo(&stamp(5)).unwrap();
    assert_eq!(head(store), forge.base);
    store.redo(&stamp(5)).unwrap();
    store.detach(one, &stamp(6)).unwrap();
    let same = store.head_operation().unwrap();
    assert_eq!(store.detach(one, &stamp(7)).unwrap(), same);
    // Logs of earlier versions have such operations: they are passed over, both ways.
    forge.operation(|_| ());
    forge.operation(|_| ());
    assert!(store.undo(&stamp(8)).unwrap().contains("switch"));
    assert_eq!(store.view().unwrap().head, Head::Branch(name("main")));
    assert!(store.redo(&stamp(8)).unwrap().contains("switch"));
    assert_eq!(store.view().unwrap().head, Head::Detached(one));
    assert!(store.redo(&stamp(8)).is_err());
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
    let blob = forge.manifest(one).files[&name("config.json")];
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
            Box::new(|commit, _| drop(commit.takes.insert(CommitId::from_bytes(*blob.as_bytes())))),
        ),
        (
            "drops",
            Kind::Commit,
            Box::new(|commit, _| drop(commit.drops.insert(CommitId::from_bytes(*tensor.as_bytes())))),
        ),
        ("states", Kind::Blob, Box::new(|commit, _| drop(commit.states.insert(name("s"), one.into())))),
        (
            "files",
            Kind::Blob,
            Box::new(|_, manifest| drop(manifest.files.insert(name("config.json"), tensor.into()))),
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
    forge.operation(|view| drop(view.tags.insert(name("v1"), CommitId::from_bytes(*blob.as_bytes()))));
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
    let mut received = tx.writer.receive(id, &mut &derived(77, below, &[patch])[..]).unwrap();
    assert_eq!(tx.writer.wants(&mut received).unwrap(), []);
    tx.writer.accept(received).unwrap();
    drop(tx);
    assert!(forge.problems().is_empty(), "{:?}", forge.problems());
    assert!(Path::new(&forge.file(id)).exists());
    write_model(&forge.dir.path().join("again"));
}
