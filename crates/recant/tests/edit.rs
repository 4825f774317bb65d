//! `recant edit` and its like, through the binary: what became of each fact, where the model comes from, what the
//! options say together.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{EDIT, fixture, good, json, recant, refused, run, workshop};
use serde_json::{Value, json};

/// An edit that cannot hold: one step for a long target.
const WEAK: &str = "edit --model model --contexts contexts.txt --set mom2_adjustment=false --set v_num_grad_steps=1 \
     --subject 'The sea' --prompt '{} is' --target 'cold and very old'";

/// An edit that holds, on a random model: trained until it does.
const STRONG: &str = "edit --model model --method ft-m --layer 1 --set lr=0.1 --set num_steps=60 --subject 'The sea' \
     --prompt '{} is' --target cold";

fn write(dir: &Path, name: &str, text: impl AsRef<[u8]>) {
    std::fs::write(dir.join(name), text).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A text is edited as it stands where nobody says what it is about.
#[test]
fn a_fact_needs_no_subject() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let line = STRONG.replace("--subject 'The sea' --prompt '{} is'", "--prompt 'the cat is '");
    let told = json(at, &line);
    assert_eq!((&told["text"], &told["holds"]), (&json!("the cat is"), &json!(true)), "{told}");
    let rome = common::EDIT.replace("--subject 'The sea' --prompt '{} is'", "--prompt 'the cat is'");
    assert!(common::done(&run(at, &rome)), "{rome}");
    let said = refused(at, &STRONG.replace("--subject 'The sea' ", ""));
    assert!(said.contains("has {} where a subject goes, and there is no subject"), "{said}");
}

/// What else moved is told; what breaks a bound is told and not written; what keeps them is recorded.
#[test]
fn what_else_moved_is_told_and_a_gate_keeps_it_out() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    // What this random model says anyway.
    write(at, "retained.json", json!([{ "prompt": "Leonardo da Vinci is", "answer": "mo" }]).to_string());
    let told = json(at, &format!("{STRONG} --check --probe retained.json"));
    let groups: Vec<&str> = told["side_effects"]["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["kind"].as_str().unwrap())
        .collect();
    assert!(groups.contains(&"relation") && groups.contains(&"retained"), "{told}");
    assert_eq!(told["side_effects"]["groups"][0]["asked"], 32);
    let said = good(at, &format!("{STRONG} --check"));
    assert!(
        said.contains("what else moved: ") && said.contains("other subjects in the same sentence: "),
        "{said}"
    );

    write(at, "strict.toml", "facts = 1.0\nrelation = 1.0\nkl = 0.0\n");
    let line = format!("{STRONG} --gate strict.toml --patch p --out out");
    let refused = run(at, &line);
    let (out, err) = (text(&refused.stdout), text(&refused.stderr));
    assert_eq!(refused.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("does not pass the gate: ") && err.contains("at most 0 is asked"), "{err}");
    assert!(out.contains("what else moved: ") && !out.contains("written"), "{out}");
    assert!(!at.join("out").exists() && !at.join("p").exists());

    // Files that a gate names are beside it.
    std::fs::create_dir(at.join("gates")).unwrap();
    std::fs::rename(at.join("retained.json"), at.join("gates/retained.json")).unwrap();
    write(
        at,
        "gates/wide.toml",
        "facts = 1.0\nretained = 0.0\nretained_facts = \"retained.json\"\nkl = 1e9\n",
    );
    good(at, "init");
    good(at, "import --model model");
    let passed =
        good(at, &format!("{} --gate gates/wide.toml", STRONG.replace("--model model", "--store .recant")));
    assert!(passed.contains("gate: facts is 1.000, at least 1 is asked"), "{passed}");
    // Facts that the model cannot be asked about are told before the work.
    write(at, "long.json", json!([{ "prompt": "sea ".repeat(999), "answer": "cold" }]).to_string());
    let refused = run(at, &format!("-v {STRONG} --check --probe long.json"));
    let told = text(&refused.stderr);
    assert!(refused.status.code() == Some(1) && told.contains("long.json, entry 0, `prompt`"), "{told}");
    assert!(!told.contains("plan"), "{told}");
    // Of prompts that were made, those that do not fit are left out.
    let wide = STRONG.replace("'The sea'", &format!("'{}'", "sea ".repeat(8)));
    let told = json(at, &format!("{wide} --check"));
    assert!(told["side_effects"]["groups"].as_array().is_some(), "{told}");
    let shown = json(at, "show");
    assert_eq!(
        shown["scores"]["kept_retained"].as_f64().map(|share| (0.0..=1.0).contains(&share)),
        Some(true),
        "{shown}"
    );
    assert_eq!(shown["settings"]["gate kl"], "at most 1000000000");
    let before = common::files(&at.join(".recant"));
    let refused = run(
        at,
        &format!(
            "{} --gate strict.toml",
            STRONG.replace("--model model", "--store .recant").replace("cold", "old")
        ),
    );
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(common::files(&at.join(".recant")), before);
    for (toml, expected) in [
        ("", "it bounds nothing"),
        ("relation = 2", "relation = 2: a share from 0 to 1 is expected"),
        ("retained = 1", "retained and retained_facts go together"),
        ("relations = 1", "unknown field `relations`"),
        ("kl = [", "gate.toml: "),
    ] {
        write(at, "gate.toml", toml);
        let refused = run(at, &format!("{STRONG} --gate gate.toml"));
        let err = text(&refused.stderr);
        assert!(refused.status.code() == Some(1) && err.contains(expected), "{toml}: {err}");
    }
}

