//! Every writer, killed at any moment: what stands under its output's name is the former content, the new one or
//! nothing, never a half; and what a killed or interrupted run leaves beside it is removed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(unix)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{EDIT, files, good, recant, run, words, workshop};

type Files = Vec<(PathBuf, Vec<u8>)>;

/// A file or folder with all its bytes; nothing where nothing is.
fn content(path: &Path) -> Files {
    let made = |(path, _): &(PathBuf, Vec<u8>)| !path.to_string_lossy().contains("/.recant-");
    match path.is_dir() {
        // What is in the making inside it stands under no final name.
        true => files(path).into_iter().filter(made).collect(),
        false => std::fs::read(path).map(|bytes| vec![(path.to_owned(), bytes)]).unwrap_or_default(),
    }
}

fn temporaries(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".recant-")))
        .collect()
}

/// Whether something is in the making in `dir`.
fn in_the_making(dir: &Path) -> bool {
    temporaries(dir).iter().any(|path| path.join("new").exists())
}

fn spawn(dir: &Path, line: &str) -> Child {
    recant(dir).args(words(line)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until `ready`, or until the command has ended.
fn wait(child: &mut Child, ready: impl Fn() -> bool) {
    let started = Instant::now();
    while !ready() && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(120), "it neither writes nor ends");
        std::thread::yield_now();
    }
}

/// The command, its output, and the folder in which it is made.
fn writers() -> Vec<(String, &'static str, &'static str)> {
    let eval = "eval --model model --data data.json --contexts contexts.txt --method grace --layer 0 --scenario \
                sequential --force --out report --resume run.json";
    let learn = "edit --model model --method grace --layer 0 --set eps=0.05 --facts data.json --state memory";
    let wise = "edit --model model --method wise --layer 1 --contexts contexts.txt --set n_iter=2 --subject 'The sea' \
                --prompt '{} is' --target cold --locality 'It rained' --state wise";
    vec![
        (format!("{EDIT} --out out --force"), "out", "."),
        ("checkout --out back --force".to_owned(), "back", "."),
        (
            "export --model model --patch edit.patch --as lora --out adapter --force".to_owned(),
            "adapter",
            ".",
        ),
        (format!("{EDIT} --patch edit2.patch --force"), "edit2.patch", "."),
        (format!("{EDIT} --dump dump --force"), "dump", "."),
        (format!("{EDIT} --method ledger --ledger my.ledger"), "my.ledger", "."),
        (
            "stats --model model --corpus corpus.txt --layers 1 --tokens 500 --out stats --force".to_owned(),
            "stats",
            ".",
        ),
        (format!("{EDIT} --verdicts told --force"), "told", "."),
        (learn.to_owned(), "memory", "."),
        (wise.to_owned(), "wise", "."),
        (eval.to_owned(), "report", "report"),
        (eval.to_owned(), "run.json", "."),
        (eval.to_owned(), "run.json.state", "."),
    ]
}

#[test]
fn a_kill_at_any_moment_leaves_the_former_output_or_the_new_one() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let case = |i: usize, target: &str| {
        format!(
            r#"{{"case_id": {i}, "requested_rewrite": {{"prompt": "{{}} is", "subject": "The sea {i}",
            "target_new": {{"str": "{target}"}}, "target_true": {{"str": "old"}}}}, "paraphrase_prompts": [],
            "neighborhood_prompts": [], "generation_prompts": [], "attribute_prompts": []}}"#
        )
    };
    std::fs::write(at.join("data.json"), format!("[{}, {}]", case(1, "cold"), case(2, "warm"))).unwrap();
    std::fs::write(at.join("corpus.txt"), "The sea is cold. The cat is old.\n".repeat(100)).unwrap();
    good(at, "init");
    good(at, "import --model model");
    good(at, &format!("{EDIT} --patch edit.patch"));
    let mut caught = 0;
    for (line, output, made_in) in writers() {
        let output = at.join(output);
        // What the command leaves when nobody disturbs it: first where nothing is, then over that.
        let mut whole = vec![Files::new()];
        good(at, &line);
        whole.push(content(&output));
        assert!(!whole[1].is_empty(), "{line}");
        // Reports hold times, and what continues depends on how far it came: whole is what can be read.
        let steady = !line.starts_with("eval") && !line.contains("--state");
        for round in 0..3 {
            if round == 2 || !steady {
                // A record without its memory is refused, and the other way round nothing would be left to do.
                [output.clone(), at.join("run.json"), at.join("run.json.state")]
                    .iter()
                    .for_each(|path| gone(path));
            }
            let mut child = spawn(at, &line);
            wait(&mut child, || in_the_making(&at.join(made_in)));
            child.kill().unwrap();
            child.wait().unwrap();
            caught += usize::from(in_the_making(&at.join(made_in)));
            let held = content(&output);
            if steady {
                assert!(whole.contains(&held), "{line}: something else stands there");
            } else {
                assert!(
                    held.iter().all(|(path, bytes)| is_whole(path, bytes)),
                    "{line}: a half stands there"
                );
            }
        }
        good(at, &line);
        assert!(temporaries(at).is_empty() && temporaries(&at.join(made_in)).is_empty(), "{line}");
    }
    assert!(caught > 5, "{caught} kills came while something was written; the test showed little");
}

