//! The same weights with the two forms of a SentencePiece tokenizer: the same targets, edits and scores.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{fixture, good, run, workshop};
use serde_json::{Value, json};
use tempfile::TempDir;

/// `model` with the tokenizer in Llama-2's form, `metaspace` with the newer one, and cases to evaluate.
fn both() -> TempDir {
    let dir = workshop("llama-tiny-sp");
    let other = dir.path().join("metaspace");
    std::fs::create_dir(&other).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("llama-tiny-sp").join(file), other.join(file)).unwrap();
    }
    let tokenizer = fixture("llama-tiny-sp").join("tokenizer-metaspace.json");
    std::fs::copy(tokenizer, other.join("tokenizer.json")).unwrap();
    let case = |subject: &str, new: &str, truth: &str| {
        json!({
            "subject": subject, "prompt": "The capital of {} is", "target_new": new, "ground_truth": truth,
            "rephrase_prompt": format!("What is the capital of {subject}? It's"),
            "locality_prompt": "The Space Needle is in the city of", "locality_ground_truth": "Seattle",
        })
    };
    let cases =
        [case("Italy", "Paris", "Rome"), case("Spain", "Tokyo", "Madrid"), case("Japan", "Rome", "Tokyo")];
    std::fs::write(dir.path().join("cases.json"), json!(cases).to_string()).unwrap();
    dir
}

/// What a command prints as JSON, once with each tokenizer.
fn twice(dir: &TempDir, line: &str) -> [Value; 2] {
    ["model", "metaspace"].map(|model| {
        let printed = good(dir.path(), &line.replace("MODEL", model));
        serde_json::from_str(&printed).unwrap()
    })
}

const EDIT: &str = "edit --model MODEL --method ft-m --layer 1 --set lr=0.1 --set num_steps=60 --subject Italy --prompt 'The capital of {} is' \
     --target Paris --json";

#[test]
fn an_edit_writes_the_word_of_running_text() {
    let dir = both();
    let [prepend, metaspace] = twice(&dir, EDIT);
    assert_eq!(prepend["model_after"], metaspace["model_after"]);
    assert_eq!(prepend["after"], metaspace["after"]);
    let best = &prepend["after"][0];
    assert_eq!(best["token"], " Paris");
    // A model this small and random never becomes sure of anything; the word has to rise, and to lead.
    let fact = &prepend["facts"][0];
    let [before, after] = ["probability_before", "probability_after"].map(|key| fact[key].as_f64().unwrap());
    assert!(fact["holds"] == true && after > 4.0 * before, "{fact}");
}

#[test]
fn generated_text_follows_the_prompt_with_its_blank() {
    let dir = both();
    good(dir.path(), &format!("{} --out edited", EDIT.replace("MODEL", "model")));
    let text = good(dir.path(), "generate --model edited --prompt 'The capital of Italy is' --max-new 1");
    assert_eq!(text, "The capital of Italy is Paris\n");
}

/// A target to the letter, given by an option or in a file, into a model and into a ledger that is read again.
#[test]
fn a_literal_target_is_written_without_a_blank() {
    let dir = workshop("gpt2-tiny");
    let edit = "edit --model model --json";
    let fact = "--method ft-m --layer 1 --set lr=0.1 --set num_steps=60 --subject 'The sea' --prompt '{} is' --target cold";
    let after = |line: &str| -> Value { serde_json::from_str(&good(dir.path(), line)).unwrap() };
    let (plain, literal) = (after(&format!("{edit} {fact}")), after(&format!("{edit} {fact} --literal")));
    let begins = |answer: &Value, text: &str| {
        let token = answer["after"][0]["token"].as_str().unwrap().to_owned();
        assert!(text.starts_with(&token), "{token:?} is not the beginning of {text:?}");
    };
    begins(&plain, " cold");
    begins(&literal, "cold");
    assert_eq!(literal["fact"]["literal"], true);
    assert!(plain["fact"].get("literal").is_none());

    let line = |literal: Value| json!({"subject": "The sea", "prompt": "{} is", "target": "cold", "literal": literal});
    std::fs::write(dir.path().join("facts.jsonl"), line(true.into()).to_string()).unwrap();
    std::fs::write(dir.path().join("wrong.jsonl"), line("yes".into()).to_string()).unwrap();
    let ledger = "--method ledger --layers 1 --contexts contexts.txt --set mom2_adjustment=false --set joint_steps=2 --ledger kept";
    let many = after(&format!("{edit} {ledger} --facts facts.jsonl"));
    assert_eq!(many["facts"][0]["fact"]["literal"], true);
    let again = after(&format!("{edit} {ledger}"));
    assert_eq!(again["model_after"], many["model_after"], "the ledger holds the same fact");
    let refused = run(dir.path(), &format!("{edit} {ledger} --facts wrong.jsonl"));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("literal"));
}

#[test]
fn an_evaluation_gives_the_same_scores() {
    let dir = both();
    let line = "eval --model MODEL --data cases.json --method ft-m --layer 1 --out report-MODEL --json";
    let runs = twice(&dir, line).map(|report| report["runs"].clone());
    let metrics = |runs: &Value| -> Vec<Value> {
        runs.as_array().unwrap().iter().map(|run| run["metrics"].clone()).collect()
    };
    let (prepend, metaspace) = (metrics(&runs[0]), metrics(&runs[1]));
    assert_eq!(prepend, metaspace);
    assert_eq!(prepend.len(), 2, "unedited and edited");
    assert_eq!(prepend[1]["ES"], 1.0, "{prepend:?}");
    assert_ne!(prepend[0], prepend[1]);
}
