//! Where an output may go: one table over places, and what is there afterwards.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use recant_files::{
    ADAPTER_DIRECTORY, FileKind, MODEL_DIRECTORY, OutputError, Outputs, Relation, Role, Temporaries,
    carried_files, model_files,
};
use tempfile::TempDir;

const NOTE: FileKind = FileKind { name: "note", recognises: |head| head.starts_with(b"note") };

fn put(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Models, a store, inputs and other people's files.
fn world() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let model = |name: &str| {
        put(
            &dir.path().join(name),
            &[("config.json", name), ("model.safetensors", name), ("README.md", name)],
        );
    };
    ["project/model", "base", "other"].into_iter().for_each(model);
    model("with-thesis");
    put(
        dir.path(),
        &[
            ("store/FORMAT", "recant store 1\n"),
            ("store/objects/ab/cd", "object"),
            ("project/facts.jsonl", "{}"),
            ("with-thesis/thesis.txt", "mine"),
            ("foreign/thesis.txt", "mine"),
            ("half/config.json", "no weights"),
            ("repository/.git/HEAD", "ref"),
            ("with-folder/config.json", "c"),
            ("with-folder/model.safetensors", "w"),
            ("with-folder/notes/README.md", "mine"),
            ("file.txt", "mine"),
            ("note.txt", "note 1"),
            ("empty-file", ""),
        ],
    );
    fs::create_dir(dir.path().join("empty")).unwrap();
    #[cfg(unix)]
    for (link, to) in
        [("link", "empty"), ("link-to-file", "note.txt"), ("dangling", "nowhere"), ("way", "project")]
    {
        std::os::unix::fs::symlink(to, dir.path().join(link)).unwrap();
    }
    dir
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => {
                found.push((entry.path(), Vec::new()));
                found.extend(files(&entry.path()));
            }
            kind if kind.is_file() => found.push((entry.path(), fs::read(entry.path()).unwrap())),
            _ => found.push((
                entry.path(),
                fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned().into(),
            )),
        }
    }
    found.sort();
    found
}

fn outputs(dir: &Path, force: bool) -> Outputs {
    let mut outputs = Outputs::new(&Temporaries::default()).replacing(force);
    let inputs = [
        (Role::Model, "project/model"),
        (Role::Store, "store"),
        (Role::Linked, "base"),
        (Role::Input, "project/facts.jsonl"),
        (Role::Output, "out/of/before"),
    ];
    inputs.iter().for_each(|&(role, path)| outputs.reads(role, &dir.join(path)).unwrap());
    outputs
}

/// What is refused: a word of the error for a folder that replaces, and for a file that replaces.
const REFUSED: [(&str, &str, &str); 27] = [
    ("project/model", "is the model", "is the model"),
    ("project", "contains the model", "contains the model"),
    ("", "contains the model", "contains the model"),
    ("project/model/new", "lies inside the model", "lies inside the model"),
    ("project/model/a/b", "lies inside the model", "lies inside the model"),
    ("project/../project/model/./new", "lies inside the model", "lies inside the model"),
    ("project/model/model.safetensors", "lies inside the model", "lies inside the model"),
    ("way/model", "is the model", "is the model"),
    ("way/model/new", "lies inside the model", "lies inside the model"),
    ("store", "is the store", "is the store"),
    ("store/objects", "lies inside the store", "lies inside the store"),
    ("store/new", "lies inside the store", "lies inside the store"),
    ("base", "is the checkpoint that the store is linked to", "is the checkpoint"),
    ("base/new", "lies inside the checkpoint", "lies inside the checkpoint"),
    ("project/facts.jsonl", "is the input", "is the input"),
    ("out/of/before", "is another output", "is another output"),
    ("out/of", "contains another output", "contains another output"),
    ("out/of/before/new", "lies inside another output", "lies inside another output"),
    ("foreign", "holds thesis.txt, which is no file of a model directory", "it is a folder"),
    ("with-thesis", "holds thesis.txt", "it is a folder"),
    ("with-folder", "holds notes", "it is a folder"),
    ("repository", "holds .git", "it is a folder"),
    ("half", "it is no model directory", "it is a folder"),
    ("file.txt", "it is a file", "it is no note"),
    ("link", "a symbolic link", "a symbolic link"),
    ("link-to-file", "a symbolic link", "a symbolic link"),
    ("dangling", "a symbolic link", "a symbolic link"),
];

