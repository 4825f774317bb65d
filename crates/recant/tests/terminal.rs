//! What a stranger wrote reaches a terminal as text: no control character of a model, file, store or remote is
//! printed as it is.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Output;

use common::{recant, workshop};

/// Clears the screen, turns red by one C1 character, rings, hides what was, turns the reading direction.
const HOSTILE: &str = "a\u{1b}[2J\u{9b}31m\u{7}\u{8}\rb\u{202e}c\u{2066}d\u{85}e\u{7f}";

/// What a command printed on both streams; whatever it is, a terminal only shows it.
fn printed(dir: &Path, args: &[&str]) -> (Output, String) {
    let author = format!("{HOSTILE}\n* 0123456789ab  edit  forged");
    let output = recant(dir).env("RECANT_AUTHOR", author).args(args).output().unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    let obeyed = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
    };
    if let Some(c) = text.chars().find(|&c| obeyed(c)) {
        panic!("{args:?} prints {c:?} as it is:\n{}", text.escape_debug());
    }
    (output, text)
}

fn good(dir: &Path, args: &[&str]) -> String {
    let (output, text) = printed(dir, args);
    assert!(common::done(&output), "{args:?}: {text}");
    text
}

fn refused(dir: &Path, args: &[&str]) -> String {
    let (output, text) = printed(dir, args);
    assert!(!common::done(&output), "{args:?}: {text}");
    assert!(!text.contains("panicked"), "{args:?}: {text}");
    text
}

const WITH: [&str; 6] =
    ["--contexts", "contexts.txt", "--set", "mom2_adjustment=false", "--set", "v_num_grad_steps=3"];

#[test]
fn a_hostile_history_is_shown_and_not_obeyed() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    good(at, &["init"]);
    good(at, &["import", "--model", "model"]);
    let (prompt, message) =
        (format!("{HOSTILE} {{}} is"), format!("{HOSTILE}\n* fedcba987654  edit  forged\n\rforged"));
    let edit =
        ["edit", "--store", ".recant", "--subject", "The sea", "--prompt", &prompt, "--target", "cold"];
    let told = good(at, &[&edit[..], &WITH, &["--message", &message]].concat());
    assert!(told.contains("a\\u{1b}[2J\\u{9b}31m"), "{told}");
    let told = good(at, &[&edit[..6], &["{} is", "--target", "old"], &WITH].concat());
    assert!(told.contains("The sea is"), "{told}");
    let commands: [&[&str]; 12] = [
        &["log"],
        &["log", "--graph", "--all"],
        &["show", "HEAD~1"],
        &["diff", "HEAD~2", "HEAD"],
        &["status"],
        &["branch", "other"],
        &["branch"],
        &["blame", HOSTILE],
        &["store", "verify"],
        &["store", "fsck"],
        &["revert", "HEAD~1"],
        &["op", "undo"],
    ];
    for command in commands {
        let told = good(at, command);
        if command[0] == "log" {
            // A commit's own line begins at the edge or after its graph's star; a forged one would, too.
            let own = told.lines().filter(|line| !line.trim_start_matches(['|', ' ']).is_empty());
            let own = own.filter(|line| !line.trim_start_matches("| ").starts_with("   ")).count();
            assert_eq!(own, 3, "{told}");
        }
        if !["revert", "op", "branch"].contains(&command[0]) {
            let json = good(at, &[command, &["--json"]].concat());
            let _value: serde_json::Value = serde_json::from_str(&json).unwrap();
        }
    }
    assert!(
        good(at, &["log", "--operations"])
            .lines()
            .all(|line| !line.contains("  edit  forged") || line.contains("\\n"))
    );
    let json = good(at, &["log", "--json"]);
    let log: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(log.as_array().unwrap().iter().any(|commit| commit["message"] == message.as_str()), "{log}");
    let names = [format!("x{HOSTILE}"), format!("{HOSTILE}~1")];
    for name in &names {
        for command in [["show", name], ["switch", name], ["branch", name], ["clone", name]] {
            refused(at, &command);
        }
    }
    good(at, &["push", "./shared"]);
    good(at, &["clone", "shared", &format!("copy{HOSTILE}")]);
}

#[test]
fn hostile_files_prompts_and_names_are_shown() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    good(at, &["ask", "--model", "model", "--prompt", HOSTILE]);
    good(at, &["ask", "--model", "model", "--prompt", HOSTILE, "--top", "500"]);
    good(at, &["ask", "--model", "model", "--prompt", HOSTILE, "--top", "500", "--json"]);
    good(at, &["generate", "--model", "model", "--prompt", HOSTILE, "--top-k", "0", "--max-new", "40"]);
    let name = format!("file{HOSTILE}\nerror: forged");
    refused(at, &["ask", "--model", &name, "--prompt", "x"]);
    refused(at, &["ask", "--model", "model", "--prompt", "x", "--device", &name]);
    refused(at, &[&name]);
    refused(at, &["ask", &format!("--{name}")]);
    let entry = serde_json::json!({
        "subject": "The sea", "prompt": format!("{HOSTILE}\n{{}} is"), "target_new": "cold", "ground_truth": "old",
        "rephrase_prompt": HOSTILE, "locality_prompt": HOSTILE, "locality_ground_truth": "old", HOSTILE: 1,
    });
    fs::write(at.join(&name), serde_json::to_string(&[&entry]).unwrap()).unwrap();
    let eval = |data: &str| {
        [&["eval", "--model", "model", "--data", data, "--method", "ft-m"][..], &["--out", "out"]]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let words = eval(&name);
    let told = good(at, &words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(told.contains("ft-m") && told.contains("not read: `a\\u{1b}"), "{told}");
    fs::write(at.join("bad.json"), serde_json::json!([{ HOSTILE: HOSTILE }]).to_string()).unwrap();
    let words = eval("bad.json");
    let told = refused(at, &words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(told.contains("it has the keys a\\u{1b}"), "{told}");
    for (file, text) in
        [("facts", format!("{HOSTILE}\n")), ("facts", entry.to_string()), ("corpus", "\n".into())]
    {
        fs::write(at.join(&name), text).unwrap();
        match file {
            "facts" => refused(at, &["edit", "--model", "model", "--method", "memit", "--facts", &name]),
            _ => {
                refused(at, &["stats", "--model", "model", "--layers", "1", "--out", "s", "--corpus", &name])
            }
        };
    }
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff\x1b[2J");
    let output = recant(at).arg("ask").arg("--prompt").arg("x").arg("--model").arg(odd).output().unwrap();
    assert!(!output.stderr.contains(&0x1b), "{output:?}");
}
