//! The binary with many facts: fact files, ledgers, adapters, scenarios.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{done, run, workshop};
use serde_json::{Value, json};

const FACTS: &str = r#"{"subject": "The sea", "prompt": "{} is", "target": "cold"}
{"subject": "cat", "prompt": "the {} was", "target": "old"}
{"subject": "weather", "prompt": "the {} was", "target": "cold"}
"#;

const WITH: &str = "--model model --contexts contexts.txt --set mom2_adjustment=false --layers 0,1 \
     --set v_num_grad_steps=3";

fn stdout(dir: &Path, line: &str) -> String {
    let output = run(dir, line);
    assert!(done(&output), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn parsed(dir: &Path, line: &str) -> Value {
    serde_json::from_str(&stdout(dir, &format!("{line} --json"))).unwrap()
}

/// The error line; the command must fail and leave no output behind.
fn refused(dir: &Path, line: &str) -> String {
    let output = run(dir, line);
    assert!(!output.status.success(), "{line}");
    assert!(!dir.join("out").exists(), "{line}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_fact_file_is_written_in_one_plan() {
    let dir = workshop("gpt2-tiny");
    std::fs::write(dir.path().join("facts.jsonl"), FACTS).unwrap();
    for method in ["memit", "emmet", "alphaedit"] {
        let told = parsed(dir.path(), &format!("edit {WITH} --method {method} --facts facts.jsonl"));
        assert_eq!(told["facts"].as_array().unwrap().len(), 3, "{method}");
        assert_ne!(told["model_before"], told["model_after"], "{method}");
    }
    let bad = FACTS.replace("\"target\": \"old\"", "\"target\": \"\"");
    std::fs::write(dir.path().join("facts.jsonl"), bad).unwrap();
    let told = refused(dir.path(), &format!("edit {WITH} --method memit --facts facts.jsonl --out out"));
    assert!(told.contains("line 2") && told.contains("target"), "{told}");
    std::fs::write(dir.path().join("facts.jsonl"), FACTS).unwrap();
    let told = refused(dir.path(), &format!("edit {WITH} --method r-rome --facts facts.jsonl --out out"));
    assert!(told.contains("one fact at a time"), "{told}");
    let told =
        refused(dir.path(), &format!("edit {WITH} --method memit --ledger l --facts facts.jsonl --out out"));
    assert!(told.contains("--ledger") && told.contains("--method ledger"), "{told}");
}

/// Adding in two calls and taking one fact out again gives the model of the rest in one call, to the byte.
#[test]
fn a_ledger_goes_on_from_call_to_call() {
    let dir = workshop("gpt2-tiny");
    let lines: Vec<&str> = FACTS.lines().collect();
    let write = |name: &str, lines: &[&str]| std::fs::write(dir.path().join(name), lines.join("\n")).unwrap();
    write("first.jsonl", &lines[..1]);
    write("others.jsonl", &lines[1..]);
    write("gone.jsonl", &lines[2..]);
    write("rest.jsonl", &lines[..2]);
    let ledger = format!("edit {WITH} --method ledger --set joint_steps=2");
    parsed(dir.path(), &format!("{ledger} --ledger my.ledger --facts first.jsonl"));
    let more = parsed(dir.path(), &format!("{ledger} --ledger my.ledger --facts others.jsonl"));
    assert_eq!(more["ledger"], 3);
    assert_eq!(more["conflicts"]["leverage"].as_array().unwrap().len(), 2);
    let fewer = parsed(dir.path(), &format!("{ledger} --ledger my.ledger --forget gone.jsonl"));
    let at_once = parsed(dir.path(), &format!("{ledger} --facts rest.jsonl"));
    assert_eq!(fewer["model_after"], at_once["model_after"]);
    assert_ne!(fewer["model_after"], more["model_after"]);

    write("against.jsonl", &[&lines[0].replace("cold", "old")]);
    let before = std::fs::read(dir.path().join("my.ledger")).unwrap();
    let told = refused(dir.path(), &format!("{ledger} --ledger my.ledger --facts against.jsonl --out out"));
    assert!(told.contains("cold") && told.contains("--on-conflict"), "{told}");
    assert_eq!(std::fs::read(dir.path().join("my.ledger")).unwrap(), before);
    let replaced = parsed(
        dir.path(),
        &format!("{ledger} --ledger my.ledger --facts against.jsonl --on-conflict replace"),
    );
    assert_eq!(
        (&replaced["ledger"], replaced["conflicts"]["contradictions"].as_array().unwrap().len()),
        (&json!(2), 1)
    );
    std::fs::write(dir.path().join("my.ledger"), &before[..before.len() - 1]).unwrap();
    let told = refused(dir.path(), &format!("{ledger} --ledger my.ledger --facts first.jsonl --out out"));
    assert!(told.contains("my.ledger"), "{told}");
}

#[test]
fn an_edit_leaves_as_an_adapter() {
    let dir = workshop("llama-tiny-gqa");
    std::fs::write(dir.path().join("facts.jsonl"), FACTS).unwrap();
    stdout(dir.path(), &format!("edit {WITH} --method memit --facts facts.jsonl --patch edit.patch"));
    let exact = parsed(dir.path(), "export --as lora --model model --patch edit.patch --out adapter");
    let modules = exact["modules"].as_array().unwrap();
    assert_eq!(
        (modules.len(), &modules[0]["rank"], &modules[0]["truncation_error"]),
        (2, &json!(3), &json!(0.0))
    );
    let config = std::fs::read(dir.path().join("adapter/adapter_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(
        (&config["r"], &config["lora_alpha"], &config["fan_in_fan_out"]),
        (&json!(3), &json!(3), &json!(false))
    );
    assert_eq!(config["target_modules"][0], "model.layers.0.mlp.down_proj");
    let capped =
        parsed(dir.path(), "export --as lora --model model --patch edit.patch --rank 1 --out capped");
    let lost = capped["modules"][0]["truncation_error"].as_f64().unwrap();
    assert!(lost > 0.0 && lost < 1.0, "{lost}");
    std::fs::write(dir.path().join("edit.patch"), b"no patch").unwrap();
    refused(dir.path(), "export --as lora --model model --patch edit.patch --out out");
}

#[test]
fn scenarios_score_a_batch_and_a_sequence_and_go_back() {
    let dir = workshop("gpt2-tiny");
    let case = |id: usize, subject: &str, prompt: &str, new: &str| {
        json!({
            "case_id": id, "prompt": prompt.replace("{}", subject), "subject": subject, "target_new": new,
            "ground_truth": "warm", "rephrase_prompt": format!("We saw {subject}"), "locality_prompt": "A dog is",
            "locality_ground_truth": "warm",
        })
    };
    let cases = [
        case(0, "The sea", "{} is", "cold"),
        case(1, "cat", "the {} was", "old"),
        case(2, "weather", "the {} was", "cold"),
        case(3, "town", "the {} is", "old"),
    ];
    std::fs::write(dir.path().join("cases.json"), json!(cases).to_string()).unwrap();
    let probe = json!([{ "prompt": "the town", "answer": "was" }, { "prompt": "A dog", "answer": "is" }]);
    std::fs::write(dir.path().join("probe.json"), probe.to_string()).unwrap();
    let with = format!("{WITH} --data cases.json --probe probe.json --force --out report");
    let batch =
        parsed(dir.path(), &format!("eval {with} --method memit,ledger --scenario batch --batch-size 2,4"));
    let runs = batch["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 5);
    for run in &runs[1..] {
        assert_eq!((&run["scenario"], &run["rollback_exact"]), (&json!("batch"), &json!(true)));
        assert!(run["retained"].is_number() && run["immediate"].is_null());
    }
    assert_eq!((&runs[1]["cases"], &runs[2]["cases"]), (&json!(2), &json!(4)));
    let sequence = parsed(
        dir.path(),
        &format!("eval {with} --method alphaedit,ledger --scenario sequential --batch-size 1"),
    );
    for run in &sequence["runs"].as_array().unwrap()[1..] {
        assert_eq!(
            (&run["cases"], &run["step"], &run["rollback_exact"]),
            (&json!(4), &json!(1), &json!(true))
        );
        assert!(run["immediate"].is_object());
        let edits: Vec<u64> =
            run["curve"].as_array().unwrap().iter().map(|point| point["edits"].as_u64().unwrap()).collect();
        assert_eq!(edits, [1, 2, 3, 4]);
    }
    let table =
        stdout(dir.path(), &format!("eval {with} --method memit --scenario sequential --batch-size 2"));
    assert!(table.contains("memit sequential 4/2") && table.contains("immediate"), "{table}");
    let page = std::fs::read_to_string(dir.path().join("report/report.html")).unwrap();
    assert!(page.contains("memit sequential 4/2") && page.contains("earliest ES"));
    assert!(
        refused(dir.path(), &format!("eval {with} --scenario batch --batch-size 9")).contains("there are 4")
    );
    assert!(refused(dir.path(), &format!("eval {with} --batch-size 2")).contains("--scenario"));
}
