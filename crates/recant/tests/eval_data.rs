//! Data sets as people have them, through `recant eval`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{demo, good, json, refused, run, workshop};
use serde_json::{Value, json};

fn entry(subject: &str) -> Value {
    json!({
        "subject": subject, "prompt": format!("the {subject} is"), "target_new": "cold", "ground_truth": "old",
        "rephrase_prompt": format!("see, the {subject} is"), "locality_prompt": "the sun is",
        "locality_ground_truth": "old",
    })
}

fn write(dir: &Path, entries: &[Value]) {
    std::fs::write(dir.join("data.json"), serde_json::to_string(entries).unwrap()).unwrap();
}

fn report(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("out/report.json")).unwrap()).unwrap()
}

const EVAL: &str = "eval --model model --data data.json --method ft-m --out out --force";

#[test]
fn a_bad_record_is_refused_before_the_first_edit() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let with = |key: &str, value: Value| {
        let mut bad = entry("cat");
        bad[key] = value;
        bad
    };
    let long = "cold and old ".repeat(30);
    for (bad, expected) in [
        (with("prompt", "she is".into()), "entry 1 (line 1), `prompt`: the prompt"),
        (
            with("rephrase_prompt", long.clone().into()),
            "entry 1 (line 1), `rephrase_prompt`: \"cold and old cold",
        ),
        (with("locality_ground_truth", long.into()), "entry 1 (line 1), `locality_prompt`: \"the sun is\""),
        (with("target_new", 7.into()), "entry 1 (line 1), `target_new`: it is a number"),
    ] {
        write(at, &[entry("sea"), bad, entry("dog")]);
        let told = refused(at, EVAL);
        assert!(
            told.contains(expected) && told.contains("data.json") && told.contains("--skip-bad"),
            "{told}"
        );
        assert!(!at.join("out/report.json").exists());
        let table = good(at, &format!("{EVAL} --skip-bad"));
        assert!(table.contains("left out: entry 1 (line 1)"), "{table}");
        let report = report(at);
        assert_eq!((&report["data"]["cases"], &report["data"]["available"]), (&json!(2), &json!(3)));
        good(at, &format!("{EVAL} --limit 1"));
        std::fs::remove_dir_all(at.join("out")).unwrap();
    }
    write(at, &[with("prompt", "she is".into())]);
    assert!(refused(at, &format!("{EVAL} --skip-bad")).contains("no cases are left"));
}

