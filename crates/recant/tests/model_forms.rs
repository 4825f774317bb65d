//! Model directories as people have them, through the binary: what is wrong with one is named with its remedy, and
//! what is strange about one that works is noted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{files, run, workshop};

const ASK: &str = "ask --model model --prompt cat";

/// Runs a command that has to fail, and to leave every file as it was. What it says to standard error.
fn refused(dir: &Path, line: &str) -> String {
    let before = files(dir);
    let output = run(dir, line);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {told}");
    assert!(!told.contains("panicked") && told.matches("error:").count() == 1, "{line}: {told}");
    assert!(files(dir) == before, "{line} changed a file");
    told
}

#[test]
fn what_stands_in_place_of_a_file_has_a_remedy() {
    let kinds = [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "Git LFS pointer",
            "git lfs pull",
        ),
        ("<!doctype html><title>Sign in</title>", "HTML page", "`resolve`"),
        ("Entry not found", "answer of a server", "access rights"),
    ];
    let edit = "edit --model model --layer 1 --contexts contexts.txt --subject 'The sea' --prompt '{} is' \
                --target cold --stats given";
    let readers = [
        ("model/model.safetensors", ASK),
        ("model/model.safetensors", "import --store history --model model"),
        ("model/config.json", ASK),
        ("model/config.json", "import --store history --model model"),
        ("model/tokenizer.json", ASK),
        ("model/generation_config.json", ASK),
        ("given", edit),
        ("given", "ask --model model --prompt cat --state given"),
        ("given", "stats --model model --layers 1 --out stats.safetensors --import given"),
    ];
    for (text, kind, remedy) in kinds {
        for (file, line) in readers {
            let dir = workshop("gpt2-tiny");
            assert!(run(dir.path(), "init --store history").status.success());
            std::fs::write(dir.path().join(file), text).unwrap();
            let told = refused(dir.path(), line);
            let name = Path::new(file).file_name().unwrap().to_str().unwrap();
            assert!(told.contains(name) && told.contains(kind), "{line}: {told}");
            assert!(told.contains("hint: ") && told.contains(remedy), "{line}: {told}");
        }
    }
}

#[test]
fn quantised_checkpoints_have_a_remedy() {
    let dir = workshop("gpt2-tiny");
    let config = dir.path().join("model/config.json");
    let plain = std::fs::read_to_string(&config).unwrap();
    let section =
        "{\n  \"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"load_in_8bit\": true},";
    std::fs::write(&config, plain.replacen('{', section, 1)).unwrap();
    for line in [ASK, "import --store history --model model"] {
        assert!(run(dir.path(), "init --store history").status.code().is_some());
        let told = refused(dir.path(), line);
        assert!(told.contains("bitsandbytes") && told.contains("dequantize"), "{line}: {told}");
    }
    std::fs::write(&config, &plain).unwrap();
    let weights = dir.path().join("model/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let at = bytes.windows(5).position(|window| window == b"\"F32\"").unwrap();
    bytes[at..at + 5].copy_from_slice(b"\"I32\"");
    std::fs::write(&weights, bytes).unwrap();
    let told = refused(dir.path(), ASK);
    assert!(told.contains("is I32") && told.contains("dequantize"), "{told}");
}

/// Notes go to standard error; what is asked for is answered.
#[test]
fn what_is_strange_about_a_model_is_noted() {
    let dir = workshop("gpt2-tiny");
    let config = dir.path().join("model/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let changed = text.replace("\"n_layer\": 3", "\"n_layer\": 2, \"mystery\": 7");
    assert_ne!(changed, text);
    std::fs::write(&config, changed).unwrap();
    let output = run(dir.path(), ASK);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("note: the checkpoint holds 12 tensors"), "{told}");
    assert!(told.contains("note: config.json sets what recant does not read: `mystery`"), "{told}");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("cat\n"));
    let plain = run(workshop("gpt2-tiny").path(), ASK);
    assert_eq!(String::from_utf8(plain.stderr).unwrap(), "");
}
