//! Bad input, through the binary: one clear error that names the thing and says what to do, an exit code
//! that is not 0, no panic, and every file as it was.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{EDIT, done, files, run, workshop};

/// What is wrong, how it comes about, the command, and words that the message must hold.
type Case = (&'static str, fn(&Path), String, &'static [&'static str]);

fn nothing(_: &Path) {}

fn edit(subject: &str, prompt: &str, target: &str, more: &str) -> String {
    format!(
        "edit --model model --contexts contexts.txt --set mom2_adjustment=false --subject '{subject}' \
         --prompt '{prompt}' --target '{target}' {more}"
    )
}

fn weights(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join("model/model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Replaces text in the header by text of the same length.
fn header(dir: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    weights(dir, |bytes| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    });
}

fn config(dir: &Path, from: &str, to: &str) {
    let path = dir.join("model/config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).unwrap();
}

fn model_cases() -> Vec<Case> {
    let ask = || "ask --model model --prompt cat".to_owned();
    vec![
        (
            "no such directory",
            nothing,
            "ask --model nowhere --prompt cat".into(),
            &["no model nowhere", "hint:", "a model is a directory"],
        ),
        (
            "no weights",
            |d| std::fs::remove_file(d.join("model/model.safetensors")).unwrap(),
            ask(),
            &["cannot read", "model.safetensors"],
        ),
        (
            "no tokenizer",
            |d| std::fs::remove_file(d.join("model/tokenizer.json")).unwrap(),
            ask(),
            &["tokenizer.json"],
        ),
        ("damaged tokenizer", |d| write(d, "model/tokenizer.json", "{\"model\""), ask(), &["tokenizer.json"]),
        ("truncated", |d| weights(d, |b| b.truncate(b.len() - 10)), ask(), &["model.safetensors", "cut"]),
        (
            "offsets past the end",
            |d| weights(d, |b| b.truncate(b.len() / 2)),
            ask(),
            &["model.safetensors", "the download was cut"],
        ),
        (
            "overlapping offsets",
            |d| header(d, "\"data_offsets\":[0,", "\"data_offsets\":[4,"),
            ask(),
            &["model.safetensors is not a valid"],
        ),
        (
            "absurd header",
            |d| weights(d, |b| b[..8].copy_from_slice(&(u64::MAX / 2).to_le_bytes())),
            ask(),
            &["absurd size"],
        ),
        ("unknown dtype", |d| header(d, "\"F32\"", "\"F99\""), ask(), &["F99"]),
        (
            "shape against config",
            |d| config(d, "\"n_embd\": 32", "\"n_embd\": 64"),
            ask(),
            &["config.json implies"],
        ),
        (
            "unknown architecture",
            |d| config(d, "\"model_type\": \"gpt2\"", "\"model_type\": \"rwkv\""),
            ask(),
            &["rwkv", "gpt2"],
        ),
        (
            "NaN weight",
            |d| {
                weights(d, |b| {
                    let end = b.len();
                    b[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
                })
            },
            ask(),
            &["NaN", "element"],
        ),
        ("unknown device", nothing, format!("{} --device tpu", ask()), &["tpu", "flex"]),
        (
            "device not compiled in",
            nothing,
            format!("{} --device ndarray", ask()),
            &["ndarray", "--features ndarray"],
        ),
        ("empty prompt", nothing, "ask --model model --prompt ''".into(), &["empty"]),
        (
            "prompt longer than the context",
            nothing,
            format!("ask --model model --prompt '{}'", "cat ".repeat(2000)),
            &["at most", "tokens"],
        ),
        ("no answers asked for", nothing, "ask --model model --prompt cat --top 0".into(), &["--top"]),
        (
            "temperature out of range",
            nothing,
            "generate --model model --prompt cat --top-k 5 --temperature=-1".into(),
            &["temperature"],
        ),
    ]
}

/// An edit of a file of facts.
const FACTS: &str = "edit --model model --contexts contexts.txt --method memit --facts facts.jsonl";

fn edit_cases() -> Vec<Case> {
    vec![
        ("empty prompt", nothing, edit("The sea", "", "cold", ""), &["prompt is empty", "{}"]),
        ("empty subject", nothing, edit("", "{} is", "cold", ""), &["subject is empty"]),
        ("subject nowhere", nothing, edit("The sea", "It is", "cold", ""), &["nowhere", "hint: for example"]),
        ("subject twice", nothing, edit("cat", "{} and {} are", "cold", ""), &["2 times"]),
        ("empty target", nothing, edit("The sea", "{} is", " ", ""), &["target is empty"]),
        (
            "prompt longer than the context",
            nothing,
            edit("The sea", &format!("{}{{}} is", "cat ".repeat(2000)), "cold", ""),
            &["at most", "shorten"],
        ),
        (
            "layer out of range",
            nothing,
            edit("The sea", "{} is", "cold", "--layer 3"),
            &["no layer 3", "has 3"],
        ),
        (
            "layers is not a number",
            nothing,
            edit("The sea", "{} is", "cold", "--set layers=two"),
            &["layers = two", "0-2"],
        ),
        (
            "two layers at once",
            nothing,
            edit("The sea", "{} is", "cold", "--layer 1 --set layers=2"),
            &["layer 1 and layers = 2 contradict"],
        ),
        (
            "layers of a method that edits one",
            nothing,
            edit("The sea", "{} is", "cold", "--layers 0,2"),
            &["layers 0,2 and rome at layers 1 contradict"],
        ),
        (
            "facts in another encoding",
            |d| std::fs::write(d.join("facts.jsonl"), b"\n{\"subject\": \"caf\xE9\"}").unwrap(),
            FACTS.into(),
            &["facts.jsonl, line 2, byte 17", "Latin-1", "hint: save it as UTF-8", "iconv -f LATIN1"],
        ),
        (
            "facts in UTF-16",
            |d| std::fs::write(d.join("facts.jsonl"), b"\xFF\xFE{\0}\0").unwrap(),
            FACTS.into(),
            &["facts.jsonl, line 1, byte 1", "UTF-16", "iconv -f UTF-16"],
        ),
        (
            "facts that contradict but for a blank",
            |d| {
                let fact = |prompt: &str, target: &str| {
                    format!(r#"{{"subject": "The sea", "prompt": "{prompt}", "target": "{target}"}}"#)
                };
                write(d, "facts.jsonl", &format!("[{},\n{}]", fact("{} is", "cold"), fact("{} is ", "old")));
            },
            FACTS.into(),
            &["facts.jsonl, line 2", "line 1 says \"cold\""],
        ),
        (
            "two facts for a method of one",
            |d| {
                let fact = |subject: &str| {
                    format!(r#"{{"subject": "{subject}", "prompt": "{{}} is", "target": "cold"}}"#)
                };
                write(d, "facts.jsonl", &format!("{}\n{}\n", fact("The sea"), fact("The cat")));
            },
            FACTS.replace("memit", "ft-m"),
            &["ft-m writes one fact at a time, but 2 were given"],
        ),
        ("unknown method", nothing, edit("The sea", "{} is", "cold", "--method rone"), &["rone", "r-rome"]),
        (
            "unknown setting",
            nothing,
            edit("The sea", "{} is", "cold", "--set v_speed=1"),
            &["v_speed", "v_lr"],
        ),
        ("setting without a value", nothing, edit("The sea", "{} is", "cold", "--set v_lr"), &["v_lr"]),
        ("setting out of range", nothing, edit("The sea", "{} is", "cold", "--set v_lr=-1"), &["v_lr = -1"]),
        (
            "no covariance",
            nothing,
            "edit --model model --contexts contexts.txt --subject 'The sea' --prompt '{} is' --target cold"
                .into(),
            &["recant stats", "mom2_adjustment=false", "--corpus"],
        ),
        (
            "contexts missing",
            nothing,
            format!("{EDIT} --contexts none.json").replacen("--contexts contexts.txt", "", 1),
            &["none.json"],
        ),
        (
            "contexts without a slot",
            |d| write(d, "contexts.txt", "no slot\n"),
            EDIT.into(),
            &["{}", "no slot"],
        ),
        (
            "contexts not JSON",
            |d| write(d, "contexts.txt", "[1, 2"),
            EDIT.into(),
            &["contexts.txt", "JSON array"],
        ),
        (
            "statistics missing",
            nothing,
            EDIT.replace("--set mom2_adjustment=false", "--stats none"),
            &["none"],
        ),
        (
            "statistics damaged",
            |d| write(d, "stats", "not statistics"),
            EDIT.replace("--set mom2_adjustment=false", "--stats stats"),
            &["stats"],
        ),
        (
            "output holds something",
            |d| {
                std::fs::create_dir(d.join("out")).unwrap();
                write(d, "out/mine", "mine");
            },
            format!("{EDIT} --out out"),
            &["out", "--force"],
        ),
        ("output is a file", |d| write(d, "out", "mine"), format!("{EDIT} --out out"), &["cannot write out"]),
        (
            "output under a file",
            |d| write(d, "file", "mine"),
            format!("{EDIT} --out file/out"),
            &["cannot write file"],
        ),
        ("output is the model", nothing, format!("{EDIT} --out model --force"), &["is the model"]),
        ("force without an output", nothing, format!("{EDIT} --force"), &["--force", "--out"]),
        ("dump cannot be written", nothing, format!("{EDIT} --dump none/dump"), &["none/dump"]),
    ]
}

fn corpus_and_data_cases() -> Vec<Case> {
    let stats = |more: &str| format!("stats --model model --corpus corpus.txt --out stats {more}");
    let eval = || {
        "eval --model model --data data.json --contexts contexts.txt --set mom2_adjustment=false --out report"
            .to_owned()
    };
    vec![
        ("corpus missing", nothing, stats("--layers 1"), &["corpus.txt"]),
        ("corpus empty", |d| write(d, "corpus.txt", ""), stats("--layers 1"), &["corpus"]),
        (
            "corpus of other JSON",
            |d| write(d, "corpus.jsonl", "{\"body\": \"The sea\"}\n"),
            stats("--layers 1").replace("corpus.txt", "corpus.jsonl"),
            &["corpus.jsonl", "text"],
        ),
        (
            "layer to measure out of range",
            |d| write(d, "corpus.txt", "The sea is cold\n"),
            stats("--layers 1,9"),
            &["layer 9 does not exist", "has 3"],
        ),
        ("data missing", nothing, eval(), &["data.json"]),
        ("data damaged", |d| write(d, "data.json", "[{\"case_id\": 1"), eval(), &["data.json"]),
        (
            "data of another form",
            |d| write(d, "data.json", "[{\"question\": \"who?\"}]"),
            eval(),
            &["data.json"],
        ),
        ("no data", |d| write(d, "data.json", "[]"), eval(), &["data.json"]),
    ]
}

/// One case of a data set, whose answer a random model does not give.
const DATA: &str = r#"[{"case_id": 1, "requested_rewrite": {"prompt": "{} is", "subject": "The sea",
    "target_new": {"str": "cold"}, "target_true": {"str": "town"}}, "paraphrase_prompts": ["See, the sea is"],
    "neighborhood_prompts": ["The cat is"], "generation_prompts": [], "attribute_prompts": []}]"#;

fn layer_cases() -> Vec<Case> {
    let data = |d: &Path| write(d, "data.json", DATA);
    let trace = |more: &str| format!("trace model 'the {{}} is' --subject cat --corrupt mean {more}");
    let layers = |more: &str| {
        format!("layers model --data data.json --contexts contexts.txt --set mom2_adjustment=false {more}")
    };
    vec![
        ("a subject that is nowhere", nothing, trace("").replace("{}", "dog"), &["cat", "nowhere"]),
        ("nothing to trace", nothing, "trace model".into(), &["PROMPT"]),
        ("a prompt without a subject", nothing, "trace model 'the cat is'".into(), &["--subject"]),
        ("a window of too many blocks", nothing, trace("--window 9"), &["--window", "1 to 3 blocks, not 9"]),
        (
            "noise of no size",
            nothing,
            trace("--noise 0").replace("--corrupt mean", ""),
            &["--noise", "corrupts nothing"],
        ),
        (
            "a case that the model does not know",
            data,
            "trace model --data data.json".into(),
            &["--data", "answers none"],
        ),
        (
            "layers of a method of several",
            data,
            layers("--method memit"),
            &["--method", "memit edits several layers"],
        ),
        ("layers of a memory", data, layers("--method grace"), &["--method", "grace edits no weights"]),
        ("a layer that is not there", data, layers("--layers 1-9"), &["layer 3", "this model has 3"]),
        ("layers that are none", data, layers("--layers up"), &["--layers", "0-2"]),
        ("no case to try", data, layers("--limit 0"), &["no cases are left"]),
        (
            "layers without second moments",
            data,
            layers("").replace("--set mom2_adjustment=false", ""),
            &["second moments", "--corpus"],
        ),
    ]
}

#[test]
fn bad_input_is_one_clear_error_and_changes_nothing() {
    let mut cases = [model_cases(), edit_cases(), corpus_and_data_cases(), layer_cases()].concat();
    // A build may have the device that this case misses.
    cases.retain(|(what, ..)| *what != "device not compiled in" || !cfg!(feature = "ndarray"));
    assert!(cases.len() >= 45);
    let mut wrong = Vec::new();
    for (what, prepare, line, expected) in cases {
        let dir = workshop("gpt2-tiny");
        prepare(dir.path());
        let before = files(dir.path());
        let output = run(dir.path(), &line);
        let text = String::from_utf8_lossy(&output.stderr);
        let mut check = |good: bool, why: &str| {
            if !good {
                wrong.push(format!("{what}: {why}\n    recant {}\n    {text}", &line[..line.len().min(160)]));
            }
        };
        check(matches!(output.status.code(), Some(1 | 2)), "the exit code");
        check(text.matches("\nerror:").count() == 0 && text.starts_with("error:"), "one error");
        check(!text.contains("panicked"), "a panic");
        check(output.stdout.is_empty(), "output all the same");
        check(expected.iter().all(|word| text.contains(word)), &format!("not all of {expected:?}"));
        check(files(dir.path()) == before, "files were changed");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The commands of the table are refused for their defects: without one they work.
#[test]
fn the_same_commands_work_on_good_input() {
    let dir = workshop("gpt2-tiny");
    let text: String = (0..400).map(|i| format!("a{i} word number {} of the sea is cold\n", i * i)).collect();
    write(dir.path(), "corpus.txt", &text);
    write(
        dir.path(),
        "data.json",
        r#"[{"case_id": 1, "requested_rewrite": {"prompt": "{} is", "subject": "The sea",
        "target_new": {"str": "cold"}, "target_true": {"str": "old"}}, "paraphrase_prompts": ["See, the sea is"],
        "neighborhood_prompts": ["The cat is"], "generation_prompts": [], "attribute_prompts": []}]"#,
    );
    for line in [
        "ask --model model --prompt cat".to_owned(),
        "generate --model model --prompt cat --top-k 5 --max-new 3".to_owned(),
        format!("{EDIT} --out out --dump dump"),
        format!("{EDIT} --out out --force"),
        "stats --model model --corpus corpus.txt --out stats --layers 1 --tokens 3000".to_owned(),
        format!("{} --layer 1 --json", EDIT.replace("--set mom2_adjustment=false", "--stats stats")),
        "eval --model model --data data.json --contexts contexts.txt --set mom2_adjustment=false --out report".to_owned(),
    ] {
        let output = run(dir.path(), &line);
        assert!(done(&output), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stdout.is_empty(), "{line}");
    }
    assert!(dir.path().join("report/report.html").exists());
    // Statistics belong to the model that they were measured on.
    let other = EDIT
        .replace("--set mom2_adjustment=false", "--stats stats --layer 1")
        .replace("--model model", "--model out");
    let refused = run(dir.path(), &other);
    assert!(!refused.status.success());
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("made for"),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
}
