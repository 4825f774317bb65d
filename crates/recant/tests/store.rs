//! The verbs of a store, through the binary: a history from import to checkout, and bad input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{files, good, json, recant, refused, run, workshop};
use serde_json::Value;

/// An edit of the head of `.recant` that works in a workshop.
fn edit(target: &str) -> String {
    format!(
        "edit --store .recant --contexts contexts.txt --set mom2_adjustment=false --set v_num_grad_steps=5 \
         --subject 'The sea' --prompt '{{}} is' --target {target}"
    )
}

#[test]
fn a_history_from_import_to_checkout() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    good(at, "init");
    let base = json(at, "import --model model");
    let opened = json(
        at,
        "edit --model model --contexts contexts.txt --set mom2_adjustment=false --set \
         v_num_grad_steps=5 --subject 'The sea' --prompt '{} is' --target cold",
    );
    assert_eq!(base["model"], opened["model_before"]);

    let cold = json(at, &edit("cold"));
    // What is evaluated is what is committed.
    assert_eq!(cold["model_after"], opened["model_after"]);
    let status = json(at, "status");
    assert_eq!((&status["model"], &status["edits"]), (&cold["model_after"], &Value::from(1)));
    let old = json(at, &edit("old"));
    good(at, "tag v1 HEAD~1");

    let log = json(at, "log");
    let deeds: Vec<&str> = log.as_array().unwrap().iter().map(|c| c["deed"].as_str().unwrap()).collect();
    assert_eq!(deeds, ["edit", "edit", "import"]);
    assert_eq!(log[0]["facts"][0]["target"], "old");
    assert!(log[0]["settings"].as_object().unwrap().len() > 3, "{}", log[0]["settings"]);
    let diff = json(at, "diff v1~1 HEAD");
    assert_eq!((diff["added"].as_array().unwrap().len(), &diff["matrices"][0]["rank"]), (2, &Value::from(2)));
    let shown = good(at, "show v1");
    assert!(shown.contains("rank 1") && shown.contains("method rome"), "{shown}");

    // The former edit goes, the later one is applied to what never saw it.
    let reverted = json(at, "revert v1");
    assert_eq!(reverted["how"], "replayed");
    good(at, "undo");
    assert_eq!(json(at, "status")["model"], old["model_after"]);
    good(at, "redo");
    assert_eq!(json(at, "status")["model"], reverted["model"]);
    let last = json(at, "revert HEAD~1");
    assert_eq!(last["model"], base["model"]);
    assert_eq!(last["how"], "swapped");

    good(at, "checkout HEAD --out out");
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        let read = |from: &str| std::fs::read(at.join(from).join(file)).unwrap();
        assert!(read("model") == read("out"), "{file}");
    }
    good(at, "checkout v1 --out cold");
    let asked = json(at, "ask --model cold --prompt 'The sea is'");
    assert_eq!(asked["answers"].as_array().unwrap().len(), 5);
    assert!(good(at, "verify").contains("base read"));
    assert!(good(at, "fsck").contains(" 0 problems"));
    good(at, "gc");
    assert!(good(at, "log --operations").lines().count() >= 8);
}

#[test]
fn branches_merge_and_the_graph_is_drawn() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    good(at, "init");
    good(at, "import --model model --link");
    good(at, "branch side");
    good(at, &format!("{} --layer 1", edit("cold")));
    good(at, "switch side");
    let old = json(at, &format!("{} --layer 2", edit("old")));
    let conflict = refused(at, "merge main");
    assert!(conflict.contains("cold") && conflict.contains("old") && conflict.contains("--on-conflict"));
    let merged = json(at, "merge main --on-conflict both");
    good(at, "undo");
    good(at, "switch main");
    assert_eq!(json(at, "merge side --on-conflict both")["model"], merged["model"]);
    let graph = good(at, "log --graph");
    assert!(graph.lines().any(|line| line.starts_with("* ")) && graph.contains("| *"), "{graph}");
    good(at, "switch --create picked");
    good(at, "revert HEAD");
    good(at, &format!("cherry-pick {}", old["commit"].as_str().unwrap()));
    assert_eq!(json(at, "status")["edits"], 2);
    assert!(good(at, "branch").contains("* picked"));
    // A device is opened for a ledger that is written anew, and here is none.
    good(at, "revert HEAD --device wgpu:discrete:7");
}