/// Commands that change files which they read: the line, and the files in the order in which they are written.
fn changers() -> Vec<(String, Vec<&'static str>)> {
    let to_ledger = "facts move model --contexts contexts.txt --set mom2_adjustment=false --set values=independent \
                     --from notes --to my.ledger --as ledger";
    vec![
        ("facts remove notes model --edit 0".to_owned(), vec!["notes"]),
        ("facts remove two.ledger --edit 0".to_owned(), vec!["two.ledger"]),
        (format!("{to_ledger} --all"), vec!["my.ledger", "notes"]),
        ("facts move model --contexts contexts.txt --from two.ledger --to notes --all".to_owned(), vec!["notes", "two.ledger"]),
        (
            "facts move model --contexts contexts.txt --set mom2_adjustment=false --from notes --to one.patch --as patch --fact \
             'The sea is'"
                .to_owned(),
            vec!["one.patch", "notes"],
        ),
    ]
}

/// A fact that moves is in both places for a moment, and never in none.
#[test]
fn a_kill_while_facts_move_loses_none() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let notes = "edit --model model --state notes --method memory --layer 0 --contexts contexts.txt";
    good(at, &format!("{notes} --subject cat --prompt 'We saw the {{}}' --target old"));
    good(at, &format!("{notes} --subject 'The sea' --prompt '{{}} is' --target cold"));
    let ledger = "facts move model --contexts contexts.txt --set mom2_adjustment=false --set values=independent \
                  --from spare --to two.ledger --as ledger --all";
    let other = notes.replace("--state notes", "--state spare");
    good(at, &format!("{other} --subject dog --prompt 'We saw the {{}}' --target cold"));
    good(at, ledger);
    let held = |name: &str| std::fs::read(at.join(name)).ok();
    let start = ["notes", "two.ledger", "my.ledger", "one.patch"].map(|name| (name, held(name)));
    let reset = || {
        for (name, bytes) in &start {
            gone(&at.join(name));
            bytes.iter().for_each(|bytes| std::fs::write(at.join(name), bytes).unwrap());
        }
    };
    for (line, outputs) in changers() {
        reset();
        let before: Vec<_> = outputs.iter().map(|name| held(name)).collect();
        good(at, &line);
        let after: Vec<_> = outputs.iter().map(|name| held(name)).collect();
        assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{line}");
        for nth in 0..outputs.len() {
            reset();
            let mut child = spawn(at, &line);
            // While the first output is made, and once that stands, the next one.
            wait(&mut child, || in_the_making(at) && (nth == 0 || held(outputs[0]) == after[0]));
            child.kill().unwrap();
            child.wait().unwrap();
            let now: Vec<_> = outputs.iter().map(|name| held(name)).collect();
            let n_new = now.iter().zip(&after).take_while(|(now, after)| now == after).count();
            assert!(now[n_new..] == before[n_new..], "{line}: something else stands there");
        }
        reset();
        good(at, &line);
        assert!(temporaries(at).is_empty(), "{line}");
    }
}

/// The public key follows from the secret one, so a run that was killed between the two is ended by the same command.
#[test]
fn a_kill_leaves_a_whole_key_or_one_that_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let (secret, public) = (at.join("key"), at.join("key.pub"));
    for ready in [&at.join("nothing"), &secret] {
        let mut child = spawn(at, "store key --out key");
        wait(&mut child, || in_the_making(at) || ready.exists());
        child.kill().unwrap();
        child.wait().unwrap();
        let begun = std::fs::read(&secret).ok();
        assert!(begun.is_some() || !public.exists(), "a public key whose secret nobody has");
        if !public.exists() {
            good(at, "store key --out key");
            assert!(temporaries(at).is_empty(), "what the killed run left is removed by the next");
        }
        assert!(begun.is_none_or(|begun| begun == std::fs::read(&secret).unwrap()), "never over another key");
        assert!(content(&public)[0].1.starts_with(b"recant-public-1 "));
        [&secret, &public].into_iter().for_each(|path| gone(path));
        temporaries(at).iter().for_each(|path| gone(path));
    }
    // Without a kill in between.
    std::fs::write(&secret, format!("recant-secret-1 {}\n", "5".repeat(64))).unwrap();
    let told = good(at, "store key --out key");
    assert!(told.contains("was there already"), "{told}");
    assert!(std::fs::read_to_string(&public).unwrap().contains(told.lines().next().unwrap()));
}