#[test]
fn a_score_that_does_not_apply_is_told_and_not_counted() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let mut same = entry("cat");
    same["target_new"] = "old".into();
    let mut unknown = entry("dog");
    unknown["locality_ground_truth"] = "".into();
    unknown["rephrase_prompt"] = "".into();
    write(at, &[entry("sea"), same, unknown]);
    let table = good(at, EVAL);
    for told in [
        "not applicable to 1 of 3 cases: ES, EM, PS, PM, carry-over (the new answer is the former one)",
        "not applicable to 1 of 3 cases: PS, PM, rephrase, carry-over, free rephrase, end rephrase (there is no paraphrase)",
        "not applicable to 1 of 3 cases: NS, NM, locality (a neighbourhood prompt has no true answer)",
        "not applicable to 1 of 3 cases: NS, NM (a neighbourhood prompt's true answer is the new one)",
    ] {
        assert!(table.contains(told), "{told}\n{table}");
    }
    let report = report(at);
    let scores = |case: usize| &report["runs"][1]["results"][case]["scores"];
    assert_eq!(
        (&scores(1)["ES"], &scores(1)["PS"], &scores(1)["NS"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!((&scores(2)["PS"], &scores(2)["NS"]), (&Value::Null, &Value::Null));
    assert!(
        scores(0)["ES"].is_number() && scores(2)["ES"].is_number() && scores(1)["rewrite_acc"].is_number()
    );
    let of = |case: usize, score: &str| scores(case)[score].as_f64().unwrap();
    let metrics = &report["runs"][1]["metrics"];
    assert_eq!(metrics["ES"].as_f64().unwrap(), (of(0, "ES") + of(2, "ES")) / 2.0);
    assert_eq!(metrics["NS"].as_f64().unwrap(), of(0, "NS"));
}

#[test]
fn other_forms_and_lines_are_evaluated() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let mend = json!({
        "subject": "cat", "src": "the cat is", "pred": "x", "rephrase": "see, the cat is", "alt": "cold",
        "answers": ["old"], "loc": "nq question: the sun is", "loc_ans": "old", "cond": "old >> cold || the cat is",
    });
    let knowedit = json!({
        "subject": "dog", "prompt": "the dog is", "target_new": "cold", "ground_truth": [["old"]],
        "rephrase": ["see, the dog is"], "portability": {"Reasoning": []}, "of_another_tool": 1,
        "locality": {"Relation_Specificity": [{"prompt": "the sun is", "ground_truth": [["old"]]}]},
    });
    let lines: Vec<String> = [entry("sea"), mend, knowedit].iter().map(Value::to_string).collect();
    std::fs::write(at.join("data.json"), format!("\u{feff}{}\n", lines.join("\n"))).unwrap();
    let table = good(at, EVAL);
    assert!(
        table.contains("not read: `of_another_tool` of 1 entries") && !table.contains("not applicable"),
        "{table}"
    );
    std::fs::write(at.join("data.json"), "[{\"question\": \"Who?\", \"answer\": \"Ada\"}]").unwrap();
    let told = refused(at, EVAL);
    assert!(told.contains("it has the keys answer, question; read are CounterFact"), "{told}");
}

/// What a method was given is said of that method.
#[test]
fn contexts_are_reported_by_method() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    write(at, &[entry("sea")]);
    let set = "--set mom2_adjustment=false --set v_num_grad_steps=2 --layer 1 --layers 1";
    let eval = |methods: &str| EVAL.replace("ft-m", methods);
    good(at, &format!("{} {set}", eval("ft-m,r-rome,memit")));
    let told = report(at);
    let contexts: Vec<usize> =
        (0..4).map(|run| told["runs"][run]["contexts"].as_array().unwrap().len()).collect();
    assert_eq!(contexts, [0, 0, 21, 6]);
    good(at, &format!("{} {set} --contexts contexts.txt", eval("r-rome")));
    assert_eq!(report(at)["runs"][1]["contexts"], json!(["{}", "The weather was cold. {}"]));
}

/// A method that cannot write a case fails that case; the report is written, and the exit code tells.
#[test]
fn failures_are_in_the_report_and_in_the_exit_code() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    // With the contexts before it, the second prompt is too long for the model.
    let mut long = entry("cat");
    long["prompt"] = format!("{}the cat is", "so ".repeat(18)).into();
    write(at, &[entry("sea"), long, entry("dog")]);
    let line = "eval --model model --data data.json --method r-rome --out out --contexts contexts.txt \
                --set mom2_adjustment=false --set v_num_grad_steps=2";
    let output = run(at, line);
    let (table, told) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{table}{told}");
    assert!(told.starts_with("error: cases failed: 1; the first is case 1 of r-rome"), "{told}");
    assert!(table.contains("failures"), "{table}");
    let report = report(at);
    assert_eq!(report["runs"][1]["failures"][0]["case_id"], 1);
    assert_eq!(report["runs"][1]["results"].as_array().unwrap().len(), 3);
}

/// A model that something else edited is judged beside the one before it, without a method.
#[test]
fn a_model_that_something_else_edited_is_judged_as_it_is() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    write(at, &[entry("sea"), entry("cat")]);
    let words = "--method ft-m --set num_steps=30";
    // It takes the one fact in, and is then a model like any other.
    let edit = "edit model --out edited --again";
    let fact = ["--subject", "sea", "--prompt", "the {} is", "--target", "cold"];
    let made =
        common::recant(at).args(common::words(&format!("{edit} {words}"))).args(fact).output().unwrap();
    assert!(matches!(made.status.code(), Some(0 | 3)), "{made:?}");
    let table = good(at, "eval model --after edited --data data.json --out out");
    assert!(table.contains("edited"), "{table}");
    let report = report(at);
    let runs = report["runs"].as_array().unwrap();
    let rows: Vec<_> = runs.iter().map(|run| (run["method"].as_str(), run["scenario"].as_str())).collect();
    assert_eq!(rows, [(Some("unedited"), Some("single")), (Some("edited"), Some("given"))]);
    let probability = |run: &Value| run["metrics"]["rewrite_acc"].as_f64();
    assert!(probability(&runs[1]) >= probability(&runs[0]), "{report}");
    assert!(runs[1]["seconds_per_edit"].is_null() && runs[1]["rollback_exact"].is_null());
    // Beside a method too, and never with another vocabulary.
    good(at, "eval model --after edited --method ft-m --data data.json --out out --force");
    assert_eq!(self::report(at)["runs"].as_array().unwrap().len(), 3);
    let llama =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures/llama-tiny-sp");
    let told =
        refused(at, &format!("eval model --after {} --data data.json --out out --force", llama.display()));
    assert!(told.contains("--after") && told.contains("tokens"), "{told}");
}