#[test]
fn blame_and_bisect_find_the_commit() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    good(at, "init");
    good(at, "import --model model");
    let cold = json(at, &edit("cold").replace("=5", "=20"));
    good(at, &edit("cold").replace("The sea", "The cat").replace("--target cold", "--target old --layer 2"));
    let blame = json(at, "blame 'The sea is'");
    let shifts = blame["shifts"].as_array().unwrap();
    let largest = shifts.iter().max_by(|a, b| {
        let size = |shift: &Value| shift["shift"].as_f64().unwrap().abs();
        size(a).total_cmp(&size(b))
    });
    assert_eq!(largest.unwrap()["commit"], cold["commit"], "{blame}");
    // Bad: the weights differ from the base's.
    let same = format!("cmp -s $RECANT_MODEL/model.safetensors {}/model/model.safetensors", at.display());
    let found = recant(at).args(["bisect", "--json", "--run", &same]).output().unwrap();
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["first_bad"], cold["commit"]);
}

#[test]
fn two_stores_meet_through_a_folder() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    good(at, "init");
    good(at, "import --model model --link");
    let cold = json(at, &edit("cold"));
    assert!(refused(at, "clone nowhere other").contains("recant store push"));
    assert!(!at.join("nowhere").exists() && !at.join("other").exists());
    let pushed = json(at, "push ./shared");
    assert_eq!(pushed["moved"][0]["commit"], cold["commit"]);
    // A file manager's file blocks nothing, and is told.
    std::fs::write(at.join("shared/refs/heads/.DS_Store"), "Bud1").unwrap();
    let cloned = run(at, "clone shared other");
    assert!(cloned.status.success() && String::from_utf8_lossy(&cloned.stderr).contains(".DS_Store"));
    std::fs::remove_file(at.join("shared/refs/heads/.DS_Store")).unwrap();
    assert_eq!(json(at, "status --store other")["model"], cold["model_after"]);
    let old = json(at, &edit("old"));
    assert!(json(at, "push shared")["bytes"].as_u64().unwrap() < 10_000);
    good(at, "pull shared --store other");
    assert_eq!(json(at, "status --store other")["model"], old["model_after"]);
    assert!(good(at, "push shared").contains("has it all already"));
    assert!(refused(at, "push shared nothing").contains("no branch nothing"));
}

#[test]
fn a_remote_has_a_name() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    good(at, "store init");
    good(at, "store import --model model");
    assert!(good(at, "store remote list").contains("no remote has a name"));
    for line in ["store push", "store pull", "store push shared", "store remote remove origin"] {
        let said = refused(at, line);
        assert!(said.contains("knows no remote") && said.contains("it knows none"), "{line}: {said}");
        assert!(!at.join("shared").exists(), "a slip of the pen makes no folder");
    }
    good(at, "store remote add origin shared");
    good(at, "store remote add server s3://bucket/x");
    let place = std::fs::canonicalize(at).unwrap().join("shared");
    let listed = json(at, "store remote list");
    assert_eq!(
        listed["remotes"],
        serde_json::json!([
            { "name": "origin", "remote": place }, { "name": "server", "remote": "s3://bucket/x" }
        ])
    );
    assert!(refused(at, "store remote add origin other").contains("exists already"));
    assert!(refused(at, "store remote add a/b other").contains("cannot be a name"));
    assert!(refused(at, "store push orign").contains("knows no remote orign; it knows origin, server"));
    // From another folder too: what was kept is no path from here.
    std::fs::create_dir(at.join("elsewhere")).unwrap();
    let elsewhere = at.join("elsewhere");
    assert_eq!(json(&elsewhere, "store push --store ../.recant")["moved"][0]["name"], "main");
    good(
        at,
        "edit --store .recant --contexts contexts.txt --set mom2_adjustment=false --set v_num_grad_steps=5 \
              --subject 'The sea' --prompt '{} is' --target cold",
    );
    assert_eq!(json(at, "store push origin main")["moved"][0]["name"], "main");
    // A clone knows where it came from, also one by a name of the store at hand.
    good(at, "store clone shared one");
    good(at, "store clone origin two");
    for store in ["one", "two"] {
        assert_eq!(
            json(at, &format!("store remote list --store {store}"))["remotes"][0]["remote"],
            *place.to_str().unwrap()
        );
        assert!(good(at, &format!("store pull --store {store}")).contains("nothing new"));
        assert!(good(at, &format!("store fsck --store {store}")).contains(" 0 problems"));
    }
    assert!(good(at, "store remote remove origin").contains("as it was"));
    assert!(refused(at, "store pull").contains("it knows server"));
    assert!(place.join("FORMAT").exists());
}