/// What a store says of its history, and nothing of how it is kept.
fn history(at: &Path, store: &str) -> Option<(String, String)> {
    let said = |what: &str| run(at, &format!("{what} --store {store} --json"));
    let told = said("log --all");
    told.status.success().then(|| {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(told.stdout), text(said("tag").stdout))
    })
}

fn copy(from: &Path, to: &Path) {
    gone(to);
    for (path, bytes) in files(from) {
        let path = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Every verb that writes to a store or a remote.
#[test]
fn a_kill_at_any_moment_leaves_the_former_history_or_the_new_one() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    // Ids are then the same in every run.
    let spawn = |line: &str| {
        let mut command = recant(at);
        command.env("SOURCE_DATE_EPOCH", "1764028800").env("RECANT_AUTHOR", "ada").args(words(line));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let ends = |line: &str| matches!(spawn(line).wait().unwrap().code(), Some(0 | 3));
    let edit = EDIT.replace("--model model", "--store .recant");
    assert!(ends("store init") && ends("store import --model model") && ends(&edit));
    assert!(ends("store push ./shared") && ends(&edit.replace("cold", "old")));
    copy(&at.join(".recant"), &at.join("start"));
    copy(&at.join("shared"), &at.join("start shared"));
    let again = edit.replace("The sea", "The cat");
    // The line, the store that changes, and the folder in which that begins.
    for (line, store, begins) in [
        (again.as_str(), ".recant", ".recant/tmp"),
        ("revert HEAD~1", ".recant", ".recant/tmp"),
        ("tag v2", ".recant", ".recant/tmp"),
        ("op undo", ".recant", ".recant/tmp"),
        ("store gc --forget", ".recant", ".recant/tmp"),
        ("store push shared --tags", "got", "shared/objects"),
        ("store push ./elsewhere", "got", "elsewhere"),
        ("store clone shared new", "new", "new/tmp"),
        ("store init --store new", "new", "new"),
        ("store import --store new --model model", "new", "new/tmp"),
    ] {
        let reset = || {
            copy(&at.join("start"), &at.join(".recant"));
            copy(&at.join("start shared"), &at.join("shared"));
            ["new", "got", "elsewhere"].iter().for_each(|name| gone(&at.join(name)));
            assert!(!line.starts_with("store import") || ends("store init --store new"));
        };
        // What is in a remote is what a clone gets of it; one without branches is as good as none.
        let told = || {
            if store != "got" {
                return history(at, store);
            }
            let remote = line.split_whitespace().nth(2).unwrap();
            gone(&at.join("got"));
            ends(&format!("store clone {remote} got"));
            history(at, store).filter(|(log, _)| log != "[]\n")
        };
        reset();
        let before = told();
        assert!(ends(line), "{line}");
        let after = told();
        for round in 0..2 {
            reset();
            let begun = files_below(&at.join(begins));
            let mut child = spawn(line);
            wait(&mut child, || files_below(&at.join(begins)) > begun + round);
            child.kill().unwrap();
            child.wait().unwrap();
            let now = told();
            assert!(now == before || now == after, "{line}: {now:?}");
            if now.is_some() {
                assert!(good(at, &format!("store fsck --store {store}")).contains(" 0 problems"), "{line}");
            }
            // Whoever repeats it, ends it.
            if now != after {
                assert!(ends(line), "{line}: not repeated");
                assert!(told() == after, "{line}");
            }
        }
    }
}

fn files_below(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.map(|path| 1 + if path.is_dir() { files_below(&path) } else { 0 }).sum()
}

fn gone(path: &Path) {
    let _gone = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}

fn is_whole(path: &Path, bytes: &[u8]) -> bool {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("report.json") => serde_json::from_slice::<serde_json::Value>(bytes).is_ok(),
        Some("report.html") => String::from_utf8_lossy(bytes).trim_end().ends_with("</html>"),
        _ => recant::records::seal::unseal(bytes).is_ok_and(|unsealed| unsealed.checked),
    }
}

/// A model that takes a moment to write, in a store; its temporary folder is `tmp`.
fn store_with_a_large_model() -> tempfile::TempDir {
    let dir = workshop("gpt2-tiny");
    common::fatten(&dir.path().join("model/model.safetensors"), 200 << 20);
    std::fs::create_dir(dir.path().join("tmp")).unwrap();
    good(dir.path(), "init");
    good(dir.path(), "import --model model --link");
    dir
}

/// Whether weights are being written in `dir` or in a temporary folder of it.
fn weights_in_the_making(dir: &Path) -> bool {
    let written = |path: &PathBuf| path.join("new/model.safetensors").exists();
    temporaries(dir).iter().any(|path| written(path) || temporaries(path).iter().any(written))
}

#[test]
fn a_signal_removes_temporary_folders_and_the_next_run_those_of_the_killed() {
    let dir = store_with_a_large_model();
    let at = dir.path();
    let edit = EDIT.replace("--model model", "--store .recant");
    good(at, &edit);
    good(at, &edit.replace("cold", "old"));
    let before = files(at);
    // A bisection hands a model directory to a command; a checkout takes its moment to write.
    for (line, made_in) in [("bisect --run 'sleep 4'", "tmp"), ("checkout --out out", ".")] {
        let made_in = at.join(made_in);
        for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1), ("KILL", 9)] {
            // A shell starts what it runs in the background with INT ignored, and nohup with HUP; so it stays.
            if is_ignored(number) {
                continue;
            }
            // One that is done before the signal comes shows nothing, and is tried again.
            let mut tries = 0..20;
            while signalled(at, line, &made_in, signal) {
                let _ = std::fs::remove_dir_all(at.join("out"));
                assert!(tries.next().is_some(), "{line}: {signal} always came too late");
            }
            let left = temporaries(&made_in);
            assert_eq!(left.is_empty(), signal != "KILL", "{line}, {signal}: {left:?}");
        }
        // The next run sweeps: the folder of temporary files always, another one when it writes there.
        let next = if made_in.ends_with("tmp") { "status" } else { "checkout --out other" };
        let swept = recant(at).env("TMPDIR", at.join("tmp")).args(words(next)).output().unwrap();
        assert!(swept.status.success());
        assert!(temporaries(&made_in).is_empty(), "{line}");
    }
    std::fs::remove_dir_all(at.join("other")).unwrap();
    assert!(files(at) == before);
}

