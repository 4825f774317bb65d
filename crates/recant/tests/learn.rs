//! A memory beside the weights, through the binary: taught, listed, asked, interrupted, forgotten; and bad input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{files, run, workshop};

const LEARN: &str = "learn --model model --state memory --method grace --layer 0 --set eps=0.05";

fn out(dir: &Path, line: &str) -> String {
    let output = run(dir, line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn complaint(dir: &Path, line: &str) -> String {
    let before = files(dir);
    let output = run(dir, line);
    assert!(!output.status.success(), "{line} should fail");
    assert_eq!(files(dir), before, "{line}: a refused command changes no file");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("error:") && !text.contains("panicked"), "{text}");
    text
}

fn cases(dir: &Path) {
    let case = |id: u32, subject: &str, new: &str| {
        format!(
            r#"{{"case_id": {id}, "prompt": "{subject} is", "target_new": "{new}", "ground_truth": "warm",
                "subject": "{subject}", "rephrase_prompt": "We saw {subject}", "locality_prompt": "It rained on day {id} for"}}"#
        )
    };
    let all = [case(0, "The sea", "cold"), case(1, "The cat", "old"), case(2, "The road", "music")];
    std::fs::write(dir.join("cases.json"), format!("[{}]", all.join(","))).unwrap();
}

#[test]
fn a_memory_is_taught_listed_asked_and_forgets() {
    let dir = workshop("gpt2-tiny");
    let dir = dir.path();
    let teach = format!("{LEARN} --subject 'The sea' --prompt '{{}} is' --target cold");
    assert!(out(dir, &teach).contains("holds 1 edits"));
    assert!(out(dir, "learned --state memory").contains("0  The sea is -> cold"));
    let bare = out(dir, "ask --model model --prompt 'The sea is' --top 1");
    let taught = out(dir, "ask --model model --state memory --prompt 'The sea is' --top 1");
    assert_ne!(bare, taught);
    assert_eq!(taught, out(dir, "ask --model model --state memory --prompt 'The sea is' --top 1"));
    assert!(out(dir, "forget --model model --state memory --edit 0").contains("holds 0 edits"));
    assert_eq!(bare, out(dir, "ask --model model --state memory --prompt 'The sea is' --top 1"));
}

/// A run that was stopped after one case goes on to the very file of a run that was not.
#[test]
fn an_interrupted_run_goes_on_from_the_last_stored_edit() {
    let dir = workshop("gpt2-tiny");
    let dir = dir.path();
    cases(dir);
    out(dir, &format!("{LEARN} --data cases.json --limit 2"));
    let whole = std::fs::read(dir.join("memory")).unwrap();
    let back = "forget --model model --state memory --back-to 1";
    assert!(out(dir, back).contains("holds 1 edits"));
    let rest = out(dir, &format!("{LEARN} --data cases.json --limit 2"));
    assert!(rest.contains("1 learned") && rest.contains("1 known already"), "{rest}");
    assert_eq!(std::fs::read(dir.join("memory")).unwrap(), whole);
}

#[test]
fn bad_input_is_named_and_leaves_the_last_good_state() {
    let dir = workshop("gpt2-tiny");
    let dir = dir.path();
    let wise = "learn --model model --state side --method wise --layer 0 --contexts contexts.txt";
    let fact = "--subject 'The sea' --prompt '{} is' --target cold";
    let none = complaint(dir, &format!("{wise} {fact}"));
    assert!(
        none.contains("locality prompt") && none.contains("neutral=true") && none.contains("hint:"),
        "{none}"
    );
    let nan = format!("{wise} {fact} --locality 'It rained' --set edit_lr=1e30 --set norm_constraint=false");
    assert!(complaint(dir, &nan).contains("loss of"));
    let key = format!("{LEARN} {fact} --set epsilon=1");
    assert!(complaint(dir, &key).contains("no such setting"));

    out(dir, &format!("{LEARN} {fact}"));
    assert!(complaint(dir, "forget --model model --state memory --edit 7").contains("no edit 7"));
    assert!(complaint(dir, "ask --model model --state nowhere --prompt cat").contains("nowhere"));
    let good = std::fs::read(dir.join("memory")).unwrap();
    std::fs::write(dir.join("cut"), &good[..good.len() - 9]).unwrap();
    assert!(complaint(dir, "ask --model model --state cut --prompt cat").contains("truncated"));
    assert!(complaint(dir, &LEARN.replace("memory", "cut")).contains("required"));
    let other = workshop("llama-tiny-gqa");
    std::fs::write(other.path().join("memory"), &good).unwrap();
    let foreign = complaint(other.path(), "ask --model model --state memory --prompt cat");
    assert!(foreign.contains("was made for model") && foreign.contains("hint:"), "{foreign}");
    assert_eq!(std::fs::read(dir.join("memory")).unwrap(), good);
}