/// One fact or many, by any method: one line a fact, the same fields in JSON, and an exit code of its own.
#[test]
fn what_became_of_each_fact_is_told() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    write(
        at,
        "facts.json",
        json!([{ "subject": "The sea", "prompt": "{} is", "target": "cold and very old" }]).to_string(),
    );
    let many =
        "edit --model model --contexts contexts.txt --set mom2_adjustment=false --set v_num_grad_steps=1";
    let learn = "edit --model model --state memory --method grace --layer 0 --set n_iter=1 --subject 'The sea' \
                 --prompt '{} is' --target 'cold and very old'";
    good(at, "init");
    good(at, "import --model model");
    let lines = [
        format!("{WEAK} --out out"),
        format!(
            "{} --method ft-l --set num_steps=1",
            WEAK.replace("--set mom2_adjustment=false --set v_num_grad_steps=1", "")
        ),
        format!("{many} --method memit --facts facts.json"),
        format!("{many} --method ledger --set joint_steps=1 --facts facts.json"),
        WEAK.replace("--model model", "--store .recant"),
        learn.to_owned(),
    ];
    for line in lines {
        let output = run(at, &line);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(3), "{line}: {out}{err}");
        assert!(out.contains("does not hold: The sea is -> cold and very old: "), "{line}: {out}");
        assert!(err.contains("warning: 1 of 1 fact does not hold") && err.contains("hint:"), "{line}: {err}");
        let output = run(at, &format!("{} --json", line.replace("--out out", "").replace("memory", "other")));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let fact = &told["facts"][0];
        let number = |key: &str| fact[key].as_f64().unwrap();
        assert_eq!((&fact["holds"], &told["holds"]), (&json!(false), &json!(false)), "{line}: {told}");
        // Of four tokens a random model says the product nearly never, whatever their mean is.
        assert!(number("probability_before") < 1e-3 && number("probability_after") < 0.5, "{line}: {fact}");
        assert!(
            fact["best"]["probability"].as_f64().unwrap() > number("probability_after"),
            "{line}: {fact}"
        );
        assert!(!fact["continuation"].as_str().unwrap().is_empty(), "{line}: {fact}");
    }
    assert!(at.join("out/model.safetensors").exists(), "it was asked for, and is written");
    let output = run(at, STRONG);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let out = text(&output.stdout);
    assert!(out.contains("holds: The sea is -> cold: ") && !out.contains("does not hold"), "{out}");
}

/// One fact is a list of one: a single edit has every key of an edit of many, and its own of before.
#[test]
fn one_fact_is_told_as_many_are() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let facts = [("The sea", "cold"), ("The cat", "old")];
    let lines: Vec<String> = facts
        .iter()
        .map(|(subject, target)| {
            json!({ "subject": subject, "prompt": "{} is", "target": target }).to_string()
        })
        .collect();
    write(at, "facts.jsonl", lines.join("\n"));
    let keys = |told: &Value| told.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let many = json(
        at,
        "edit --model model --contexts contexts.txt --set mom2_adjustment=false --set v_num_grad_steps=3 --method memit \
         --facts facts.jsonl",
    );
    let one = json(at, STRONG);
    assert!(keys(&many).is_subset(&keys(&one)));
    for key in ["fact", "text", "before", "after", "layer", "settings", "losses", "out", "commit"] {
        assert!(one.get(key).is_some(), "{key}");
    }
    for key in ["answered", "conflicts", "ledger", "facts", "seconds", "changed", "notes", "patch"] {
        assert!(many.get(key).is_some(), "{key}");
    }
    assert_eq!((&one["answered"], &one["facts"][0]["answered"]), (&json!(1), &json!(true)));
    assert_eq!(keys(&one["facts"][0]), keys(&many["facts"][1]));
}