#[cfg(unix)]
#[test]
fn what_must_not_be_lost_is_refused_force_or_not() {
    let dir = world();
    let before = files(dir.path());
    for (place, folder_word, file_word) in REFUSED {
        for force in [false, true] {
            let path = dir.path().join(place);
            let names = model_files(&dir.path().join("project/model")).unwrap();
            let folder = outputs(dir.path(), force).directory(&path, MODEL_DIRECTORY, names).unwrap_err();
            let file = outputs(dir.path(), force).file(&path, NOTE).unwrap_err();
            for (error, word) in [(folder, folder_word), (file, file_word)] {
                let text = error.to_string();
                let occupied = !force && matches!(error, OutputError::Occupied { .. });
                assert!(text.contains(word) || occupied, "{place}, force {force}: {text}");
                assert!(text.contains(place), "{text}");
            }
        }
    }
    let with_slash =
        outputs(dir.path(), true).directory(&dir.path().join("link/"), MODEL_DIRECTORY, Vec::new());
    assert!(matches!(with_slash, Err(OutputError::Special { .. })));
    // A store that nobody named.
    let stranger =
        Outputs::new(&Temporaries::default()).replacing(true).file(&dir.path().join("store/x"), NOTE);
    assert!(matches!(
        stranger,
        Err(OutputError::Protected { role: Role::Store, relation: Relation::LiesIn, .. })
    ));
    assert_eq!(files(dir.path()), before);
}

#[test]
fn what_is_there_is_replaced_only_where_that_was_allowed() {
    let dir = world();
    let at = |name: &str| dir.path().join(name);
    let names = || model_files(&at("project/model")).unwrap();
    let before = files(dir.path());
    for error in [
        outputs(dir.path(), false).directory(&at("other"), MODEL_DIRECTORY, names()).unwrap_err(),
        outputs(dir.path(), false).file(&at("note.txt"), NOTE).unwrap_err(),
    ] {
        assert!(matches!(error, OutputError::Occupied { .. }), "{error}");
    }
    assert_eq!(files(dir.path()), before);

    let write = |dir: &Path| -> Result<(), OutputError> {
        put(dir, &[("config.json", "new"), ("model.safetensors", "new")]);
        Ok(())
    };
    for (place, force) in [("other", true), ("empty", false), ("new/deep", false)] {
        let output = outputs(dir.path(), force).directory(&at(place), MODEL_DIRECTORY, names()).unwrap();
        output.fill(write).unwrap();
        let mut held: Vec<_> =
            fs::read_dir(at(place)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        held.sort();
        assert_eq!(held, ["config.json", "model.safetensors"], "{place}");
        assert_eq!(fs::read(at(place).join("config.json")).unwrap(), b"new");
    }
    for (place, force) in [("note.txt", true), ("empty-file", true), ("new-file", false)] {
        outputs(dir.path(), force).file(&at(place), NOTE).unwrap().write(b"note 2").unwrap();
        assert_eq!(fs::read(at(place)).unwrap(), b"note 2");
    }
    outputs(dir.path(), false).continued(&at("note.txt"), NOTE).unwrap().write(b"note 3").unwrap();
    assert!(outputs(dir.path(), false).continued(&at("file.txt"), NOTE).is_err());
    let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(".recant-")));
}

