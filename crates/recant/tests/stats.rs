//! `recant stats` through the binary: Ctrl-C and going on, and statistics of the reference code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{run, workshop};

#[test]
fn statistics_of_the_reference_code_serve_an_edit() {
    let dir = workshop("gpt2-tiny");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-methods/tests/fixtures/moment.npz");
    std::fs::copy(fixture, dir.path().join("layer.npz")).unwrap();
    let import = "stats --model model --layer 1 --import layer.npz --out stats";
    let done = run(dir.path(), import);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let edit = common::EDIT.replace("--set mom2_adjustment=false", "--stats stats --layer 1");
    let done = run(dir.path(), &edit);
    assert!(common::done(&done), "{}", String::from_utf8_lossy(&done.stderr));
    // Refused before any search.
    let refused = run(dir.path(), &format!("-v {}", edit.replace("--layer 1", "--layer 0")));
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && text.contains("hold layers [1], not 0"), "{text}");
    assert!(text.contains("--layer 1 edits one that they hold") && !text.contains("plan"), "{text}");
    for (line, expected) in [
        (import.replace("--layer 1", "--layers 0,1"), "each layer needs a file of its own"),
        (import.replace("--layer 1", "--layer 7"), "layer 7 does not exist"),
        (import.replace("layer.npz", "contexts.txt"), "contexts.txt: it is no zip file"),
        (import.replace("layer.npz", "none.npz"), "none.npz: it cannot be read"),
    ] {
        let refused = run(dir.path(), &line.replace("--out stats", "--out other"));
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && text.contains(expected), "{line}: {text}");
        assert!(!dir.path().join("other").exists());
    }
}

#[test]
fn statistics_over_a_short_corpus_are_told() {
    let dir = workshop("gpt2-tiny");
    let text = |i: usize| format!("text {i} of the sea, the cat and the weather, number {}\n", i * i);
    std::fs::write(dir.path().join("corpus.txt"), (0..400).map(text).collect::<String>()).unwrap();
    for (tokens, few) in [(300, true), (2_000, false)] {
        let made = run(
            dir.path(),
            &format!(
                "stats --model model --layer 1 --corpus corpus.txt --tokens {tokens} --out {tokens}.stats"
            ),
        );
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let edit =
            common::EDIT.replace("--set mom2_adjustment=false", &format!("--stats {tokens}.stats --layer 1"));
        let said = run(dir.path(), &edit);
        assert!(common::done(&said), "{}", String::from_utf8_lossy(&said.stderr));
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(said.contains("fewer than 5 for each of a key's 128 numbers"), few, "{said}");
    }
}

/// The corpus is a pipe, so that the signal surely comes in the middle of it.
#[cfg(unix)]
#[test]
fn a_measurement_that_was_broken_off_goes_on() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let dir = workshop("gpt2-tiny");
    let text = |i: usize| format!("text {i} of the sea, the cat and the weather, number {}\n", i * i);
    std::fs::write(dir.path().join("corpus.txt"), (0..4_000).map(text).collect::<String>()).unwrap();
    assert!(Command::new("mkfifo").arg(dir.path().join("pipe.txt")).status().unwrap().success());
    let line = "stats --model model --layers 0,2 --tokens 20000 --corpus corpus.txt --out";
    let whole = run(dir.path(), &format!("{line} whole"));
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    assert!(!dir.path().join("whole.partial").exists());

    let mut child = common::recant(dir.path())
        .args("stats --model model --layers 0,2 --tokens 20000 --corpus pipe.txt --out stats".split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Opening it waits for the reader, which is told to stop and then fed until it does.
    let mut pipe = std::fs::OpenOptions::new().write(true).open(dir.path().join("pipe.txt")).unwrap();
    (0..100).for_each(|i| pipe.write_all(text(i).as_bytes()).unwrap());
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    for i in 100..300 {
        if child.try_wait().unwrap().is_some() || pipe.write_all(text(i).as_bytes()).is_err() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("broken off after") && said.contains("stats.partial"), "{said}");
    assert!(!dir.path().join("stats").exists() && dir.path().join("stats.partial").exists());

    let other = run(dir.path(), &format!("{line} stats").replace("0,2", "0,1"));
    let text = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && text.contains("another set of layers: [0, 2], not [0, 1]"), "{text}");
    assert!(text.contains("hint: remove the .partial file"), "{text}");

    let done = run(dir.path(), &format!("{line} stats"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("going on behind the"), "{said}");
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert!(read("stats") == read("whole"), "the bytes of a run that was never broken off");
    assert!(!dir.path().join("stats.partial").exists());
}
