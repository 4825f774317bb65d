//! Nothing is overwritten by mistake: every writer of the binary against every place that must not be lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(unix)]

mod common;

use std::path::Path;

use common::{EDIT, files, good, json, recant, refused, run, workshop};
use tempfile::TempDir;

/// An edit of the store's head.
const STORE_EDIT: &str = "edit --store .recant --contexts contexts.txt --set mom2_adjustment=false \
     --set v_num_grad_steps=5 --subject 'The sea' --prompt '{} is' --target cold";

/// Commands that write a folder to `OUT` and may replace one.
fn folder_writers() -> Vec<String> {
    vec![
        format!("{EDIT} --out OUT --force"),
        format!("{STORE_EDIT} --out OUT --force"),
        "checkout --store .recant --out OUT --force".to_owned(),
        "export --model model --patch edit.patch --as lora --out OUT --force".to_owned(),
    ]
}

/// Commands that write a file to `OUT`, and may replace one of their kind.
fn file_writers() -> Vec<String> {
    let learn = "edit --model model --method grace --layer 0 --set eps=0.05 --subject 'The sea' --prompt '{} is' \
                 --target cold --state OUT";
    vec![
        format!("{EDIT} --patch OUT --force"),
        format!("{EDIT} --dump OUT --force"),
        format!("{EDIT} --method ledger --ledger OUT"),
        "stats --model model --corpus corpus.txt --layers 1 --tokens 100 --out OUT --force".to_owned(),
        learn.to_owned(),
        "move --model model --from memory --to OUT --as ledger --all --set mom2_adjustment=false".to_owned(),
        "eval --model model --data data.json --contexts contexts.txt --method grace --layer 0 --scenario sequential \
         --force --out report --resume OUT"
            .to_owned(),
        "trace model 'the cat is' --subject cat --corrupt mean --svg OUT --force".to_owned(),
        "keygen --out OUT".to_owned(),
    ]
}

/// A workshop with a store that is linked to `base`, and other people's files.
fn world() -> TempDir {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
        std::fs::write(at.join(name), text).unwrap();
    };
    std::fs::create_dir(at.join("base")).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(at.join("model").join(file), at.join("base").join(file)).unwrap();
    }
    good(at, "init");
    good(at, "import --model base --link");
    good(at, &format!("{EDIT} --patch edit.patch"));
    good(
        at,
        "edit --model model --state memory --method memory --layer 0 --contexts contexts.txt \
         --subject 'The sea' --prompt '{} is' --target cold",
    );
    write("home/thesis.txt", "mine");
    write("edited/thesis.txt", "mine");
    good(at, &format!("{EDIT} --out edited2"));
    std::fs::read_dir(at.join("edited2")).unwrap().flatten().for_each(|entry| {
        std::fs::rename(entry.path(), at.join("edited").join(entry.file_name())).unwrap();
    });
    std::fs::remove_dir(at.join("edited2")).unwrap();
    write("notes.txt", "mine");
    write("corpus.txt", &"The sea is cold. The cat is old.\n".repeat(50));
    write(
        "data.json",
        r#"[{"case_id": 1, "requested_rewrite": {"prompt": "{} is", "subject": "The sea",
        "target_new": {"str": "cold"}, "target_true": {"str": "old"}}, "paraphrase_prompts": [],
        "neighborhood_prompts": [], "generation_prompts": [], "attribute_prompts": []}]"#,
    );
    std::os::unix::fs::symlink("notes.txt", at.join("link")).unwrap();
    std::os::unix::fs::symlink("home", at.join("link-to-home")).unwrap();
    dir
}

#[test]
fn no_writer_takes_what_is_not_its_own() {
    let dir = world();
    let at = dir.path();
    let places = [
        "model",
        "model/new",
        ".",
        "..",
        ".recant",
        ".recant/new",
        "home",
        "edited",
        "notes.txt",
        "link",
        "link-to-home",
        "contexts.txt",
        "/dev/null",
    ];
    // Only these know what the store is linked to.
    let linked = ["base", "base/new"];
    let files_too = [
        "model/model.safetensors",
        "model/tokenizer.json",
        ".recant/FORMAT",
        "home/thesis.txt",
        "corpus.txt",
        "data.json",
        "edit.patch.txt",
    ];
    std::fs::write(at.join("edit.patch.txt"), "not a patch").unwrap();
    let before = files(at);
    let mut count = 0;
    for writer in folder_writers() {
        let of_store = writer.contains("--store");
        for place in places.iter().chain(linked.iter().filter(|_| of_store)) {
            // The model is no input of a command on a store, which replaces a model directory if it is told to.
            if of_store && place.starts_with("model") {
                continue;
            }
            let said = refused(at, &writer.replace("OUT", place));
            assert!(said.contains("cannot") && said.contains("hint:"), "{writer} to {place}: {said}");
            assert!(files(at) == before, "{writer} to {place}");
            count += 1;
        }
    }
    for writer in file_writers() {
        for place in places.iter().chain(&files_too) {
            // A key is made without a model: nothing is known of that folder.
            if writer.starts_with("keygen") && *place == "model/new" {
                continue;
            }
            let said = refused(at, &writer.replace("OUT", place));
            assert!(files(at) == before, "{writer} to {place}: {said}");
            count += 1;
        }
    }
    assert!(count > 150, "{count}");
}

