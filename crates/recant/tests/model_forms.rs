//! Model directories as people have them, through the binary: what is wrong with one is named with its remedy, and
//! what is strange about one that works is noted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{files, recant, run, workshop};

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

/// Every command reads every form of a model: what `ask` says of one directory, it says of its shards and of the store
/// that holds it; `info` reads no tensor.
#[test]
fn a_commit_is_a_model_wherever_a_directory_is() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let asked = |model: &str| {
        let output = run(at, &format!("ask --model {model} --prompt 'The sea is' --json"));
        assert!(output.status.success(), "{model}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(at, "init").status.success() && run(at, "import --model model").status.success());
    let edit = "edit --store .recant --layer 1 --contexts contexts.txt --set mom2_adjustment=false --subject 'The sea' \
                --prompt '{} is' --target cold --json";
    assert!(common::done(&run(at, edit)));
    assert_eq!(asked("model"), asked(".recant@HEAD~1"));
    assert_ne!(asked("model"), asked(".recant"));
    assert!(run(at, "checkout --out out").status.success());
    assert_eq!(asked("out"), asked(".recant@HEAD"));
    let info = |model: &str| {
        let output = run(at, &format!("info {model} --json"));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (told["family"].clone(), told["parameters"].clone(), told["files"].clone())
    };
    assert_eq!(info("model"), info(".recant@HEAD"));
    assert_eq!(info("model").0, "gpt2");
    // An edited commit is written as a model, and what a store holds is not written over.
    assert!(common::done(&run(
        at,
        &format!("{} --out second", edit.replace("--store .recant", "--model .recant@HEAD"))
    )));
    assert_ne!(asked("second"), asked("out"));
    assert!(refused(at, "ask --model .recant@nowhere --prompt cat").contains("nowhere"));
    let over = format!("{} --out .recant --force", edit.replace("--store .recant", "--model .recant@HEAD"));
    assert!(refused(at, &over).contains(".recant"));
}

/// `--chat` asks inside the model's own template, and a target ends as an answer does.
#[test]
fn a_chat_model_is_asked_in_its_own_template() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let chat = "generate --model model --chat --prompt 'The sea is' --max-new 1 --json";
    assert!(refused(at, chat).contains("no chat template"));
    let template = "{% for m in messages %}<|endoftext|>{{ m.role }}: {{ m.content }}<|endoftext|>\n{% endfor %}\
                    {% if add_generation_prompt %}<|endoftext|>assistant: {% endif %}";
    std::fs::write(at.join("model/chat_template.jinja"), template).unwrap();
    let ids = |line: &str| -> Vec<u64> {
        let output = run(at, line);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        serde_json::from_value(told["ids"].clone()).unwrap()
    };
    let framed = "generate --model model --max-new 1 --json --prompt \
                  '<|endoftext|>user: The sea is<|endoftext|>\n<|endoftext|>assistant: '";
    assert_eq!(ids(chat), ids(framed));
    let edit = "edit --model model --chat --layer 1 --contexts contexts.txt --set mom2_adjustment=false --subject 'The sea' \
                --prompt '{} is' --target cold --dump dump";
    assert!(common::done(&run(at, edit)));
    // A file of facts says it in each of its entries.
    let entry = r#"{"subject": "The sea", "prompt": "{} is", "target": "cold", "chat": true}"#;
    std::fs::write(at.join("facts.jsonl"), entry).unwrap();
    let said = "--subject 'The sea' --prompt '{} is' --target cold --dump dump";
    let by_flag = edit.replace("--dump dump", "--patch flag");
    let by_file = edit.replace(said, "--facts facts.jsonl --patch file").replace("--chat ", "");
    for line in [&by_flag, &by_file] {
        assert!(common::done(&run(at, line)), "{line}");
    }
    assert_eq!(std::fs::read(at.join("flag")).unwrap(), std::fs::read(at.join("file")).unwrap());
    assert!(common::done(&run(at, &edit.replace("--dump dump", "--open-end --dump open"))));
    std::fs::write(
        at.join("model/chat_template.jinja"),
        "{% for x in range(99999) %}{% for y in range(99999) %}{% endfor %}{% endfor %}",
    )
    .unwrap();
    assert!(refused(at, chat).contains("steps"));
}

