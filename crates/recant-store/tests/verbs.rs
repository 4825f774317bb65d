//! The verbs, one after another, on real files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{edit, head, name, patch, path, rank_one, stamp, store_in, tensor, write_model};
use recant_checkpoint::{Directory, Header, HeaderError, SHARD_LIST, Source, SourceError, TensorEntry};
use recant_core::{HostTensor, OnConflict, ParamPath};
use recant_store::object::{FactRecord, Record};
use recant_store::{
    CheckoutOptions, CommitError, Draft, EditKind, Form, GcOptions, History, How, Import, ImportError,
    MergeOptions, RevError, SecretKey, Store, UndoError, Wrong,
};

fn sum(start: &HostTensor, i: usize, seeds: &[u64]) -> HostTensor {
    seeds.iter().fold(start.clone(), |t, &seed| rank_one(i, seed).added_to(&path(i), &t).unwrap())
}

#[test]
fn a_checkout_of_the_base_is_the_file_that_was_imported() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    let out = dir.path().join("out");
    store.checkout(base, &out, CheckoutOptions::default()).unwrap();
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        let read = |from: &str| std::fs::read(dir.path().join(from).join(file)).unwrap();
        assert!(read("model") == read("out"), "{file}");
    }
    assert!(store.checkout(base, &out, CheckoutOptions::default()).is_err());
    store.checkout(base, &out, CheckoutOptions { force: true }).unwrap();
}

#[test]
fn an_edit_is_stored_as_factors_and_read_as_the_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    let commit = edit(&store, 0, 1);
    let expected = sum(&tensor(&store, base, 0), 0, &[1]);
    assert_eq!(tensor(&store, commit, 0), expected);
    assert_eq!(store.odb().form(expected.id()).unwrap(), Form::Derived);
    assert_eq!(tensor(&store, commit, 1), tensor(&store, base, 1));
}

#[test]
fn revert_swaps_what_nothing_touched_and_replays_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    let (one, two, three) = (edit(&store, 0, 1), edit(&store, 1, 2), edit(&store, 0, 3));
    assert_eq!(store.revert(two, None, &stamp(50), None).unwrap().how, How::Swapped);
    assert_eq!(tensor(&store, head(&store), 1), tensor(&store, base, 1));
    let how = store.revert(one, None, &stamp(51), None).unwrap().how;
    assert_eq!(how, How::Replayed(BTreeMap::from([(path(0), 1)])));
    assert_eq!(tensor(&store, head(&store), 0), sum(&tensor(&store, base, 0), 0, &[3]));
    assert!(matches!(store.revert(one, None, &stamp(52), None), Err(CommitError::NotLive { .. })));
    store.revert(three, None, &stamp(53), None).unwrap();
    assert_eq!(store.model_digest(head(&store)).unwrap(), store.model_digest(base).unwrap());
    assert!(matches!(store.revert(base, None, &stamp(54), None), Err(CommitError::NoChange { .. })));
}

#[test]
fn reverting_a_revert_puts_the_edit_back_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(dir.path());
    let (one, _) = (edit(&store, 0, 1), edit(&store, 0, 2));
    let before = store.model_digest(head(&store)).unwrap();
    let reverted = store.revert(one, None, &stamp(50), None).unwrap().commit;
    assert_ne!(store.model_digest(head(&store)).unwrap(), before);
    store.revert(reverted, None, &stamp(51), None).unwrap();
    assert_eq!(store.model_digest(head(&store)).unwrap(), before);
}

#[test]
fn merging_either_way_gives_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    store.branch(&name("side"), base, false, &stamp(3)).unwrap();
    let (_, main) = (edit(&store, 0, 1), edit(&store, 1, 2));
    store.switch(&name("side"), &stamp(4)).unwrap();
    let side = edit(&store, 0, 3);
    let merged = store.merge(main, MergeOptions::default(), None, &stamp(60), None).unwrap();
    assert!(!merged.fast_forward && merged.replayed.contains_key(&path(0)));
    let digest = store.model_digest(merged.commit).unwrap();
    store.switch(&name("main"), &stamp(5)).unwrap();
    let other = store.merge(side, MergeOptions::default(), None, &stamp(61), None).unwrap();
    assert_eq!(store.model_digest(other.commit).unwrap(), digest);
    assert_eq!(tensor(&store, other.commit, 1), tensor(&store, main, 1));
    // A merge is taken back as one.
    store.revert(other.commit, None, &stamp(62), None).unwrap();
    assert_eq!(store.model_digest(head(&store)).unwrap(), store.model_digest(main).unwrap());
    assert!(matches!(
        store.merge(side, MergeOptions::default(), None, &stamp(63), None),
        Err(CommitError::UpToDate { .. })
    ));
}