/// Minutes lie between the decision and the writing.
#[test]
fn what_came_meanwhile_is_not_replaced() {
    let dir = world();
    let at = |name: &str| dir.path().join(name);
    let file = outputs(dir.path(), false).file(&at("later"), NOTE).unwrap();
    let folder =
        outputs(dir.path(), true).directory(&at("other"), MODEL_DIRECTORY, vec!["README.md".into()]).unwrap();
    put(dir.path(), &[("later", "note of somebody"), ("other/thesis.txt", "mine")]);
    let before = files(dir.path());
    assert!(matches!(file.write(b"note"), Err(OutputError::Occupied { .. })));
    let never = |_: &Path| -> Result<(), OutputError> { panic!("the work is not begun") };
    assert!(matches!(folder.fill(never), Err(OutputError::Foreign { .. })));
    // During the work.
    fs::remove_file(at("other/thesis.txt")).unwrap();
    let late = |new: &Path| -> Result<(), OutputError> {
        put(new, &[("config.json", "new")]);
        put(&at("other"), &[("thesis.txt", "mine")]);
        Ok(())
    };
    assert!(matches!(folder.fill(late), Err(OutputError::Foreign { .. })));
    assert_eq!(files(dir.path()), before);
}

#[test]
fn an_error_of_the_writer_leaves_what_was_there() {
    let dir = world();
    let before = files(dir.path());
    let output = outputs(dir.path(), true)
        .directory(&dir.path().join("other"), MODEL_DIRECTORY, vec!["README.md".into()])
        .unwrap();
    let half = |new: &Path| -> Result<(), OutputError> {
        put(new, &[("config.json", "half")]);
        Err(OutputError::Occupied { path: "x".into() })
    };
    assert!(output.fill(half).is_err());
    assert_eq!(files(dir.path()), before);
}

#[cfg(unix)]
#[test]
fn permissions_are_those_of_any_new_file_or_of_what_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let dir = world();
    let at = |name: &str| dir.path().join(name);
    let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
    put(dir.path(), &[("plain", "x")]);
    fs::create_dir(at("plain-folder")).unwrap();
    let mut new = outputs(dir.path(), true);
    new.file(&at("new"), NOTE).unwrap().write(b"note").unwrap();
    assert_eq!(mode("new"), mode("plain"));
    new.file(&at("secret"), NOTE).unwrap().private().write(b"note").unwrap();
    assert_eq!(mode("secret"), 0o600);
    fs::set_permissions(at("note.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    new.file(&at("note.txt"), NOTE).unwrap().write(b"note 2").unwrap();
    assert_eq!(mode("note.txt"), 0o640);
    let write = |dir: &Path| -> Result<(), OutputError> {
        put(dir, &[("adapter_config.json", "new"), ("adapter_model.safetensors", "new")]);
        Ok(())
    };
    new.directory(&at("adapter"), ADAPTER_DIRECTORY, Vec::new()).unwrap().fill(write).unwrap();
    assert_eq!(mode("adapter"), mode("plain-folder"));
    fs::set_permissions(at("adapter"), fs::Permissions::from_mode(0o750)).unwrap();
    outputs(dir.path(), true)
        .directory(&at("adapter"), ADAPTER_DIRECTORY, Vec::new())
        .unwrap()
        .fill(write)
        .unwrap();
    assert_eq!(mode("adapter"), 0o750);
}

#[test]
fn licences_and_templates_go_along_and_half_an_adapter_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let kept = [
        "LICENSE",
        "LICENSE-APACHE",
        "NOTICE.txt",
        "README.md",
        "additional_chat_templates/rag.jinja",
        "chat_template.jinja",
        "config.json",
        "modeling_x.py",
        "tokenizer.model",
        "vocab.txt",
    ];
    let left = [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "license.key.bin.d/x",
        "additional_chat_templates/notes.txt",
        ".git/config",
        "adapter_config.json",
    ];
    kept.iter().chain(&left).for_each(|name| put(dir.path(), &[(name, "x")]));
    assert_eq!(carried_files(dir.path()).unwrap(), kept.map(PathBuf::from));
    put(dir.path(), &[("adapter_model.safetensors", "x")]);
    let with_adapter = carried_files(dir.path()).unwrap();
    assert_eq!(with_adapter.len(), kept.len() + 2);
    assert!(carried_files(&dir.path().join("nowhere")).is_err());
}