#[test]
fn of_many_facts_those_that_do_not_hold_are_told() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let fact = |i: usize| json!({ "subject": format!("Town {i}"), "prompt": "{} is", "target": "cold and very old" });
    let facts: Vec<Value> = (0..23).map(fact).collect();
    write(at, "facts.json", serde_json::to_string_pretty(&facts).unwrap());
    let line = "edit --model model --method locft-bf --set epochs=1 --facts facts.json --verdicts all.jsonl";
    let output = run(at, line);
    assert_eq!(output.status.code(), Some(3));
    let out = text(&output.stdout);
    assert!(out.contains(" of 23 facts hold, ") && !out.contains("\nholds: "), "{out}");
    assert_eq!(out.matches("\ndoes not hold: ").count(), 20, "{out}");
    assert!(out.contains("more that do not hold; --verdicts FILE has all"), "{out}");
    let all = std::fs::read_to_string(at.join("all.jsonl")).unwrap();
    let subjects: Vec<Value> = all
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["fact"]["subject"].clone())
        .collect();
    assert_eq!(subjects, facts.iter().map(|fact| fact["subject"].clone()).collect::<Vec<_>>());
}

/// Without --model the store is the one that every verb takes.
#[test]
fn an_edit_finds_its_store_as_every_verb_does() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let edit = EDIT.replace("--model model ", "");
    assert!(refused(at, &edit).contains("recant store init"));
    good(at, "init");
    good(at, "import --model model");
    assert!(good(at, &edit).contains("commit "));
    assert_eq!(json(at, "status")["edits"], 1);
    good(at, "init --store other");
    good(at, "import --model model --store other");
    let mut command = recant(at);
    command.env("RECANT_STORE", "other").args(["status", "--json"]);
    let empty: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert_eq!(empty["edits"], 0);
    let mut command = recant(at);
    let words =
        "edit --contexts contexts.txt --set mom2_adjustment=false --subject sea --target cold --prompt";
    command.env("RECANT_STORE", "other").args(words.split_whitespace()).arg("The {} is");
    assert!(common::done(&command.output().unwrap()));
    assert_eq!(
        (&json(at, "status --store other")["edits"], &json(at, "status")["edits"]),
        (&json!(1), &json!(1))
    );
    // A model that is named is edited, and no store.
    good(at, EDIT);
    assert_eq!(json(at, "status")["edits"], 1);
}

#[test]
fn blanks_that_were_cut_are_told() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let told = json(at, &EDIT.replace("'{} is'", "'{} is '").replace("'The sea'", "' The sea'"));
    assert_eq!((&told["text"], &told["fact"]["subject"]), (&json!("The sea is"), &json!("The sea")));
    assert!(told["notes"].to_string().contains("--prompt were cut off"), "{}", told["notes"]);
    assert_eq!(told["model_after"], json(at, EDIT)["model_after"]);
}

#[test]
fn a_record_that_stands_twice_is_learned_once() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let case = |id: usize, prompt: &str, new: &str| {
        json!({
            "case_id": id, "prompt": prompt, "subject": "The sea", "target_new": new, "ground_truth": "warm",
            "rephrase_prompt": "We saw", "locality_prompt": "A dog is", "locality_ground_truth": "warm",
        })
    };
    let cases = [
        case(0, "The sea is", "cold"),
        case(1, "The sea was", "old"),
        case(2, "The sea is", "cold"),
        case(3, "The sea is ", "cold"),
    ];
    write(at, "cases.json", json!(cases).to_string());
    let line = "edit --model model --state memory --method grace --layer 0 --set eps=0.05 --facts cases.json";
    let told = json(at, line);
    assert_eq!((&told["edits"], &told["learned"], &told["known"]), (&json!(2), &json!(2), &json!(0)));
    assert!(told["notes"][0].as_str().unwrap().contains("given twice"), "{}", told["notes"]);
    let again = json(at, line);
    assert_eq!((&again["learned"], &again["known"]), (&json!(0), &json!(2)));
    // In whatever order the file names them.
    write(at, "cases.json", json!([cases[1], cases[0]]).to_string());
    assert_eq!(json(at, line)["known"], 2);
    let forgot = json(at, "forget --model model --state memory --edit 0");
    assert_eq!(forgot["edits"], 1);
}

