//! `recant.toml`: what options are where the command line does not say them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::process::Output;

use common::{recant, words, workshop};
use serde_json::Value;

/// Runs a command that reads the folder's file, and the user's one in `home`.
fn run(dir: &Path, line: &str) -> Output {
    let mut command = recant(dir);
    command.env_remove("RECANT_CONFIG").env("XDG_CONFIG_HOME", dir.join("home"));
    command.args(words(line)).output().unwrap()
}

fn json(dir: &Path, line: &str) -> Value {
    let output = run(dir, &format!("{line} --json"));
    assert!(common::done(&output), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

const EDIT: &str = "edit model 'The sea' '{} is' cold";

#[test]
fn the_command_line_goes_before_the_folder_and_that_before_the_user() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let user = "top = 1\nseed = 7\ncontexts = \"contexts.txt\"\nset = [\"mom2_adjustment=false\", \"v_num_grad_steps=2\"]\n";
    write(at, "home/recant/recant.toml", user);
    assert_eq!(json(at, "ask model 'The sea is'")["answers"].as_array().unwrap().len(), 1);
    write(at, "recant.toml", "top = 2\nlayer = 0\n[ask]\ntop = 3\n");
    let answers = |line: &str| json(at, line)["answers"].as_array().unwrap().len();
    assert_eq!(answers("ask model 'The sea is'"), 3);
    assert_eq!(answers("ask model 'The sea is' --top 4"), 4);
    assert_eq!(answers("ask --top 4 model 'The sea is'"), 4);
    let edit = json(at, EDIT);
    assert_eq!((&edit["layer"], edit["before"].as_array().unwrap().len()), (&Value::from(0), 2));
    assert_eq!(edit["settings"]["v_num_grad_steps"], "2");
    // One setting is said, the other one stays.
    let edit = json(at, &format!("{EDIT} --layer 1 --set v_num_grad_steps=3"));
    assert_eq!((&edit["layer"], &edit["settings"]["v_num_grad_steps"]), (&Value::from(1), &Value::from("3")));
    assert_eq!(edit["settings"]["mom2_adjustment"], "false");
    // `RECANT_CONFIG` names another one, or none.
    assert_eq!(
        recant(at)
            .args(["ask", "model", "The sea is"])
            .output()
            .unwrap()
            .stdout
            .split(|&b| b == b'\n')
            .count(),
        7
    );
}

/// However a setting is spelled, what is typed goes before a file, and a nearer file before a farther one.
#[test]
fn a_setting_has_one_winner_however_it_is_spelled() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let quick = "\"mom2_adjustment=false\", \"r-rome.v_num_grad_steps = 2\"";
    write(at, "recant.toml", &format!("contexts = \"contexts.txt\"\nlayer = 1\nseed = 7\nset = [{quick}]\n"));
    let edit = json(at, &format!("{EDIT} --set layer=0 --set v_num_grad_steps=4"));
    assert_eq!((&edit["layer"], &edit["settings"]["v_num_grad_steps"]), (&Value::from(0), &Value::from("4")));
    let edit = json(at, &format!("{EDIT} --method memit --layers 0,1 --set v_num_grad_steps=2"));
    assert_eq!(edit["layers"], serde_json::json!([0, 1]));
    // A folder's corpus goes before the user's statistics.
    write(at, "home/recant/recant.toml", "stats = \"no such file\"\n[edit]\nlayers = [0, 1]\n");
    let text: String = (0..400).map(|i| format!("a{i} word number {} of the sea is cold\n", i * i)).collect();
    write(at, "corpus.txt", &text);
    write(
        at,
        "recant.toml",
        "contexts = \"contexts.txt\"\ncorpus = [\"corpus.txt\"]\nset = [\"v_num_grad_steps=2\"]\n",
    );
    assert_eq!(json(at, &format!("{EDIT} --method memit"))["layers"], serde_json::json!([0, 1]));
    assert_eq!(json(at, &format!("{EDIT} --layer 0"))["layer"], 0);
}

/// A table of a command in a group holds for its former spelling too.
#[test]
fn commands_in_groups_have_tables() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    write(at, "recant.toml", "[facts.remove]\ndevice = \"nowhere\"\n[facts.move]\ndevice = \"elsewhere\"\n");
    let move_ = "--from a --to b --all";
    for (line, device) in [
        ("facts remove notes model --edit 0".to_owned(), "nowhere"),
        (format!("facts move model {move_}"), "elsewhere"),
        (format!("move model {move_}"), "elsewhere"),
    ] {
        let output = run(at, &line);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(&format!("'{device}' for '--device")), "{line}: {told}");
    }
}

