//! `recant chat` from a pipe: every line is a prompt or a command.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use common::{demo, files, good, recant, words, workshop};
use serde_json::Value;

fn chat(dir: &Path, options: &str, lines: impl AsRef<[u8]>) -> Output {
    let mut command = recant(dir);
    command.arg("chat").args(words(options)).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_ref()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const QUICK: &str =
    "model --contexts contexts.txt --set mom2_adjustment=false --set v_num_grad_steps=3 --max-new 4";

#[test]
fn a_chat_asks_edits_compares_takes_back_and_saves() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let lines = "The sea is\n/edit [The sea] is -> cold\n/top The sea is\n/diff\n/facts\n/save edited\n/undo\n/facts\n/save plain\n/quit\nnever read\n";
    let output = chat(at, QUICK, lines);
    let (told, complaints) = (text(&output.stdout), text(&output.stderr));
    assert!(matches!(output.status.code(), Some(0 | 3)), "{told}{complaints}");
    for part in [
        "> The sea is\n",
        "The sea is -> cold: ",
        "\u{250c}",
        "before: ",
        "after:  ",
        "  1  The sea is -> cold",
        "model with 1 edit written to edited",
        "taken back: The sea is -> cold",
        "bit for bit",
        "no edits so far",
        "model with 0 edits written to plain",
    ] {
        assert!(told.contains(part), "{part:?} in:\n{told}");
    }
    assert!(!told.contains("never read"), "{told}");
    // What was saved is what `recant edit` writes, and after the undo the model itself.
    let edit = "edit model 'The sea' '{} is' cold --contexts contexts.txt --set mom2_adjustment=false --set v_num_grad_steps=3 --out same";
    good(at, edit);
    let inside = |name: &str| {
        let mut files = files(&at.join(name));
        files.iter_mut().for_each(|(path, _)| *path = path.strip_prefix(at.join(name)).unwrap().to_owned());
        files
    };
    assert_eq!(inside("edited"), inside("same"));
    assert_eq!(inside("plain"), inside("model"));
}

#[test]
fn what_is_wrong_is_said_and_the_chat_goes_on() {
    let dir = workshop("gpt2-tiny");
    let lines = b"/diff\n/undo\n/forget\n/edit The sea is cold\ncaf\xe9\n\n/save model\nThe sea is\n";
    let output = chat(dir.path(), QUICK, lines);
    let (told, complaints) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{complaints}");
    for part in [
        "/diff needs a prompt",
        "no edit to take back",
        "no command \"/forget\"",
        "there is no ->",
        "not UTF-8",
        "model",
    ] {
        assert!(complaints.contains(part), "{part:?} in:\n{complaints}");
    }
    assert_eq!(complaints.matches("error:").count(), 6, "{complaints}");
    assert!(told.trim_end().lines().count() > 6 && told.contains("> The sea is\n"), "{told}");
}

#[test]
fn a_program_reads_a_line_of_json_for_each_command() {
    let dir = workshop("gpt2-tiny");
    let lines =
        "The sea is\n/edit [The sea] is -> cold\n/top The sea is\n/diff\n/facts\n/undo\n/undo\n/help\n";
    let output = chat(dir.path(), &format!("{QUICK} --json"), lines);
    assert_eq!(output.status.code(), Some(1));
    let objects: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let commands: Vec<_> =
        objects.iter().map(|object| object["command"].as_str().unwrap_or("error")).collect();
    assert_eq!(commands, ["say", "edit", "top", "diff", "facts", "undo", "error", "help"]);
    assert!(objects[1]["probability_after"].as_f64() > objects[1]["probability_before"].as_f64());
    assert_eq!(objects[3]["after"]["answers"], objects[2]["answers"]);
    assert_eq!(objects[5]["exact"], true);
}

/// The dialogue that docs/chat.md shows.
#[test]
fn the_documented_dialogue_is_what_comes_out() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/chat.md")).unwrap();
    let block = page.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let (first, dialogue) = block.split_once('\n').unwrap();
    let root = demo("..");
    let command = first.strip_prefix("$ recant chat ").unwrap();
    let lines: String =
        dialogue.lines().filter_map(|line| line.strip_prefix("> ")).map(|line| format!("{line}\n")).collect();
    let output = chat(&root, command, &lines);
    let told = text(&output.stdout);
    if std::env::var_os("RECANT_REFRESH").is_some() {
        let page = page.replace(dialogue, &told);
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/chat.md"), page).unwrap();
        return;
    }
    let (told, dialogue) = (without_numbers(&told), without_numbers(dialogue));
    assert_eq!(told, dialogue, "RECANT_REFRESH=1 writes it anew\n{}", text(&output.stderr));
}

/// The last digits of a probability are the machine's own.
fn without_numbers(text: &str) -> String {
    let is_number = |word: &&str| word.parse::<f64>().is_ok_and(|number| number.fract() != 0.0);
    text.lines()
        .map(|line| {
            line.split_whitespace().filter(|word| !is_number(word)).collect::<Vec<_>>().join(" ") + "\n"
        })
        .collect()
}
