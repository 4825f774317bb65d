//! A process that is killed while it writes leaves nothing under the final name.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(unix)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{EDIT, done, fatten, files, run, workshop};

/// The weights that are being written, once there are any.
fn in_the_making(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let staging =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".recant-"));
    entries.filter(staging).map(|path| path.join("new/model.safetensors")).find(|path| path.exists())
}

#[test]
fn a_kill_in_the_middle_of_writing_leaves_nothing_under_the_final_name() {
    let dir = workshop("gpt2-tiny");
    fatten(&dir.path().join("model/model.safetensors"), 200 << 20);
    let source = files(&dir.path().join("model"));
    let out = dir.path().join("out");
    let mut caught = 0;
    for _ in 0..3 {
        let mut child = common::recant(dir.path())
            .args([
                "edit",
                "--model",
                "model",
                "--contexts",
                "contexts.txt",
                "--set",
                "mom2_adjustment=false",
            ])
            .args(["--subject", "The sea", "--prompt", "{} is", "--target", "cold", "--out", "out"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while in_the_making(dir.path()).is_none() && started.elapsed() < Duration::from_secs(120) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        let killed = child.wait().unwrap().code().is_none();
        assert_eq!(killed, !out.exists(), "either all of it stands there or nothing");
        caught += usize::from(killed && in_the_making(dir.path()).is_some());
        if out.exists() {
            std::fs::remove_dir_all(&out).unwrap();
        }
        // What a killed process leaves is beside the name, never under it.
        for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".recant-") {
                std::fs::remove_dir_all(entry.path()).unwrap();
            }
        }
    }
    assert!(caught > 0, "the kill came too late every time; the test showed nothing");
    assert!(files(&dir.path().join("model")) == source, "the model that was edited is as it was");

    let output = run(dir.path(), &format!("{EDIT} --out out"));
    assert!(done(&output), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(run(dir.path(), "ask --model out --prompt 'The sea is'").status.success());
}