/// What a table, a map and a recommendation say, for eyes; `config.rs` and `snapshots.rs` have the JSON.
#[test]
fn layers_and_traces_are_shown_within_a_hundred_columns() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    write(at, &[entry("sea"), entry("dog"), entry("cat")]);
    let told = good(at, "layers model --data data.json --method ft-m --layers 0-1 --limit 2");
    for expected in
        ["layer", "95 %", "s/edit", "of 2 layers, each tried on 2 facts", "next is layer", "2 facts are few"]
    {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert_eq!(told.lines().filter(|line| line.trim_start().starts_with(['0', '1'])).count(), 2, "{told}");
    let trace =
        "trace model 'the old cat is very' --subject 'old cat' --target cold --samples 2 --svg map.svg";
    let map = good(at, trace);
    for expected in [
        "at*",
        "restoring the MLP of one block",
        "largest effect at the last subject token\n  states     at layer",
    ] {
        assert!(map.contains(expected), "{expected}: {map}");
    }
    for text in [&told, &map] {
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
    assert!(std::fs::read_to_string(at.join("map.svg")).unwrap().starts_with("<svg "));
}

/// A layer's scores are those that `recant eval` gives it.
#[test]
fn a_layer_is_tried_as_an_evaluation_does() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    write(at, &[entry("sea"), entry("dog"), entry("cat")]);
    let layers = json(at, "layers model --data data.json --method ft-m --layers 0,1 --limit 3");
    for layer in [0, 1] {
        good(at, &format!("{EVAL} --layer {layer} --limit 3"));
        let report = report(at);
        let found = &layers["layers"][layer];
        assert_eq!((&found["layer"], &found["metrics"]), (&json!(layer), &report["runs"][1]["metrics"]));
    }
}

/// A report without what no two runs have alike: seconds and memory.
fn timeless(mut report: Value) -> Value {
    for run in report["runs"].as_array_mut().unwrap() {
        run["results"].as_array_mut().unwrap().iter_mut().for_each(|case| case["seconds"] = Value::Null);
        (run["seconds_per_edit"], run["peak_rss_bytes"]) = (Value::Null, Value::Null);
    }
    report
}