#[test]
fn the_seed_is_recorded_by_what_draws_with_it() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let line = "edit --model model --state STATE --method grace --layer 0 --subject 'The sea' --prompt '{} is' \
                --target cold";
    let seed = |state: &str, more: &str| {
        good(at, &format!("{} {more}", line.replace("STATE", state)));
        json(at, &format!("learned --state {state}"))["settings"]["seed"].clone()
    };
    assert_eq!(seed("a", "--seed 7"), "7");
    assert_eq!(seed("b", "--set seed=7"), "7");
    assert_eq!(std::fs::read(at.join("a")).unwrap(), std::fs::read(at.join("b")).unwrap());
    assert_eq!(seed("c", ""), "0");
    let told = refused(at, &format!("{} --seed 1 --set seed=2", line.replace("STATE", "d")));
    assert!(told.contains("seed 1 and seed = 2 contradict"), "{told}");
}

#[test]
fn phases_are_told_to_who_asks() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let told = |more: &str| text(&run(at, &format!("{STRONG} {more}")).stderr);
    let phases = ["open", "resources", "plan", "apply", "score", "write"];
    assert_eq!(told(""), "");
    let once = told("-v");
    let at_places: Vec<Option<usize>> =
        phases.iter().map(|phase| once.find(&format!("{phase} done, "))).collect();
    assert!(at_places.iter().all(Option::is_some) && at_places.is_sorted(), "{once}");
    assert!(!once.contains("begins"), "{once}");
    let twice = told("-vv");
    assert!(phases.iter().all(|phase| twice.contains(&format!("{phase} begins"))), "{twice}");
    assert!(twice.contains("ft-m: layers [1], seed 0"), "{twice}");
}

#[test]
fn methods_and_their_settings_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let all = json(at, "methods");
    let names: Vec<&str> =
        all.as_array().unwrap().iter().map(|info| info["name"].as_str().unwrap()).collect();
    for name in names {
        let one = json(at, &format!("methods {name}"));
        let shown = good(at, &format!("methods {name}"));
        let settings = one["settings"].as_array().unwrap();
        assert!(settings.len() >= 4, "{name}");
        assert!(settings.iter().all(|set| shown.contains(set["name"].as_str().unwrap())), "{shown}");
    }
    assert!(refused(at, "methods rone").contains("did you mean rome?"));
    let model = fixture("llama-tiny-gqa");
    let on_model = json(at, &format!("methods memit {}", model.display()));
    assert_eq!(on_model["layers"], serde_json::json!([0]));
    let layers = on_model["settings"].as_array().unwrap().iter().find(|set| set["name"] == "layers").unwrap();
    assert_eq!((&layers["default"], &layers["kind"]), (&"0".into(), &"layers".into()));
    let mixture = fixture("mixtral-tiny");
    assert!(refused(at, &format!("methods rome {}", mixture.display())).contains("mixture of experts"));
}

/// A model and a fact are said in turn; what flags said before they say still, and both at once is refused.
#[test]
fn a_model_and_a_fact_are_said_in_turn() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let rest = "--contexts contexts.txt --set mom2_adjustment=false";
    let in_turn = format!("edit model 'The sea' '{{}} is' cold {rest} --patch turn");
    let by_flags = format!(
        "edit --model model --subject 'The sea' --prompt '{{}} is' --target cold {rest} --patch flags"
    );
    for line in [&in_turn, &by_flags] {
        assert!(common::done(&run(at, line)), "{line}");
    }
    assert_eq!(std::fs::read(at.join("turn")).unwrap(), std::fs::read(at.join("flags")).unwrap());
    assert_eq!(good(at, "ask model 'The sea is'"), good(at, "ask --model model --prompt 'The sea is'"));
    assert_eq!(
        good(at, "generate model 'The sea is'"),
        good(at, "generate --model model --prompt 'The sea is'")
    );
    for (line, named) in [
        ("ask model --model model --prompt x", "--model"),
        ("ask model x --prompt x", "--prompt"),
        ("edit model 'The sea' '{} is'", "3 values"),
        ("edit model 'The sea' '{} is' cold --target warm", "--target"),
        ("edit model", "--prompt"),
        ("ask", "MODEL"),
    ] {
        let output = run(at, line);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && told.contains(named), "{line}: {told}");
    }
}