/// What the hub's own tools fetched is found by its name, in every build.
#[test]
fn a_model_in_the_hubs_cache_is_found_by_its_name() {
    let dir = workshop("gpt2-tiny");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let model = dir.path().join("hub/models--org--tiny");
    std::fs::create_dir_all(model.join("refs")).unwrap();
    std::fs::create_dir_all(model.join("snapshots")).unwrap();
    std::fs::write(model.join("refs/main"), commit).unwrap();
    std::fs::rename(dir.path().join("model"), model.join("snapshots").join(commit)).unwrap();
    let run = |name: &str| {
        let mut command = recant(dir.path());
        for variable in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
            command.env_remove(variable);
        }
        command.env("HF_HOME", dir.path()).env("HF_HUB_OFFLINE", "1");
        command.args(["ask", "--model", name, "--prompt", "The sea is"]).output().unwrap()
    };
    for name in ["org/tiny", "org/tiny@main", &format!("org/tiny@{commit}")] {
        let output = run(name);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for name in ["org/other", "org/tiny@v2"] {
        let output = run(name);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains("HF_HUB_OFFLINE is set"), "{error}");
    }
    for name in ["nothing", "nothing@HEAD", "./org/tiny"] {
        let error = String::from_utf8_lossy(&run(name).stderr).into_owned();
        assert!(error.contains(&format!("there is no model {name}")) && error.contains("GGUF"), "{error}");
    }
}

/// `info` says what is a mixture of experts. An edit of its weights is refused before statistics are asked for, with the
/// remedy, and the remedy works; a store keeps such a model as it is. Between mixtures the dense block is edited.
#[test]
fn a_mixture_of_experts_is_told_refused_and_remembered() {
    let dir = workshop("mixtral-tiny");
    let at = dir.path();
    let told = common::good(at, "info model");
    assert!(told.contains("every block: 5 experts of width 40, 2 for each token"), "{told}");
    assert!(told.contains("not on this model: every block is a mixture of experts"), "{told}");
    let info = common::json(at, "info model");
    assert_eq!(info["mixture"]["experts_per_token"], 2);
    assert!(info["slots"]["mlp_down"].is_null());

    let fact = "--contexts contexts.txt --subject 'The sea' --prompt '{} is' --target cold";
    let edits = ["r-rome", "memit", "alphaedit", "ledger", "ft-m", "locft-bf", "ultraedit"]
        .map(|method| format!("edit --model model --method {method} {fact} --out out"));
    let stats = "stats --model model --layers 1 --corpus contexts.txt --out stats".to_owned();
    let wise = format!("edit --model model --state side --method wise --layer 1 {fact}");
    for line in edits.into_iter().chain([stats, wise]) {
        let told = refused(at, &line);
        assert!(
            told.contains("is a mixture of experts") && told.contains("no block of it has one"),
            "{told}"
        );
        assert!(told.contains("hint: ") && told.contains("recant edit --state FILE"), "{told}");
    }
    for method in ["memory", "grace"] {
        common::good(at, &format!("edit --model model --state {method} --method {method} {fact}"));
        let ask = format!("ask --model model --state {method} --prompt 'The sea is'");
        assert!(common::done(&run(at, &ask)), "{method}");
    }
    let told = refused(at, "move --model model --from memory --all --to edit.patch --as patch");
    assert!(told.contains("is a mixture of experts"), "{told}");
    for line in ["init", "import --model model", "checkout HEAD --out back"] {
        assert!(run(at, line).status.success(), "{line}");
    }
    assert_eq!(files(&at.join("back")).len(), 3);
    let weights = |from: &str| std::fs::read(at.join(from).join("model.safetensors")).unwrap();
    assert!(weights("back") == weights("model"));

    let dir = workshop("qwen3-moe-tiny");
    let at = dir.path();
    let told = common::good(at, "info model");
    assert!(told.contains("2 of 3 blocks: 6 experts of width 20, 3 for each token"), "{told}");
    assert!(told.contains("model.layers.1.mlp.down_proj.weight"), "{told}");
    let edit = format!("edit --model model {fact} --set mom2_adjustment=false");
    common::good(at, &format!("{edit} --patch edit.patch"));
    let told = common::good(at, "export --as lora --model model --patch edit.patch --out lora");
    assert!(told.contains("note: this model has mixtures of experts"), "{told}");
    let told = refused(at, &format!("{edit} --layer 2 --out out"));
    assert!(told.contains("block 2") && told.contains("blocks that have one: 1"), "{told}");
}