/// The demo model, five cases: three at a time, or in three shards of two, two and one, they make the same report.
#[test]
fn shards_make_the_report_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let (model, data) = (demo("model"), demo("data/cases.json"));
    let eval = format!(
        "eval '{}' --data '{}' --limit 5 --method ft-m --layer 1 --set num_steps=3 --in-context",
        model.display(),
        data.display()
    );
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(at.join(name).join("report.json")).unwrap()).unwrap()
    };
    good(at, &format!("{eval} --out whole"));
    good(at, &format!("{eval} --jobs 3 --out jobs"));
    assert_eq!(timeless(read("jobs")), timeless(read("whole")), "scores do not depend on --jobs");
    for shard in 1..=3 {
        good(at, &format!("{eval} --shard {shard}/3 --out s{shard}"));
    }
    let cases = |report: &Value| report["data"]["cases"].as_u64().unwrap();
    assert_eq!([1, 2, 3].map(|shard| cases(&read(&format!("s{shard}")))), [2, 2, 1]);
    let [s1, s2, s3] = [1, 2, 3].map(|shard| format!("s{shard}/report.json"));
    good(at, &format!("eval merge merged {s3} {s1} {s2}"));
    let (whole, merged) = (timeless(read("whole")), timeless(read("merged")));
    assert_eq!(whole, merged);
    assert!(merged["runs"][1]["intervals"]["ES"]["high"].is_number(), "{merged}");
    let told = &merged["runs"][2];
    assert_eq!([&told["method"], &told["scenario"]], ["in-context", "single"]);
    assert!(told["rollback_exact"].is_null() && told["results"][4]["scores"]["ES"].is_number(), "{told}");
    conforms(&read("s2"));
    conforms(&whole);

    let told = refused(at, &format!("eval merge again {s1} {s2}"));
    assert!(told.contains("shards are missing: 3/3"), "{told}");
    let told = refused(at, &format!("eval merge again {s1} {s2} {s1}"));
    assert!(told.contains("s1/report.json are both shard 1/3: they overlap"), "{told}");
    let told = refused(at, &format!("eval merge again {s1} whole/report.json"));
    assert!(told.contains("is a whole report and no shard") && told.contains("--shard"), "{told}");
    for (change, what) in [
        ("--set lr=0.001", "setting"),
        ("--seed 3", "setting"),
        ("--limit 4", "number of cases"),
        ("", "list of methods"),
    ] {
        good(
            at,
            &format!("{eval} --shard 3/3 --out other --force {change}")
                .replace("--limit 5 ", if change.starts_with("--limit") { "" } else { "--limit 5 " })
                .replace("--in-context", if change.is_empty() { "" } else { "--in-context" }),
        );
        let told = refused(at, &format!("eval merge again {s1} {s2} other/report.json"));
        assert!(
            told.contains(&format!("other/report.json was made with another {what} than {s1}")),
            "{told}"
        );
    }
    assert!(!at.join("again/report.json").exists());
    let told = refused(at, &format!("{eval} --shard 1/2 --scenario batch --out x"));
    assert!(told.contains("--shard") && told.contains("each alone"), "{told}");
    let told = refused(at, &format!("{eval} --jobs 2 --scenario batch --out x"));
    assert!(told.contains("--jobs") && told.contains("--scenario single"), "{told}");
    let told = refused(at, &format!("{eval} --shard 6/6 --out x"));
    assert!(
        told.contains("--shard") && told.contains("there are 5 cases, and 6/6 of them is none"),
        "{told}"
    );
    for wrong in ["0/3", "4/3", "1", "1/x", "/"] {
        assert!(refused(at, &format!("{eval} --shard {wrong}")).contains("I/N is expected"), "{wrong}");
    }
    compared(at);
}

/// Reports beside each other, through the binary.
fn compared(at: &Path) {
    let same = "eval compare whole/report.json merged/report.json --fail-below ES=0 --fail-below NS=-0.5";
    assert!(good(at, same).contains("ft-m, 5 cases in both: every score is the same"));
    let told = refused(at, "eval compare whole/report.json merged/report.json --fail-below ES=0.5");
    assert!(told.contains("ft-m: ES gained +0.0000, at least +0.5000 was asked"), "{told}");
    // What the version before wrote, which had no scores of free generation for each case.
    let text = std::fs::read_to_string(at.join("whole/report.json")).unwrap();
    let mut former: Value = serde_json::from_str(&text).unwrap();
    former["schema"] = json!(2);
    for run in former["runs"].as_array_mut().unwrap() {
        run["free"] =
            json!({ "rewrite": 1.0, "rephrase": null, "rewrite_natural": 0.0, "rephrase_natural": null });
        let written = |key: &String| key.starts_with("free_") || key.starts_with("end_");
        run["metrics"].as_object_mut().unwrap().retain(|key, _| !written(key));
        for case in run["results"].as_array_mut().unwrap() {
            case["scores"].as_object_mut().unwrap().retain(|key, _| !written(key));
        }
    }
    std::fs::write(at.join("former.json"), former.to_string()).unwrap();
    let told = json(at, "eval compare former.json merged/report.json");
    assert_eq!(told["runs"][1]["scores"]["ES"]["difference"], json!(0.0));
    assert!(told["runs"][1]["scores"]["free_rewrite"].is_null());
    let part = json(at, "eval compare whole/report.json s1/report.json");
    assert_eq!(
        (&part["runs"][1]["cases"], &part["runs"][1]["scores"]["ES"]["difference"]),
        (&json!(2), &json!(0.0))
    );
    assert_eq!(
        (&part["runs"][1]["scores"]["ES"]["tendency"], &part["shortfalls"]),
        (&json!("noise"), &json!([]))
    );
    let told = refused(at, "eval compare s1/report.json s2/report.json");
    assert!(told.contains("the reports share no case"), "{told}");
    let told = refused(at, "eval compare whole/report.json merged/report.json --fail-below ESS=0");
    assert!(told.contains("--fail-below") && told.contains("there are S, ES, EM"), "{told}");
    std::fs::write(at.join("no.json"), "{\"schema\": 2}").unwrap();
    for (name, expected) in [("no.json", "is no report.json"), ("gone.json", "cannot read")] {
        let told = refused(at, &format!("eval compare whole/report.json {name}"));
        assert!(told.contains(expected) && told.contains(name), "{told}");
    }
    let lines = std::fs::read_to_string(at.join("whole/report.csv")).unwrap();
    assert_eq!(lines.lines().count(), 1 + 3 * 5, "{lines}");
}

