//! A memory beside the weights, through the binary: taught, listed, asked, interrupted, forgotten; and bad input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{done, files, run, workshop};
use serde_json::Value;

const LEARN: &str = "edit model --state memory --method grace --layer 0 --set eps=0.05";

fn out(dir: &Path, line: &str) -> String {
    let output = run(dir, line);
    assert!(done(&output), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn complaint(dir: &Path, line: &str) -> String {
    let before = files(dir);
    let output = run(dir, line);
    assert!(!done(&output), "{line} should fail");
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
    assert!(out(dir, &teach).contains("holds 1 edit"));
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
    out(dir, &format!("{LEARN} --facts cases.json --limit 2"));
    let whole = std::fs::read(dir.join("memory")).unwrap();
    let back = "forget --model model --state memory --back-to 1";
    assert!(out(dir, back).contains("holds 1 edit"));
    let rest = out(dir, &format!("{LEARN} --facts cases.json --limit 2"));
    assert!(rest.contains("1 learned") && rest.contains("1 known already"), "{rest}");
    assert_eq!(std::fs::read(dir.join("memory")).unwrap(), whole);
}

/// `recant learn` of former versions is the same edit.
#[test]
fn the_former_spelling_teaches_the_same() {
    let dir = workshop("gpt2-tiny");
    let dir = dir.path();
    cases(dir);
    let now = "--facts cases.json --limit 2 --json";
    let mut told: Value = serde_json::from_str(&out(dir, &format!("{LEARN} {now}"))).unwrap();
    let former = format!("{LEARN} {now}")
        .replace("edit", "learn")
        .replace("--facts", "--data")
        .replace("memory", "other");
    let output = run(dir, &former);
    let note = String::from_utf8_lossy(&output.stderr);
    assert!(note.contains("`recant learn` is now called `recant edit --state`"), "{note}");
    let mut before: Value = serde_json::from_slice(&output.stdout).unwrap();
    for told in [&mut told, &mut before] {
        told["seconds"].take();
    }
    assert_eq!(told, before);
    assert_eq!(std::fs::read(dir.join("memory")).unwrap(), std::fs::read(dir.join("other")).unwrap());
}

/// A memory and a change of weights exclude each other, by name; nothing is written.
#[test]
fn a_memory_takes_no_options_of_weights() {
    let dir = workshop("gpt2-tiny");
    let dir = dir.path();
    let fact = "--subject 'The sea' --prompt '{} is' --target cold";
    for (more, said) in [
        ("--out edited", "--out"),
        ("--ledger ledger", "--ledger"),
        ("--patch patch", "--patch"),
        ("--method rome", "rome changes weights"),
    ] {
        let line = format!("edit model --state memory --layer 0 {fact} {more}");
        let told = complaint(dir, &line);
        assert!(told.contains("--state") && told.contains(said), "{line}: {told}");
    }
    let without = complaint(dir, &format!("edit model --method grace --layer 0 {fact}"));
    assert!(without.contains("hint: `recant edit --state FILE`"), "{without}");
    assert!(complaint(dir, &format!("edit --state memory {fact}")).contains("name it"));
    assert!(complaint(dir, &format!("edit model --limit 2 {fact}")).contains("--state"));
}

#[test]
fn bad_input_is_named_and_leaves_the_last_good_state() {
    let dir = workshop("gpt2-tiny");
    let dir = dir.path();
    let wise = "edit --model model --state side --method wise --layer 0 --contexts contexts.txt";
    let fact = "--subject 'The sea' --prompt '{} is' --target cold";
    let none = complaint(dir, &format!("{wise} {fact} --set reference=true"));
    assert!(
        none.contains("locality prompt") && none.contains("neutral=true") && none.contains("hint:"),
        "{none}"
    );
    let nan = format!("{wise} {fact} --locality 'It rained' --set edit_lr=1e30 --set norm_constraint=false");
    assert!(complaint(dir, &nan).contains("loss of"));
    let key = format!("{LEARN} {fact} --set epsilon=1");
    assert!(complaint(dir, &key).contains("no such setting"));
    // Said to one method: of those that are asked, and a name that it knows.
    let other = format!("{LEARN} {fact} --set wise.alpha=1");
    assert!(complaint(dir, &other).contains("wise is none of the methods asked for"));
    let key = format!("{LEARN} {fact} --set grace.alpha=1");
    assert!(complaint(dir, &key).contains("grace has no such setting"));

    out(dir, &format!("{LEARN} {fact}"));
    assert!(complaint(dir, "forget --model model --state memory --edit 7").contains("no edit 7"));
    assert!(complaint(dir, "ask --model model --state nowhere --prompt cat").contains("nowhere"));
    let good = std::fs::read(dir.join("memory")).unwrap();
    std::fs::write(dir.join("cut"), &good[..good.len() - 9]).unwrap();
    assert!(complaint(dir, "ask --model model --state cut --prompt cat").contains("damaged"));
    assert!(complaint(dir, &LEARN.replace("memory", "cut")).contains("required"));
    let other = workshop("llama-tiny-gqa");
    std::fs::write(other.path().join("memory"), &good).unwrap();
    let foreign = complaint(other.path(), "ask --model model --state memory --prompt cat");
    assert!(foreign.contains("was made for model") && foreign.contains("hint:"), "{foreign}");
    assert_eq!(std::fs::read(dir.join("memory")).unwrap(), good);
}

const EVAL: &str =
    "eval --model model --data cases.json --contexts contexts.txt --method grace --layer 0 --set eps=0.05";

fn report(dir: &Path, out: &str) -> Value {
    let text = std::fs::read_to_string(dir.join(out).join("report.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What --resume keeps: JSON after a line that names the format, sealed with a checksum.
fn record_of(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap();
    let payload = recant::records::seal::unseal(&bytes).unwrap().payload;
    let json = payload.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    serde_json::from_slice(&payload[json..]).unwrap()
}

/// The record of a finished run is taken back to its first step, while the memory beside it is as it was at the end:
/// what a kill between the two writes leaves, and more.
#[test]
fn an_interrupted_evaluation_ends_like_one_that_was_not() {
    let dir = workshop("gpt2-tiny");
    let dir = dir.path();
    cases(dir);
    let line = |out: &str| format!("{EVAL} --scenario sequential --resume run.json --force --out {out}");
    out(dir, &line("whole"));
    let mut record = record_of(&dir.join("run.json"));
    assert_eq!(record["progress"]["cases"], 3);
    let progress = record["progress"].as_object_mut().unwrap();
    progress.insert("cases".into(), 1.into());
    progress.insert("steps".into(), 1.into());
    for (list, kept) in [("immediate", 1), ("curve", 1)] {
        progress[list].as_array_mut().unwrap().truncate(kept);
    }
    std::fs::write(dir.join("run.json"), record.to_string()).unwrap();
    out(dir, &line("resumed"));
    let [whole, resumed] = ["whole", "resumed"].map(|out| report(dir, out)["runs"][1].clone());
    for field in ["metrics", "free", "settings", "failures", "rollback_exact", "state_bytes", "cases", "step"]
    {
        assert_eq!(whole[field], resumed[field], "{field}");
    }
    let scores = |run: &Value| -> Vec<Value> {
        run["results"].as_array().unwrap().iter().map(|case| case["scores"].clone()).collect()
    };
    assert_eq!(scores(&whole), scores(&resumed));
    // Numbers that went through the record may differ in their last digit.
    let near = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-12;
    assert!(near(&whole["immediate"]["EM"], &resumed["immediate"]["EM"]));
    assert_eq!(resumed["curve"].as_array().unwrap().len(), 3);
    for (a, b) in whole["curve"].as_array().unwrap().iter().zip(resumed["curve"].as_array().unwrap()) {
        assert_eq!(a["edits"], b["edits"]);
        assert!(near(&a["all"]["EM"], &b["all"]["EM"]) && near(&a["earliest"]["EM"], &b["earliest"]["EM"]));
    }
    let other = complaint(dir, &line("resumed").replace("eps=0.05", "eps=0.06"));
    assert!(other.contains("another eps"), "{other}");
    let fewer = complaint(dir, &format!("{} --limit 2", line("resumed")));
    assert!(fewer.contains("another cases"), "{fewer}");
    let rome = complaint(dir, &line("resumed").replace("grace", "ft-m").replace("--set eps=0.05", ""));
    assert!(rome.contains("not a record of runs of this kind"), "{rome}");
    std::fs::remove_file(dir.join("run.json.state")).unwrap();
    assert!(complaint(dir, &line("resumed")).contains("run.json.state is gone"));
}

/// Runs of methods that write weights and of memories, in every scenario: cut anywhere, they end with the same report.
#[test]
fn runs_that_are_cut_anywhere_end_with_the_same_report() {
    let dir = workshop("gpt2-tiny");
    let dir = dir.path();
    cases(dir);
    for scenario in ["single", "batch", "sequential --batch-size 2"] {
        let eval = "eval --model model --data cases.json --contexts contexts.txt --method locft-bf,grace --layer 0 --force \
                    --resume record";
        let line = |out: &str| format!("{eval} --scenario {scenario} --out {out}");
        out(dir, &line("whole"));
        let whole = std::fs::read(dir.join("record")).unwrap();
        let lines = whole.iter().filter(|&&byte| byte == b'\n').count();
        // The magic and what is evaluated; then a line a case, or a line a run.
        assert_eq!(lines, 2 + if scenario == "single" { 6 } else { 2 }, "{scenario}");
        let told = |out: &str| {
            let mut report = report(dir, out);
            for run in report["runs"].as_array_mut().unwrap() {
                run["peak_rss_bytes"].take();
            }
            report
        };
        let wanted = told("whole");
        for cut in 2..=lines {
            let end =
                whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(cut - 1).unwrap().0 + 1;
            // In the middle of the next line, if there is one.
            let torn = (end + 40).min(whole.len());
            std::fs::write(dir.join("record"), &whole[..torn]).unwrap();
            out(dir, &line("resumed"));
            let (mut wanted, mut found) = (wanted.clone(), told("resumed"));
            // What was done again took its own time.
            without_seconds(&mut wanted);
            without_seconds(&mut found);
            assert_eq!(found, wanted, "{scenario}, cut behind line {cut}");
        }
        std::fs::write(dir.join("record"), &whole).unwrap();
        let fewer = complaint(dir, &format!("{} --limit 2", line("resumed")));
        assert!(fewer.contains("another set of cases"), "{fewer}");
        let other = complaint(
            dir,
            &format!("{} --set lr=0.1", line("resumed").replace("locft-bf,grace", "locft-bf")),
        );
        assert!(other.contains("another"), "{other}");
        std::fs::write(dir.join("record"), b"somebody's text").unwrap();
        assert!(complaint(dir, &line("resumed")).contains("record"));
        std::fs::remove_file(dir.join("record")).unwrap();
    }
}

fn without_seconds(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "seconds" && name != "seconds_per_edit");
            fields.values_mut().for_each(without_seconds);
        }
        Value::Array(items) => items.iter_mut().for_each(without_seconds),
        _ => {}
    }
}

#[test]
fn a_memory_is_scored_fact_by_fact() {
    let dir = workshop("gpt2-tiny");
    let dir = dir.path();
    cases(dir);
    out(dir, &format!("{EVAL} --out single"));
    let runs = report(dir, "single")["runs"].clone();
    let run = &runs[1];
    assert_eq!((&run["scenario"], &run["method"]), (&"single".into(), &"grace".into()));
    assert_eq!(run["rollback_exact"], true);
    assert!(run["metrics"]["EM"].as_f64() > runs[0]["metrics"]["EM"].as_f64(), "something was learned");
    let results = run["results"].as_array().unwrap();
    assert!(results.len() == 3 && results.iter().all(|case| case["rollback_exact"] == true));
}

#[test]
fn an_edit_moves_to_a_ledger_and_back_and_becomes_weights() {
    let dir = workshop("gpt2-tiny");
    let dir = dir.path();
    let memory = "edit --model model --state notes.mem --method memory --layer 0 --contexts contexts.txt";
    out(dir, &format!("{memory} --subject cat --prompt 'We saw the {{}}' --target old"));
    out(dir, &format!("{memory} --subject 'The sea' --prompt '{{}} is' --target cold"));
    let both = std::fs::read(dir.join("notes.mem")).unwrap();
    let go = "move --model model --contexts contexts.txt";
    let ledger = "--set mom2_adjustment=false --set values=independent";
    let there = format!("{go} {ledger} --from notes.mem --to my.ledger --fact 'The sea is'");
    assert!(complaint(dir, &there).contains("--as"));
    assert!(out(dir, &format!("{there} --as ledger")).contains("1 moved"));
    assert!(!out(dir, "learned --state notes.mem").contains("The sea"));
    let weights = format!(
        "edit --model model --contexts contexts.txt --layers 0 {ledger} --method ledger --ledger my.ledger"
    );
    assert!(out(dir, &weights).contains("my.ledger: 1"));
    assert!(complaint(dir, &format!("{there} --as ledger")).contains("stands nowhere in it"));
    out(dir, &format!("{go} --from my.ledger --to notes.mem --all"));
    assert_eq!(std::fs::read(dir.join("notes.mem")).unwrap(), both, "there and back");
    assert!(complaint(dir, &format!("{go} --from my.ledger --to notes.mem --all")).contains("holds no edit"));

    let patch = format!("{go} --from notes.mem --to one.patch --as patch --fact 'We saw the cat'");
    assert!(complaint(dir, &patch).contains("second moments"));
    out(dir, &format!("{patch} --copy --set mom2_adjustment=false"));
    assert_eq!(std::fs::read(dir.join("notes.mem")).unwrap(), both, "a copy leaves it");
    out(dir, "export --model model --patch one.patch --as lora --out adapter");
    let back = format!("{go} --from one.patch --to other.mem --as memory");
    assert!(complaint(dir, &format!("{back} --all")).contains("a patch does not know its fact"));
    out(dir, &format!("{back} --subject cat --prompt 'We saw the {{}}' --target old"));
    assert!(out(dir, "learned --state other.mem").contains("We saw the cat -> old"));
}