#[test]
fn contradictions_are_reported_and_decided() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    store.branch(&name("side"), base, false, &stamp(3)).unwrap();
    let say = |i: usize, target: &str| {
        let fact = FactRecord {
            subject: "Ada".to_owned(),
            prompt: "{} speaks".to_owned(),
            target: target.to_owned(),
        };
        let record = Record { facts: vec![fact], ..Record::default() };
        let draft = Draft { record, ..Draft::default() };
        let kind = EditKind::Patch(patch(&store, i, rank_one(i, 7)));
        store.commit_edit(&kind, &draft, &stamp(20), None).unwrap()
    };
    let ours = say(0, "French");
    store.switch(&name("side"), &stamp(4)).unwrap();
    let theirs = say(1, "Welsh");
    store.switch(&name("main"), &stamp(5)).unwrap();
    let merge = |on_conflict| store.merge(theirs, MergeOptions { on_conflict }, None, &stamp(60), None);
    let before = store.view().unwrap();
    let refused = merge(OnConflict::Refuse).unwrap_err();
    assert!(refused.to_string().contains("French") && refused.to_string().contains("Welsh"), "{refused}");
    assert_eq!(store.view().unwrap(), before);
    for (choice, digest) in [(OnConflict::Ours, ours), (OnConflict::Theirs, theirs)] {
        let merged = merge(choice).unwrap();
        assert_eq!(store.model_digest(merged.commit).unwrap(), store.model_digest(digest).unwrap());
        store.undo(&stamp(70)).unwrap();
    }
    assert_eq!(merge(OnConflict::Both).unwrap().conflicts.len(), 1);
}

#[test]
fn cherry_pick_adds_to_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    store.branch(&name("side"), base, false, &stamp(3)).unwrap();
    let main = edit(&store, 0, 1);
    store.switch(&name("side"), &stamp(4)).unwrap();
    edit(&store, 0, 2);
    let picked = store.cherry_pick(main, MergeOptions::default(), None, &stamp(30), None).unwrap();
    assert_eq!(tensor(&store, picked, 0), sum(&tensor(&store, base, 0), 0, &[2, 1]));
    assert!(matches!(
        store.cherry_pick(picked, MergeOptions::default(), None, &stamp(31), None),
        Err(CommitError::AlreadyLive { .. })
    ));
    store.revert(picked, None, &stamp(32), None).unwrap();
    assert_eq!(tensor(&store, head(&store), 0), sum(&tensor(&store, base, 0), 0, &[2]));
}

#[test]
fn undo_and_redo_walk_the_log_and_add_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    let (one, two) = (edit(&store, 0, 1), edit(&store, 0, 2));
    assert!(matches!(store.redo(&stamp(1)), Err(UndoError::End)));
    store.undo(&stamp(1)).unwrap();
    assert_eq!(head(&store), one);
    store.undo(&stamp(1)).unwrap();
    assert_eq!(head(&store), base);
    store.redo(&stamp(1)).unwrap();
    assert_eq!(head(&store), one);
    store.redo(&stamp(1)).unwrap();
    assert_eq!(head(&store), two);
    assert!(matches!(store.redo(&stamp(1)), Err(UndoError::End)));
    for _ in 0..3 {
        store.undo(&stamp(1)).unwrap();
    }
    assert_eq!(store.view().unwrap().head_commit(), None);
    assert!(matches!(store.undo(&stamp(1)), Err(UndoError::Beginning)));
    store.redo(&stamp(1)).unwrap();
    let three = edit(&store, 1, 3);
    assert!(matches!(store.redo(&stamp(1)), Err(UndoError::End)));
    store.undo(&stamp(1)).unwrap();
    assert_eq!(head(&store), base);
    assert!(store.odb().commit(three).is_ok());
    assert_eq!(store.operations().unwrap().len(), 14);
}