/// An option that goes against what is said is left out; what a typed option would be told, a file is told too.
#[test]
fn what_goes_against_the_command_line_is_left_out() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    write(
        at,
        "recant.toml",
        "stats = \"no such file\"\ncontexts = \"contexts.txt\"\n[edit]\nmethod = \"rome\"\n",
    );
    let text: String = (0..400).map(|i| format!("a{i} word number {} of the sea is cold\n", i * i)).collect();
    write(at, "corpus.txt", &text);
    let edit = json(at, &format!("{EDIT} --corpus corpus.txt --set v_num_grad_steps=2"));
    assert_eq!(edit["method"], "rome");
    let output = run(at, EDIT);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no such file"), "the file's --stats is used");
    // Help needs no file, not even a good one.
    write(at, "recant.toml", "not toml");
    assert!(run(at, "edit --help").status.success());
    assert!(run(at, "--version").status.success());
}

#[test]
fn what_a_file_cannot_say_is_said() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    for (text, expected) in [
        ("not toml", "recant.toml"),
        ("force = true", "force: a file can say only chat, contexts"),
        ("method = \"rome\"", "method: it means something else for each command"),
        ("[edit]\nplain = true", "plain: `recant edit` has no such option"),
        ("[edits]\ntop = 1", "[edits]: there is no such command"),
        ("[learned]\ntop = 1", "[learned]: there is no such command"),
        ("[edit]\ntop = true", "top: true is not a value"),
        ("[edit]\nchat = 3", "chat: 3 is not a value"),
        ("stats = true", "stats: true is not a value"),
        ("chat = true", "chat: it means something else for each command"),
        ("seed = [1, 2]", "seed: [1, 2] is not a value"),
        ("top = 0", "invalid value '0' for '--top"),
    ] {
        write(at, "recant.toml", text);
        let output = run(at, "ask model 'The sea is'");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(1 | 2)) && told.contains(expected), "{text}: {told}");
        assert!(told.starts_with("error:") && output.stdout.is_empty(), "{text}: {told}");
    }
}

#[test]
fn config_shows_what_holds_and_where_it_comes_from() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    write(at, "home/recant/recant.toml", "top = 1\nseed = 7\n");
    write(at, "recant.toml", "top = 2\n[store.import]\n");
    let shown = json(at, "config");
    let options = shown["options"].as_array().unwrap();
    let told: Vec<_> = options
        .iter()
        .map(|o| (o["option"].as_str().unwrap(), o["value"].as_str().unwrap(), o["holds"].as_bool().unwrap()))
        .collect();
    assert_eq!(told, [("top", "2", true), ("seed", "7", true), ("top", "1", false)]);
    assert_eq!(shown["files"].as_array().unwrap().len(), 2);
    let text = String::from_utf8(run(at, "config").stdout).unwrap();
    assert!(text.contains("every command --top 2  from recant.toml") && text.contains("nearer"), "{text}");
}

/// `recant layers --write` adds one line to the folder's file, which the next edit obeys, and loses nothing of it.
#[test]
fn a_layer_is_written_beside_what_stands_there() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let entry = |subject: &str| {
        serde_json::json!({
            "subject": subject, "prompt": format!("the {subject} is"), "target_new": "cold", "ground_truth": "old",
            "rephrase_prompt": format!("see, the {subject} is"), "locality_prompt": "the sun is",
            "locality_ground_truth": "old",
        })
    };
    write(at, "data.json", &serde_json::json!([entry("sea"), entry("dog")]).to_string());
    let text = "# of this model\ncontexts = \"contexts.txt\" # two\nset = [\"mom2_adjustment=false\", \"v_num_grad_steps=2\"]\n\n[ask]\ntop = 3\n";
    write(at, "recant.toml", text);
    let layers = "layers model --data data.json --write";
    let found = json(at, &format!("{layers} --layers 0,2"));
    let best = found["best"].as_u64().unwrap();
    assert!(best == 0 || best == 2, "{found}");
    let tried: Vec<u64> =
        found["layers"].as_array().unwrap().iter().map(|l| l["layer"].as_u64().unwrap()).collect();
    assert_eq!(
        (tried, &found["cases"], &found["written"]),
        (vec![0, 2], &Value::from(2), &Value::from("recant.toml"))
    );
    let now = std::fs::read_to_string(at.join("recant.toml")).unwrap();
    assert_eq!(now, text.replace("\n\n[ask]", &format!("\n\nlayer = {best}\n[ask]")));
    assert_eq!(json(at, EDIT)["layer"], best);
    // What is said already is left to whoever said it, before any edit.
    let output = run(at, layers);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && told.contains(&format!("already says layer = {best}")),
        "{told}"
    );
    assert_eq!(std::fs::read_to_string(at.join("recant.toml")).unwrap(), now);
    // The layers of methods that edit several do not limit what is tried.
    write(at, "recant.toml", &text.replace("\n\n", "\nlayers = [1]\n\n"));
    assert_eq!(json(at, "layers model --data data.json --limit 1")["layers"].as_array().unwrap().len(), 3);
}