#[test]
fn what_is_there_needs_force() {
    let dir = world();
    let at = dir.path();
    let eval = "eval --model model --data data.json --contexts contexts.txt --set mom2_adjustment=false --out report";
    for line in [
        format!("{EDIT} --out out"),
        "checkout --out back".to_owned(),
        "export --model model --patch edit.patch --as lora --out adapter".to_owned(),
        format!("{EDIT} --patch new.patch"),
        format!("{EDIT} --dump dump"),
        "stats --model model --corpus corpus.txt --layers 1 --tokens 100 --out stats".to_owned(),
        eval.to_owned(),
        "trace model 'the cat is' --subject cat --corrupt mean --svg map.svg".to_owned(),
    ] {
        good(at, &line);
        let before = files(at);
        let said = refused(at, &line);
        assert!(said.contains("already holds something") && said.contains("--force"), "{line}: {said}");
        assert!(files(at) == before, "{line}");
        good(at, &format!("{line} --force"));
    }
    good(at, "keygen --out key");
    let before = files(at);
    assert!(refused(at, "keygen --out key").contains("key already holds something"));
    std::fs::remove_file(at.join("key")).unwrap();
    assert!(refused(at, "keygen --out key").contains("key.pub already holds something"));
    assert!(!at.join("key").exists(), "no secret key without its public one");
    assert!(before.len() == files(at).len() + 1);
}

/// Pages of the manual go into folders that others use too.
#[test]
fn pages_of_the_manual_replace_only_their_like() {
    let dir = world();
    let at = dir.path();
    assert!(good(at, "man").contains(".TH recant 1"));
    let told = json(at, "man --out share/man1");
    assert!(told["pages"].as_array().unwrap().contains(&"recant-store-push.1".into()), "{told}");
    let page = at.join("share/man1/recant.1");
    assert!(std::fs::read_to_string(&page).unwrap().contains("Exit codes"));
    assert!(refused(at, "man --out share/man1").contains("already holds something"));
    std::fs::write(&page, ".TH RECANT 1\n").unwrap();
    let before = files(at);
    for line in ["man --out share/man1 --force", "man --out .recant", "man --out notes.txt"] {
        let said = refused(at, line);
        assert!(files(at) == before, "{line}: {said}");
    }
    std::fs::remove_file(&page).unwrap();
    good(at, "man --out share/man1 --force");
    good(at, "man --out home");
    assert_eq!(std::fs::read_to_string(at.join("home/thesis.txt")).unwrap(), "mine");
}

/// The commit that the store is linked to can still be made after a refused checkout, and undo is exact.
#[test]
fn a_linked_base_is_not_checked_out_over() {
    let dir = world();
    let at = dir.path();
    good(at, STORE_EDIT);
    let said = refused(at, "checkout --out base --force");
    assert!(said.contains("is the checkpoint that the store is linked to"), "{said}");
    assert!(good(at, "fsck").contains(" 0 problems"));
    good(at, "undo");
    good(at, "checkout --out back");
    let weights = |dir: &str| std::fs::read(at.join(dir).join("model.safetensors")).unwrap();
    assert!(weights("back") == weights("base"));
}

/// Two outputs of one command must not be one.
#[test]
fn outputs_of_one_command_keep_apart() {
    let dir = world();
    let before = files(dir.path());
    for line in ["--out out --patch out/edit.patch", "--patch x --dump x", "--out x --dump x"] {
        let said = refused(dir.path(), &format!("{EDIT} {line}"));
        assert!(said.contains("another output"), "{said}");
    }
    assert!(files(dir.path()) == before);
}

/// The adapter names its base so that it is found from every folder, and the model gets no adapter beside it.
#[test]
fn an_adapter_names_its_base_by_its_whole_path() {
    let dir = world();
    good(dir.path(), "export --model model --patch edit.patch --as lora --out adapter");
    let text = std::fs::read_to_string(dir.path().join("adapter/adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let base = config["base_model_name_or_path"].as_str().unwrap();
    assert_eq!(Path::new(base), dir.path().join("model").canonicalize().unwrap());
    assert!(!dir.path().join("model/adapter_config.json").exists());
}

/// What is said to be written was, and nothing is said of what was not looked at.
#[test]
fn what_was_written_is_told() {
    let dir = world();
    let at = dir.path();
    let said = good(at, &format!("{EDIT} --patch new.patch"));
    assert!(said.contains("patch written to new.patch") && said.contains("no model was written"), "{said}");
    let said = good(at, &format!("{EDIT} --out out"));
    assert!(said.contains("model written to out") && !said.contains("as it was"), "{said}");
    let commit = json(at, STORE_EDIT)["commit"].clone();
    assert!(commit.is_string());
}

#[test]
fn a_file_beyond_the_limit_is_told_like_a_full_disk() {
    let dir = world();
    let at = dir.path();
    good(at, STORE_EDIT);
    let before = files(at);
    for line in [format!("{EDIT} --out out"), "checkout --out out".to_owned()] {
        let program = env!("CARGO_BIN_EXE_recant");
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("ulimit -f 40; exec {program} {line}")])
            .current_dir(at)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(
            said.contains("make room on that disk") && said.contains("model.safetensors"),
            "{line}: {said}"
        );
        assert!(files(at) == before, "{line}");
    }
}

/// `recant log | head`: the reader goes, the command ends in peace. A full disk is an error.
#[test]
fn a_closed_pipe_ends_quietly_and_a_full_one_does_not() {
    use std::process::Stdio;
    let dir = world();
    let at = dir.path();
    for line in ["log", "show", "status", "store fsck", "log --json", "--help", "facts list memory"] {
        let mut child =
            recant(at).args(line.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{line}: {:?} {said}", output.status);
    }
    if let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") {
        let output = recant(at).arg("log").stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("error: cannot write to standard output"), "{said}");
    }
    assert!(run(at, "status").status.success());
}