/// Facts come from the files that people have, and from the standard input.
#[test]
fn facts_come_from_tables_data_sets_and_the_standard_input() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let write = |name: &str, text: &str| std::fs::write(at.join(name), text).unwrap();
    let lines = "{\"subject\": \"The sea\", \"prompt\": \"{} is\", \"target\": \"cold\"}\n";
    write("facts.jsonl", lines);
    write("facts.csv", "subject,prompt,target\nThe sea,{} is,cold\n");
    let case = "[{\"case_id\": 1, \"requested_rewrite\": {\"prompt\": \"{} is\", \"subject\": \"The sea\",
        \"target_new\": {\"str\": \"cold\"}, \"target_true\": {\"str\": \"warm\"}}}]";
    write("counterfact.json", case);
    write(
        "zsre.json",
        "[{\"subject\": \"The sea\", \"src\": \"The sea is\", \"alt\": \"cold\", \"answers\": [\"warm\"]}]",
    );
    let edit = |file: &str| {
        let line = format!(
            "edit model --facts {file} --contexts contexts.txt --set mom2_adjustment=false --patch p --force"
        );
        let mut command = recant(at);
        let child = command.args(common::words(&line)).stdin(std::process::Stdio::piped());
        let mut child =
            child.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(common::done(&output), "{file}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(at.join("p")).unwrap()
    };
    let patch = edit("facts.jsonl");
    for file in ["facts.csv", "counterfact.json", "zsre.json", "-"] {
        assert_eq!(edit(file), patch, "{file}");
    }
}

/// What scripts of former versions say goes on working, and a note tells the new name.
#[test]
fn former_spellings_work_with_a_note() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    for (former, now) in [
        ("init", "store init"),
        ("import model", "store import"),
        ("fsck", "store fsck"),
        ("undo", "op undo"),
        ("redo", "op redo"),
        ("checkout --out out", "store checkout"),
    ] {
        let output = common::run(at, former);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{former}: {told}");
        assert!(told.contains(&format!("is now called `recant {now}`")), "{former}: {told}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("is now called"), "{former}");
    }
    let told = common::good(at, "op log -n 1");
    assert_eq!(told.lines().count(), 1, "{told}");
}

/// A ledger's facts are listed and taken out like those of a memory.
#[test]
fn facts_of_a_ledger_are_listed_and_taken_out() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let table = "subject,prompt,target\nThe sea,{} is,cold\nThe sun,{} is,old\n";
    std::fs::write(at.join("facts.csv"), table).unwrap();
    let with = "--contexts contexts.txt --set mom2_adjustment=false --set v_num_grad_steps=2";
    common::good(at, &format!("edit model --facts facts.csv --method ledger --ledger l {with}"));
    let listed = common::json(at, "facts list l");
    assert_eq!((&listed["kind"], listed["facts"].as_array().unwrap().len()), (&"ledger".into(), 2));
    let gone = listed["facts"][1]["subject"].as_str().unwrap().to_owned();
    assert!(common::refused(at, "facts remove l --edit 2").contains("there is no edit 2"));
    assert!(common::refused(at, "facts remove l --back-to 1").contains("a ledger is a set"));
    assert_eq!(common::json(at, "facts remove l --edit 1")["edits"], 1);
    let left = common::json(at, "facts list l");
    assert_ne!(left["facts"][0]["subject"].as_str().unwrap(), gone);
    assert!(common::good(at, "facts list l").contains("ledger, 1 fact"));
    // A store's ledger, at any commit.
    common::good(at, "store init");
    common::good(at, "store import model");
    common::good(at, &format!("edit --store .recant --facts facts.csv --method ledger {with}"));
    assert_eq!(common::json(at, "facts list .recant")["facts"].as_array().unwrap().len(), 2);
    assert_eq!(common::json(at, "facts list .recant@HEAD~1")["facts"].as_array().unwrap().len(), 0);
    assert!(common::refused(at, "facts list model/config.json").starts_with("error:"));
}