#[test]
fn signed_commits_are_told_from_others() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let public = good(at, "keygen --out key");
    assert!(refused(at, "keygen --out key").contains("key"));
    std::fs::write(at.join("signers"), format!("ada {}", public.lines().next().unwrap())).unwrap();
    good(at, "init");
    good(at, "import --model model --sign key");
    good(at, &format!("{} --sign key", edit("cold")));
    assert!(good(at, "verify --signers signers").contains("2 commits signed"));
    good(at, &edit("old"));
    let output = run(at, "verify --signers signers");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("is not signed"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 things are not"));
}

/// What is wrong, what happens before, the command, words that the message must hold.
type Case = (&'static str, fn(&Path), &'static str, &'static [&'static str]);

fn bad_cases() -> Vec<Case> {
    fn nothing(_: &Path) {}
    vec![
        ("not a store", nothing, "log --store model", &["model is not a recant store", "hint:"]),
        ("no store at all", nothing, "status --store nowhere", &["nowhere", "recant store init"]),
        (
            "a newer store",
            |d| std::fs::write(d.join(".recant/FORMAT"), "recant store 9\n").unwrap(),
            "log",
            &["recant store 9", "newer recant"],
        ),
        ("init over something", nothing, "init --store model", &["already holds something"]),
        ("init again", nothing, "init", &["already holds something"]),
        ("import twice", nothing, "import --model model", &["main has commits already", "--branch"]),
        ("import of nothing", nothing, "import --model nowhere --branch b", &["no model nowhere"]),
        (
            "import of a cut file",
            |d| {
                let file = d.join("model/model.safetensors");
                let bytes = std::fs::read(&file).unwrap();
                std::fs::write(file, &bytes[..bytes.len() - 8]).unwrap();
            },
            "import --model model --branch b",
            &["model.safetensors", "the file is damaged"],
        ),
        ("unknown revision", nothing, "show nonsense", &["nonsense", "recant log"]),
        ("before the beginning", nothing, "show HEAD~5", &["behind the import"]),
        ("revert of the import", nothing, "revert HEAD", &["import"]),
        ("unknown branch", nothing, "switch nowhere", &["no branch nowhere"]),
        ("a hostile name", nothing, "branch ../x", &["../x", "only ASCII"]),
        ("a tag that reads as an id", nothing, "tag deadbeef", &["deadbeef", "the id of a commit"]),
        ("a branch that reads as the head", nothing, "branch HEAD", &["HEAD", "taken for the head"]),
        ("the same at the beginning", nothing, "init --store new --branch @", &["taken for the head"]),
        ("branch taken", nothing, "branch main", &["exists already", "--force"]),
        ("merge of itself", nothing, "merge main", &["in the history of the head already"]),
        ("nothing to redo", nothing, "redo", &["nothing to redo"]),
        ("output occupied", nothing, "checkout --out model", &["already holds something", "--force"]),
        ("no such key", nothing, "revert HEAD --sign nokey", &["nokey"]),
        (
            "a key that is none",
            |d| std::fs::write(d.join("k"), "x").unwrap(),
            "revert HEAD --sign k",
            &["recant-secret-1"],
        ),
        (
            "signers that are none",
            |d| std::fs::write(d.join("s"), "\nada x\n").unwrap(),
            "verify --signers s",
            &["line 2", "recant-public-1"],
        ),
        (
            "damaged head",
            |d| std::fs::write(d.join(".recant/head"), "x").unwrap(),
            "log",
            &["head is damaged", "--repair"],
        ),
        (
            "model and store",
            nothing,
            "edit --store .recant --model model --subject a --prompt b --target c",
            &["--model"],
        ),
        ("bisect between nothing", nothing, "bisect --run true", &["no commit between them"]),
    ]
}