#[test]
fn a_long_chain_is_cut_and_still_exact() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    let seeds: Vec<u64> = (0..140).collect();
    let commits: Vec<_> = seeds.iter().map(|&seed| edit(&store, 0, seed)).collect();
    let start = tensor(&store, base, 0);
    for at in [0, 63, 64, 127, 128, 139] {
        assert_eq!(tensor(&store, commits[at], 0), sum(&start, 0, &seeds[..=at]), "{at}");
    }
    assert_eq!(store.odb().form(tensor(&store, commits[128], 0).id()).unwrap(), Form::Plain);
    assert!(store.fsck().unwrap().is_clean());
    assert!(store.verify(head(&store), None).unwrap().wrong.is_empty());
}

#[test]
fn a_link_is_verified_when_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    write_model(&model);
    let store = Store::init(&dir.path().join("store"), name("main"), &stamp(1)).unwrap();
    let import = Import { link: true, ..Import::default() };
    let base = store.import(&model, &import, &stamp(2), None).unwrap().commit;
    let file = model.join("model.safetensors");
    assert_eq!(store.odb().form(tensor(&store, base, 0).id()).unwrap(), Form::Linked);
    edit(&store, 0, 1);
    store.checkout(head(&store), &dir.path().join("out"), CheckoutOptions::default()).unwrap();
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &bad).unwrap();
    let checkout = || store.checkout(base, &dir.path().join("out2"), CheckoutOptions::default());
    assert!(checkout().unwrap_err().to_string().contains("was changed since"));
    std::fs::write(&file, &good[..good.len() - 1]).unwrap();
    assert!(checkout().unwrap_err().to_string().contains("is shorter"));
    std::fs::remove_file(&file).unwrap();
    assert!(checkout().unwrap_err().to_string().contains("is gone"));
    assert!(!dir.path().join("out2").exists());
    assert!(!store.fsck().unwrap().is_clean());
    std::fs::write(&file, &good).unwrap();
    assert!(store.fsck().unwrap().is_clean());
}

#[test]
fn packing_changes_files_and_not_ids() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    let numbers: Vec<f32> = (0..40_000).map(|i| ((i % 977) as f32 * 0.001).sin() * 0.02).collect();
    let file = common::safetensors(&[("w", &[200, 200], &numbers), ("zero", &[5000], &[0.0; 5000])]);
    std::fs::write(model.join("model.safetensors"), &file).unwrap();
    std::fs::write(model.join("config.json"), "{}").unwrap();
    let ids: Vec<_> = [false, true]
        .into_iter()
        .map(|pack| {
            let at = dir.path().join(format!("store-{pack}"));
            let store = Store::init(&at, name("main"), &stamp(1)).unwrap();
            let import = Import { pack, ..Import::default() };
            let commit = store.import(&model, &import, &stamp(2), None).unwrap().commit;
            let out = dir.path().join(format!("out-{pack}"));
            store.checkout(commit, &out, CheckoutOptions::default()).unwrap();
            assert!(std::fs::read(out.join("model.safetensors")).unwrap() == file);
            assert!(store.fsck().unwrap().is_clean());
            let lens: u64 =
                store.odb().ids().unwrap().iter().map(|&id| store.odb().file_len(id).unwrap()).sum();
            (commit, lens)
        })
        .collect();
    assert_eq!(ids[0].0, ids[1].0);
    assert!(ids[1].1 < ids[0].1, "{ids:?}");
}