/// Whether this process, and so what it starts, ignores a signal.
fn is_ignored(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

/// Runs a command until something of it stands in `made_in`, and signals it then; whether it was done all the same.
fn signalled(at: &Path, line: &str, made_in: &Path, signal: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let mut child = recant(at)
        .env("TMPDIR", at.join("tmp"))
        .args(words(line))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A bisection's folder stays for as long as its command runs.
    let begun = || match made_in.ends_with("tmp") {
        true => !temporaries(made_in).is_empty(),
        false => weights_in_the_making(made_in),
    };
    wait(&mut child, begun);
    for folder in temporaries(made_in) {
        let mode = std::fs::metadata(&folder).map(|metadata| metadata.permissions().mode() & 0o777);
        assert!(mode.is_err() || mode.unwrap() == 0o700, "{}", folder.display());
    }
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    matches!(child.wait().unwrap().code(), Some(0 | 3))
}

/// `nohup recant ...` goes on when its terminal goes.
#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    if !Path::new("/proc/self/status").exists() {
        return;
    }
    let dir = store_with_a_large_model();
    let program = env!("CARGO_BIN_EXE_recant");
    let mut child = Command::new("sh")
        .args(["-c", &format!("trap '' HUP; exec {program} checkout --out out")])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait(&mut child, || in_the_making(dir.path()));
    assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    assert!(dir.path().join("out/model.safetensors").exists());
}

/// A replaced folder is never missing: the former one stands there until the new one does.
#[test]
fn a_replaced_folder_is_there_at_every_moment() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    good(at, "init");
    good(at, "import --model model");
    good(at, "checkout --out out");
    let mut looks = 0;
    for _ in 0..5 {
        let mut child = spawn(at, "checkout --out out --force");
        while child.try_wait().unwrap().is_none() {
            assert!(at.join("out/model.safetensors").exists(), "the folder was gone for a moment");
            looks += 1;
        }
    }
    assert!(looks > 100, "{looks}");
}