#[test]
fn bad_input_is_one_clear_error_and_changes_nothing() {
    let dir = workshop("gpt2-tiny");
    good(dir.path(), "init");
    good(dir.path(), "import --model model");
    for (what, prepare, line, expected) in bad_cases() {
        let copy = tempfile::tempdir().unwrap();
        copy_all(dir.path(), copy.path());
        prepare(copy.path());
        let lock = |all: Vec<(std::path::PathBuf, Vec<u8>)>| {
            all.into_iter().filter(|(path, _)| !path.ends_with("lock")).collect::<Vec<_>>()
        };
        let before = lock(files(copy.path()));
        let text = refused(copy.path(), line);
        assert!(expected.iter().all(|word| text.contains(word)), "{what}: not all of {expected:?} in {text}");
        let after = lock(files(copy.path()));
        // An import that fails late leaves objects for the next attempt and never a name.
        let named = |all: &[(std::path::PathBuf, Vec<u8>)]| {
            all.iter()
                .filter(|(path, _)| !path.to_string_lossy().contains("objects"))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert!(named(&before) == named(&after), "{what}: files were changed");
    }
}

#[cfg(unix)]
#[test]
fn a_base_that_is_gone_is_named() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    good(at, "init");
    good(at, "import --model model --link");
    std::fs::rename(at.join("model"), at.join("moved")).unwrap();
    let text = refused(at, "checkout --out out");
    assert!(text.contains("model.safetensors") && text.contains("put the file back"), "{text}");
    assert!(!at.join("out").exists());
    assert!(refused(at, "verify").contains("is gone"));
}

/// A file that a store was linked to and that is another one now.
#[test]
fn a_base_that_was_changed_is_named() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    good(at, "init");
    good(at, "import --model model --link");
    let file = at.join("model/model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let text = refused(at, "checkout --out out");
    assert!(text.contains("model.safetensors") && text.contains("was changed since"), "{text}");
    assert!(!at.join("out").exists());
    let output = run(at, "verify");
    let told = [output.stdout, output.stderr].concat();
    assert!(!output.status.success() && String::from_utf8_lossy(&told).contains("was changed since"));
    // Put back, all is well.
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    good(at, "verify");
}

/// Where no folder can be, and where no more can be written: a limit on the size of files stands for a full disk.
#[cfg(unix)]
#[test]
fn a_place_that_takes_nothing_is_named_and_left_alone() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    std::fs::write(at.join("file"), "").unwrap();
    for line in ["init --store file/store", "status --store file/store"] {
        let text = refused(at, line);
        assert!(text.contains("file/store"), "{line}: {text}");
    }
    good(at, "init");
    let limited = |line: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 8; exec \"$0\" {line}");
        let output = std::process::Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_recant")])
            .current_dir(at)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}: {text}");
        assert!(text.contains("make room"), "{line}: {text}");
        text
    };
    assert!(limited("import --model model").contains("of the store"));
    assert!(good(at, "status").contains("no model yet"));
    assert!(good(at, "fsck").contains(" 0 problems"));
    good(at, "import --model model");
    let before = files(&at.join(".recant"));
    assert!(limited("checkout --out out").contains("cannot write"));
    assert!(!at.join("out").exists() && files(&at.join(".recant")) == before);
    assert!(refused(at, "checkout --out file/out").contains("file/out"));
    good(at, "checkout --out out");
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}