#[test]
fn signatures_and_rollbacks_are_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    write_model(&dir.path().join("model"));
    let at = dir.path().join("store");
    let store = Store::init(&at, name("main"), &stamp(1)).unwrap();
    let (ada, eve) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
    let import = Import::default();
    store.import(&dir.path().join("model"), &import, &stamp(2), Some(&ada)).unwrap();
    let signed = |seed: u64, key: Option<&SecretKey>| {
        let kind = EditKind::Patch(patch(&store, 0, rank_one(0, seed)));
        store.commit_edit(&kind, &Draft::default(), &stamp(3), key).unwrap()
    };
    signed(1, Some(&ada));
    let old_head = std::fs::read(at.join("head")).unwrap();
    let newest = signed(2, Some(&ada));
    let signers =
        recant_store::PublicKey::signers(&format!("# team\nada {}", ada.public().to_text())).unwrap();
    let verify = || store.verify(head(&store), Some(&signers)).unwrap();
    let good = verify();
    assert_eq!((good.signed, good.wrong.len()), (3, 0));
    // Somebody puts an old head in place.
    let new_head = std::fs::read(at.join("head")).unwrap();
    std::fs::write(at.join("head"), old_head).unwrap();
    assert!(matches!(&verify().wrong[..], [Wrong::RolledBack { signed, .. }] if *signed == newest));
    std::fs::write(at.join("head"), new_head).unwrap();
    // An undo is told by the log and is no attack.
    store.undo(&stamp(4)).unwrap();
    assert_eq!(verify().wrong, []);
    store.redo(&stamp(4)).unwrap();
    signed(3, Some(&eve));
    assert!(matches!(&verify().wrong[..], [Wrong::UnknownSigner { key, .. }] if *key == eve.public()));
    signed(4, None);
    assert!(verify().wrong.iter().any(|wrong| matches!(wrong, Wrong::Unsigned { .. })));
    // A commit whose text was changed under its signature.
    let mut forged = (*store.odb().commit(newest).unwrap()).clone();
    forged.message = "another".to_owned();
    let state = forged.signature_state(&signers);
    assert!(matches!(state, recant_store::SignatureState::Bad(_)));
}

#[test]
fn revisions_resolve_and_unknown_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    let one = edit(&store, 0, 1);
    store.tag(&name("v1"), one, false, &stamp(3)).unwrap();
    edit(&store, 0, 2);
    for text in ["HEAD~1", "@~", "main~1", "v1", &one.to_string(), &one.to_string()[..10]] {
        assert_eq!(store.resolve(text).unwrap(), one, "{text}");
    }
    assert_eq!(store.resolve("v1~").unwrap(), base);
    assert!(matches!(store.resolve("nowhere"), Err(RevError::Unknown { .. })));
    assert!(matches!(store.resolve("HEAD~9"), Err(RevError::Beginning { .. })));
    assert!(matches!(store.resolve("../x"), Err(RevError::Unknown { .. })));
    assert!(store.tag(&name("v1"), base, false, &stamp(3)).is_err());
}

#[test]
fn gc_keeps_what_the_log_reaches_and_forgetting_frees_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    edit(&store, 0, 1);
    store.undo(&stamp(3)).unwrap();
    let dry = store.gc(GcOptions { dry_run: true, ..GcOptions::default() }, &stamp(4)).unwrap();
    assert!(dry.removed.is_empty());
    let gone = store.gc(GcOptions { forget: true, ..GcOptions::default() }, &stamp(5)).unwrap();
    assert!(gone.removed.len() >= 4, "{gone:?}");
    assert_eq!(head(&store), base);
    assert!(store.fsck().unwrap().is_clean());
    assert!(matches!(store.undo(&stamp(6)), Err(UndoError::Beginning)));
}

