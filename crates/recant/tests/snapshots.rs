//! What users and scripts see, compared with what was committed: every `--help`, and the shape of every `--json`.
//!
//! After a change that is meant, `RECANT_REFRESH=1 cargo test -p recant --test snapshots` writes the files under
//! `tests/snapshots` anew; `git diff` then shows what changed for users.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use common::{good, json, recant, workshop};
use serde_json::Value;

/// Compares a text with a committed one, or writes it.
fn compare(name: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("RECANT_REFRESH").is_some() {
        std::fs::write(&path, now).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    let differs = committed.lines().zip(now.lines()).position(|(a, b)| a != b);
    if committed != now {
        let at = differs.unwrap_or_else(|| committed.lines().count().min(now.lines().count()));
        let line = |text: &str| text.lines().nth(at).unwrap_or("(the end)").to_owned();
        panic!(
            "{name} differs in line {}:\ncommitted: {}\nnow:       {}\nRECANT_REFRESH=1 writes it anew",
            at + 1,
            line(&committed),
            line(now)
        );
    }
}

fn help(args: &[&str]) -> String {
    let output = recant(Path::new(".")).env("COLUMNS", "100").args(args).arg("--help").output().unwrap();
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_help_is_what_was_committed() {
    let first = help(&[]);
    let mut all = format!("$ recant --help\n{first}");
    let commands = commands(first.lines().take_while(|line| *line != "Options:"));
    assert!(commands.len() > 20, "{commands:?}");
    for command in &commands {
        add_help(&[command], &mut all);
    }
    compare("help.txt", &all);
}

/// The help of a command, and of those below it.
fn add_help(args: &[&str], all: &mut String) {
    let text = help(args);
    write!(all, "\n$ recant {} --help\n{text}", args.join(" ")).unwrap();
    let group = text.lines().skip_while(|line| *line != "Commands:").take_while(|line| !line.is_empty());
    for inner in commands(group).iter().filter(|name| *name != "help") {
        add_help(&[args, &[inner]].concat(), all);
    }
}

/// The commands that lines of a help list: two blanks, a name, two blanks or more, what it does.
fn commands<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let name = |line: &'a str| {
        let (name, about) = line.strip_prefix("  ")?.split_once("  ")?;
        Some(name).filter(is_name).filter(|name| !name.is_empty() && !about.trim().is_empty())
    };
    lines.filter_map(name).map(str::to_owned).collect()
}

/// Objects whose keys are data and not names of fields.
const MAPS: [&str; 3] = ["settings", "unread", "about"];

type Shape = BTreeMap<String, BTreeSet<&'static str>>;

/// Adds the paths of a value with their types; the elements of a list share one path.
fn add(shape: &mut Shape, path: &str, value: &Value) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    shape.entry(path.to_owned()).or_default().insert(kind);
    match value {
        Value::Array(items) => items.iter().for_each(|item| add(shape, &format!("{path}[]"), item)),
        Value::Object(object) => {
            let map = MAPS.iter().any(|name| path.ends_with(&format!(".{name}")));
            object.iter().for_each(|(key, value)| {
                add(shape, &format!("{path}.{}", if map { "*" } else { key }), value);
            });
        }
        _ => {}
    }
}

const EDIT: &str = "--contexts contexts.txt --set mom2_adjustment=false --set v_num_grad_steps=2 --layer 1";
const FACT: &str = "--subject 'The sea' --prompt '{} is' --target cold";

#[test]
fn the_shape_of_every_json_is_what_was_committed() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let write = |name: &str, text: &str| std::fs::write(at.join(name), text).unwrap();
    write("facts.jsonl", "{\"subject\": \"sea\", \"prompt\": \"the {} is\", \"target\": \"cold\"}\n");
    write(
        "data.json",
        r#"[{"subject": "sea", "prompt": "the sea is", "target_new": "cold", "ground_truth": "old",
        "rephrase_prompt": "see, the sea is", "locality_prompt": "the sun is", "locality_ground_truth": "old"}]"#,
    );
    write("own.json", r#"[{"src": "the sea is", "subject": "sea", "alt": "cold", "answers": []}]"#);
    let text: String = (0..400).map(|i| format!("a{i} word number {} of the sea is cold\n", i * i)).collect();
    write("corpus.txt", &text);
    let model = "--model model";
    let steps = [
        format!("ask {model} --prompt 'the sea is'"),
        "ask model 'the sea is' --against model".to_owned(),
        "generate model 'the sea is' --max-new 2 --against model".to_owned(),
        format!("generate {model} --prompt 'the sea is' --max-new 2"),
        format!("stats {model} --corpus corpus.txt --layers 1 --tokens 3000 --out stats"),
        format!("edit {model} {EDIT} {FACT} --out edited --patch one.patch"),
        format!("edit {model} {EDIT} --layers 1 --method memit --facts facts.jsonl"),
        format!("edit {model} {EDIT} --layers 1 --method ledger --facts facts.jsonl --ledger facts.ledger"),
        format!("export {model} --patch one.patch --as lora --out adapter"),
        format!("eval {model} --data data.json --method ft-m --out report"),
        "layers model --data data.json --method ft-m".to_owned(),
        "trace model 'the sea is' --subject sea --samples 2".to_owned(),
        "trace model --data own.json --corrupt mean".to_owned(),
        "eval compare report/report.json report/report.json".to_owned(),
        format!("eval {model} --data data.json --method ft-m --out shard --shard 1/1"),
        "eval merge merged shard/report.json".to_owned(),
        format!("edit {model} --method memory --state state {EDIT} {FACT}")
            .replace(" --set mom2_adjustment=false", ""),
        "facts list state".to_owned(),
        "facts list facts.ledger".to_owned(),
        format!(
            "facts move {model} --from state --to moved --as patch --all --copy --set mom2_adjustment=false"
        ),
        "store init".to_owned(),
        format!("store import {model}"),
        format!("edit --store .recant {EDIT} {FACT}"),
        "log".to_owned(),
        "op log".to_owned(),
        "show".to_owned(),
        "diff HEAD~1 HEAD".to_owned(),
        "status".to_owned(),
        "branch other".to_owned(),
        "branch".to_owned(),
        "tag v1".to_owned(),
        "switch other".to_owned(),
        "blame 'the sea is'".to_owned(),
        "bisect --run false".to_owned(),
        "revert HEAD".to_owned(),
        "op undo".to_owned(),
        "op redo".to_owned(),
        "switch main".to_owned(),
        "merge other".to_owned(),
        "store gc --dry-run".to_owned(),
        "store fsck".to_owned(),
        "store verify".to_owned(),
        "store checkout --out out".to_owned(),
        "store remote add origin shared".to_owned(),
        "store remote list".to_owned(),
        "store push".to_owned(),
        "store remote remove origin".to_owned(),
        "store clone shared copy".to_owned(),
        "store pull shared --store copy".to_owned(),
        "facts remove facts.ledger --edit 0".to_owned(),
        "facts remove state model --edit 0".to_owned(),
        "config".to_owned(),
        "completions bash".to_owned(),
        "man".to_owned(),
        "man --out pages".to_owned(),
    ];
    let mut all = String::new();
    for line in steps {
        let mut shape = Shape::new();
        add(&mut shape, "", &json(at, &line));
        writeln!(all, "$ recant {line} --json").unwrap();
        for (path, kinds) in shape {
            let path = if path.is_empty() { "." } else { &path };
            writeln!(all, "{path}: {}", kinds.into_iter().collect::<Vec<_>>().join(", ")).unwrap();
        }
        all.push('\n');
    }
    good(at, "fsck");
    compare("json.txt", &all);
}
