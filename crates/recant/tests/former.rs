//! Files and a store of the version before formats had checksums, through the binary: they are used, a note says that
//! nothing vouches for them, and what is written anew has a checksum. And states of a commit that are no states.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{files, good, json, refused, run, workshop};
use recant::records::{Carry, Record};
use recant::store::object::Record as CommitRecord;
use recant::store::{Draft, EditKind, Name, Stamp, Store};
use serde_json::Value;
use tempfile::TempDir;

const NOTE: &str = "carries no checksum";
const SEA: &str = "--subject 'The sea' --prompt '{} is' --target cold";
const CAT: &str = "--subject 'The cat' --prompt '{} is' --target old";
/// How the ledgers were begun.
const LEDGER: &str = "--contexts contexts.txt --stats stats --set v_num_grad_steps=3 --method ledger --layers 0,1 --set joint_steps=2";

/// A writable copy of the fixture.
fn copied() -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/former");
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files(&from) {
        let to: PathBuf = dir.path().join(path.strip_prefix(&from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, bytes).unwrap();
    }
    dir
}

/// The notes that name a file.
fn notes(value: &Value, file: &str) -> usize {
    let notes = value["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap());
    notes.filter(|note| note.contains(NOTE) && note.split(' ').next() == Some(file)).count()
}

#[test]
fn files_of_the_version_before_are_used() {
    let dir = copied();
    let at = dir.path();
    let edit = format!("edit --model model {LEDGER} --ledger ledger --patch new-patch {CAT}");
    let first = json(at, &edit);
    assert_eq!(first["ledger"], Value::from(2));
    assert_eq!(["ledger", "stats", "stats.factors"].map(|file| notes(&first, file)), [1; 3], "{first}");
    // The ledger and the factors were written again.
    let again = json(at, &edit.replace("--patch new-patch", ""));
    assert_eq!(["ledger", "stats", "stats.factors"].map(|file| notes(&again, file)), [0, 1, 0], "{again}");
    assert_eq!(again["patch"], first["patch"]);

    let export =
        |patch: &str| json(at, &format!("export --model model --patch {patch} --as lora --out {patch}-lora"));
    assert_eq!(notes(&export("patch"), "patch"), 1);
    assert_eq!(notes(&export("new-patch"), "new-patch"), 0);

    for memory in ["grace", "memory", "wise"] {
        assert_eq!(notes(&json(at, &format!("learned --state {memory}")), memory), 1);
        let asked = run(at, &format!("ask --model model --state {memory} --prompt 'The sea is'"));
        assert!(asked.status.success() && String::from_utf8_lossy(&asked.stderr).contains(NOTE), "{memory}");
        let learned = json(at, &format!("learn --model model --state {memory} --method {memory} {CAT}"));
        assert_eq!((&learned["edits"], notes(&learned, memory)), (&Value::from(2), 1), "{learned}");
        assert_eq!(notes(&json(at, &format!("learned --state {memory}")), memory), 0);
    }

    let stats = "stats --model model --corpus corpus.txt --layers 0,1 --tokens 300 --out";
    good(at, &format!("{stats} whole"));
    let resumed = run(at, &format!("{stats} interrupted"));
    let told = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(resumed.status.success() && told.contains(NOTE) && told.contains("going on"), "{told}");
    let bytes = |name: &str| std::fs::read(at.join(name)).unwrap();
    assert!(bytes("interrupted") == bytes("whole"), "it goes on to the same bytes");

    let eval = "eval --model model --data cases.json --method grace --layer 0 --set eps=0.05 --set n_iter=5 \
                --scenario sequential --resume resume --out report";
    let resumed = run(at, eval);
    let told = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(resumed.status.success() && told.matches(NOTE).count() == 2, "{told}");
}

#[test]
fn a_store_of_the_version_before_is_continued() {
    let dir = copied();
    let at = dir.path();
    let head = |key: &str| json(at, "log --store store -n 1")[0][key].clone();
    let only_sea = head("manifest");
    let cat = json(at, &format!("edit --store store --method ledger {CAT}"));
    assert_eq!(cat["ledger"], Value::from(2));
    good(at, "verify --store store --ledger");
    // The newer fact taken back, and both by hand as the store was begun.
    good(at, "revert --store store HEAD");
    assert_eq!(head("manifest"), only_sea, "a rebuilt ledger is the one that was stored");
    let by_hand = json(at, &format!("edit --store store {LEDGER} {CAT}"));
    assert_eq!(by_hand["model_after"], cat["model_after"]);
    let other = format!("edit --store store {} {CAT}", LEDGER.replace("joint_steps=2", "joint_steps=3"));
    assert!(refused(at, &other).contains("the settings, contexts or statistics"));

    good(at, "switch --store store keys");
    let carried = |id: &Value| {
        let store = Store::open(&at.join("store")).unwrap();
        let commit = store.odb().commit(id.as_str().unwrap().parse().unwrap()).unwrap();
        let state = commit.states[&Name::new("carry-alphaedit").unwrap()];
        let carry = Carry::from_file(&store.odb().blob(state).unwrap().bytes).unwrap();
        (carry.value.matrices.values().map(|matrix| matrix.rows()).collect::<Vec<_>>(), carry.checked)
    };
    assert_eq!(carried(&head("commit")), (vec![1, 1], false));
    let begun = "--contexts contexts.txt --stats stats --set v_num_grad_steps=3 --method alphaedit --layers 0,1 \
                 --set nullspace_threshold=100";
    let next = json(at, &format!("edit --store store {begun} {CAT}"));
    assert_eq!(carried(&next["commit"]), (vec![2, 2], true));
}

/// What an editor needs of earlier commits is there whole, or the edit is refused and the store as it was.
#[test]
fn a_damaged_state_of_a_commit_is_an_error() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    good(at, "init");
    good(at, "import --model model");
    let more = "--contexts contexts.txt --set mom2_adjustment=false --set v_num_grad_steps=2";
    good(at, &format!("edit --store .recant --method ledger --set joint_steps=2 {more} {SEA}"));
    let name = |text: &str| Name::new(text).unwrap();
    let good_carry = Carry::default().to_file();
    let cut = &good_carry[..good_carry.len() - 1];
    let cases: [(&str, &str, &[u8]); 5] = [
        ("carry-memit", "memit", b"no carry"),
        ("carry-memit", "memit", cut),
        ("ledger-recipe", "ledger", b"{\"layer\": 1}"),
        ("ledger-recipe", "ledger", b"no recipe"),
        ("ledger-statistics", "ledger", b"no statistics"),
    ];
    for (state, method, bytes) in cases {
        let store = Store::open(&at.join(".recant")).unwrap();
        let record = CommitRecord {
            method: "x".to_owned(),
            tool: "x".to_owned(),
            settings: BTreeMap::new(),
            facts: Vec::new(),
            scores: BTreeMap::new(),
        };
        let draft = Draft {
            message: "damage".to_owned(),
            record,
            states: BTreeMap::from([(name(state), (name("x"), bytes.to_vec()))]),
            tensors: Vec::new(),
            planned_on: None,
        };
        let stamp = Stamp { time: 1, author: "A".to_owned() };
        store.commit_edit(&EditKind::States, &draft, &stamp, None).unwrap();
        let before = files(&at.join(".recant"));
        let with = if method == "ledger" { "" } else { more };
        let text = refused(at, &format!("edit --store .recant --method {method} {with} {CAT}"));
        assert!(text.contains(state), "{state}: {text}");
        assert!(files(&at.join(".recant")) == before, "{state}: the store is as it was");
        good(at, "undo");
    }
    good(at, &format!("edit --store .recant --method ledger {CAT}"));
}