/// A report of a sequence has every part that one can have.
#[test]
fn a_report_of_a_sequence_conforms_to_the_schema() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let mut unknown = entry("dog");
    unknown["rephrase_prompt"] = "".into();
    write(at, &[entry("sea"), entry("cat"), unknown]);
    std::fs::write(at.join("probe.json"), r#"[{"prompt": "the sun is", "answer": "old"}]"#).unwrap();
    good(at, &format!("{EVAL} --scenario sequential --probe probe.json"));
    let report = report(at);
    assert!(
        report["runs"][1]["metrics"]["free_rewrite"].is_number()
            && !report["runs"][1]["curve"].as_array().unwrap().is_empty()
    );
    conforms(&report);
}

/// Whether a report conforms to the schema that is published, and has nothing that the schema does not name.
fn conforms(report: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/report.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    check(&schema, &schema, report, "", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The check can fail.
    let mut other = report.clone();
    other["runs"][0]["metrics"]["ES"] = json!("1");
    other["runs"][0].as_object_mut().unwrap().remove("notes");
    other["seed"] = json!(-1);
    other["device"] = Value::Null;
    other["new"] = json!(1);
    check(&schema, &schema, &other, "", &mut wrong);
    assert_eq!(wrong.len(), 5, "{wrong:#?}");
}

/// The part of JSON Schema that the schema uses.
fn check(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/$defs/").unwrap();
        return check(root, &root["$defs"][name], value, at, wrong);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = |schema: &Value| {
            let mut found = Vec::new();
            check(root, schema, value, at, &mut found);
            found.is_empty()
        };
        if !any.iter().any(fits) {
            wrong.push(format!("{at}: of no form"));
        }
        return;
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        Value::Null => Vec::new(),
        kind => vec![kind.clone()],
    };
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    };
    let stands = |key: &str, holds: &dyn Fn(&Value) -> bool| schema.get(key).is_none_or(holds);
    let number = value.as_f64();
    let fits = (kinds.is_empty() || kinds.iter().any(is))
        && stands("const", &|only| only == value)
        && stands("enum", &|all| all.as_array().unwrap().contains(value))
        && stands("minimum", &|least| number.is_none_or(|number| number >= least.as_f64().unwrap()))
        && stands("maximum", &|most| number.is_none_or(|number| number <= most.as_f64().unwrap()));
    if !fits {
        wrong.push(format!("{at}: {value}"));
    }
    for item in value.as_array().into_iter().flatten() {
        check(root, &schema["items"], item, &format!("{at}[]"), wrong);
    }
    let Some(object) = value.as_object() else { return };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    wrong.extend(
        required.filter(|key| !object.contains_key(*key)).map(|key| format!("{at}.{key} is missing")),
    );
    for (key, value) in object {
        let inner = schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
        match inner {
            Some(inner) => check(root, inner, value, &format!("{at}.{key}"), wrong),
            None => wrong.push(format!("{at}.{key} is in no schema")),
        }
    }
}