#[test]
fn fsck_finds_damage_and_repair_mends_what_follows_from_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    let one = edit(&store, 0, 1);
    let at = dir.path().join("store");
    let file = |hex: String| at.join("objects").join(&hex[..2]).join(&hex[2..]);
    std::fs::write(at.join("tmp/1-1"), "left").unwrap();
    std::fs::write(at.join("objects/stray"), "stray").ok();
    assert!(store.fsck().unwrap().problems.iter().any(|p| p.is_harmless()));
    // A derived tensor is lost and computed again.
    std::fs::write(file(tensor(&store, one, 0).id().to_string()), "RCNTOBJ1 nonsense").unwrap();
    assert!(!store.fsck().unwrap().is_clean());
    let mended = store.repair(&stamp(9)).unwrap();
    assert!(mended.problems.is_empty(), "{:?}", mended.problems);
    assert!(mended.repaired.iter().any(|line| line.contains("again")), "{:?}", mended.repaired);
    assert_eq!(tensor(&store, one, 0), sum(&tensor(&store, base, 0), 0, &[1]));
    // The head is lost and found.
    let now = head(&store);
    std::fs::write(at.join("head"), "garbage").unwrap();
    assert!(store.view().is_err());
    store.repair(&stamp(10)).unwrap();
    assert_eq!(head(&store), now);
    // A tampered base tensor is told by name and set aside.
    let id = tensor(&store, base, 1).id();
    let mut bytes = std::fs::read(file(id.to_string())).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(file(id.to_string()), bytes).unwrap();
    let found = store.fsck().unwrap();
    assert!(found.problems.iter().any(|p| p.to_string().contains(&id.to_string())), "{:?}", found.problems);
    assert!(!store.repair(&stamp(11)).unwrap().is_clean());
    // Importing the same file again brings it back.
    let import = Import { branch: Some(name("again")), ..Import::default() };
    store.import(&dir.path().join("model"), &import, &stamp(12), None).unwrap();
    assert!(store.repair(&stamp(13)).unwrap().is_clean());
}

#[test]
fn importing_twice_and_half_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(dir.path());
    let model = dir.path().join("model");
    let before = store.view().unwrap();
    let import = |import: &Import| store.import(&model, import, &stamp(5), None).unwrap_err();
    assert!(matches!(import(&Import::default()), ImportError::Occupied { .. }));
    let side = Import { branch: Some(name("side")), ..Import::default() };
    let nowhere = ParamPath::new("nowhere").unwrap();
    let tied = Import { ties: vec![(path(0), nowhere)], ..side.clone() };
    assert!(matches!(import(&tied), ImportError::Tie { .. }));
    let file = model.join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let header = |error| match error {
        ImportError::Source(SourceError::Header { source, .. }) => source,
        other => panic!("{other}"),
    };
    assert!(matches!(header(import(&side)), HeaderError::File { .. }));
    std::fs::write(&file, u64::MAX.to_le_bytes()).unwrap();
    assert!(matches!(header(import(&side)), HeaderError::Size { .. }));
    std::fs::write(&file, "short").unwrap();
    assert!(matches!(header(import(&side)), HeaderError::Short { found: 5 }));
    std::fs::write(&file, "version https://git-lfs.github.com/spec/v1\noid sha256:1\n").unwrap();
    assert!(matches!(import(&side), ImportError::Source(SourceError::Foreign(_))));
    assert_eq!(store.view().unwrap(), before);
}

/// A head that differs from the embedding it is said to be tied to is kept beside it.
#[test]
fn a_tied_name_with_bytes_of_its_own_is_imported_untied() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(dir.path());
    let import = Import { ties: vec![(path(0), path(1))], branch: Some(name("side")), ..Import::default() };
    let model = dir.path().join("model");
    let done = store.import(&model, &import, &stamp(5), None).unwrap();
    assert_eq!(done.untied, [path(0)]);
    let out = dir.path().join("out");
    store.checkout(done.commit, &out, CheckoutOptions::default()).unwrap();
    let bytes = |dir: &Path| std::fs::read(dir.join("model.safetensors")).unwrap();
    assert!(bytes(&out) == bytes(&model));
}

#[test]
fn an_edit_planned_on_an_old_head_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base) = store_in(dir.path());
    let planned = EditKind::Patch(patch(&store, 1, rank_one(1, 1)));
    edit(&store, 0, 2);
    let draft = Draft { planned_on: Some(base), ..Draft::default() };
    assert!(matches!(store.commit_edit(&planned, &draft, &stamp(5), None), Err(CommitError::Moved { .. })));
}

#[test]
fn states_go_on_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store_in(dir.path());
    let with = |bytes: &[u8]| {
        let states = BTreeMap::from([(name("adapter"), (name("grace"), bytes.to_vec()))]);
        let draft = Draft { states, ..Draft::default() };
        store.commit_edit(&EditKind::States, &draft, &stamp(3), None).unwrap()
    };
    let state = |store: &Store| {
        let commit = store.odb().commit(head(store)).unwrap();
        commit.states.get(&name("adapter")).map(|&id| store.odb().blob(id).unwrap().bytes)
    };
    with(b"one");
    edit(&store, 0, 1);
    assert_eq!(state(&store).unwrap(), b"one");
    let two = with(b"two");
    assert_eq!(state(&store).unwrap(), b"two");
    store.revert(two, None, &stamp(4), None).unwrap();
    assert_eq!(state(&store).unwrap(), b"one");
}

/// A model of several files comes in as such and goes out as the very files; a store that holds one says so.
#[test]
fn shards_are_stored_as_shards() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, sharded) = (dir.path().join("whole"), dir.path().join("sharded"));
    write_model(&whole);
    write_model(&sharded);
    let source = Directory::open(&whole).unwrap();
    let mut map = Vec::new();
    for (i, name) in source.layout().names().cloned().collect::<Vec<_>>().into_iter().enumerate() {
        let tensor = source.tensor(&name).unwrap();
        let file = format!("model-{}.safetensors", i % 2);
        map.push((name, tensor, file));
    }
    for file in ["model-0.safetensors", "model-1.safetensors"] {
        let mut end = 0;
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        for (name, tensor, _) in map.iter().filter(|(.., of)| of == file) {
            let begin = end;
            end += tensor.bytes().len() as u64;
            let (path, dtype, shape) = (name.clone(), tensor.dtype(), tensor.shape().to_vec());
            entries.push(TensorEntry { path, dtype, shape, begin, end });
            data.extend_from_slice(tensor.bytes());
        }
        let header = Header { tensors: entries, metadata: Some([("format".into(), "pt".into())].into()) };
        std::fs::write(sharded.join(file), [header.encode(), data].concat()).unwrap();
    }
    let pairs: Vec<String> = map.iter().map(|(name, _, file)| format!("\"{name}\":\"{file}\"")).collect();
    std::fs::write(sharded.join(SHARD_LIST), format!("{{\"weight_map\":{{{}}}}}\n", pairs.join(",")))
        .unwrap();
    std::fs::remove_file(sharded.join("model.safetensors")).unwrap();

    for link in [false, true] {
        let at = dir.path().join(format!("store-{link}"));
        let store = Store::init(&at, name("main"), &stamp(1)).unwrap();
        let import = Import { link, ..Import::default() };
        let done = store.import(&sharded, &import, &stamp(2), None).unwrap();
        assert_eq!(std::fs::read_to_string(at.join("FORMAT")).unwrap(), "recant store 3\n");
        let tip = edit(&store, 0, 3);
        let out = dir.path().join(format!("out-{link}"));
        store.checkout(done.commit, &out, CheckoutOptions::default()).unwrap();
        for entry in std::fs::read_dir(&sharded).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(
                std::fs::read(out.join(&name)).unwrap() == std::fs::read(sharded.join(&name)).unwrap(),
                "{name:?}"
            );
        }
        store.checkout(tip, &out, CheckoutOptions { force: true }).unwrap();
        let (edited, opened) = (store.source(tip).unwrap(), Directory::open(&out).unwrap());
        for (name, before, _) in &map {
            assert_eq!(edited.tensor(name).unwrap(), opened.tensor(name).unwrap());
            assert_eq!(edited.tensor(name).unwrap() != *before, *name == path(0));
        }
        assert_eq!(edited.layout(), opened.layout());
        assert_eq!(edited.file("config.json").unwrap(), opened.file("config.json").unwrap());
        assert!(store.verify(tip, None).unwrap().wrong.is_empty() && store.fsck().unwrap().is_clean());
    }
    // The digest is that of the same tensors in one file.
    let store = Store::init(&dir.path().join("one"), name("main"), &stamp(1)).unwrap();
    let one = store.import(&whole, &Import::default(), &stamp(2), None).unwrap();
    let other = Store::open(&dir.path().join("store-true")).unwrap();
    let base = History::new(other.odb()).live(other.resolve("HEAD").unwrap()).unwrap().import;
    assert_eq!(other.model_digest(base).unwrap(), one.digest);
}
