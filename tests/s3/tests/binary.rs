//! The binary against the server, by environment variables as a person sets them.
//!
//! `RECANT` names a binary that was built with the feature `s3`: `cargo build --features recant/s3 --bin recant`.
//! Without it the test says that it was left out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};

use recant_s3_test::{BUCKET, Fault, Op, Server};

struct Desk<'a> {
    binary: std::ffi::OsString,
    server: &'a Server,
    dir: &'a Path,
}

impl Desk<'_> {
    fn run(&self, line: &str, environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(&self.binary);
        command.current_dir(self.dir).args(line.split_whitespace()).envs(self.server.environment());
        command.env("RECANT_CONFIG", "");
        command.envs(environment.iter().copied()).output().unwrap()
    }

    fn good(&self, line: &str) -> String {
        let output = self.run(line, &[]);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.good(&format!("{line} --json"))).unwrap()
    }

    fn refused(&self, line: &str, environment: &[(&str, &str)]) -> String {
        let output = self.run(line, environment);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}: {text}");
        assert!(text.starts_with("error:") && !text.contains("panicked"), "{line}: {text}");
        text
    }
}

/// A model's directory, copied to `dir`.
fn model(fixture: &str, dir: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/recant-model/tests/fixtures");
    std::fs::create_dir(dir).unwrap();
    for entry in std::fs::read_dir(fixtures.join(fixture)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
}

#[test]
fn the_binary_shares_a_store_through_the_server() {
    let Some(binary) = std::env::var_os("RECANT") else {
        println!("left out: RECANT names no binary with the feature s3");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(0).unwrap();
    let desk = Desk { binary, server: &server, dir: dir.path() };
    model("gpt2-tiny", &dir.path().join("model"));
    model("llama-tiny-tied", &dir.path().join("other"));
    let home = format!("s3://{BUCKET}/home");

    assert!(desk.refused(&format!("clone {home} b"), &[]).contains("`recant store push` makes one"));
    assert!(!dir.path().join("b").exists());
    desk.good("init");
    let base = desk.json("import --model model --link");
    let pushed = desk.json(&format!("push {home}"));
    assert_eq!(pushed["moved"][0]["commit"], base["commit"]);
    assert!(desk.good(&format!("push {home}")).contains("has it all already"));

    desk.good(&format!("clone {home} b"));
    desk.good("checkout --store b --out there");
    desk.good("checkout --out here");
    let weights = |out: &str| std::fs::read(dir.path().join(out).join("model.safetensors")).unwrap();
    assert!(weights("there") == weights("here"));
    assert!(desk.good(&format!("pull {home} --store b")).contains("nothing new"));
    desk.good("fsck --store b");

    // Another history under the same name.
    desk.good("init --store c");
    desk.good("import --store c --model other");
    assert!(desk.refused(&format!("push {home} --store c"), &[]).contains("pull and merge first"));

    let key = ("AWS_SECRET_ACCESS_KEY", "a guess");
    let text = desk.refused(&format!("pull {home}"), &[key]);
    assert!(text.contains("SignatureDoesNotMatch") && text.contains("hint:"), "{text}");
    assert!(desk.refused("push s3://elsewhere/x", &[]).contains("NoSuchBucket"));
    assert!(desk.refused("push nonsense://x/y", &[]).contains("nonsense://x/y"));

    // Cut on the way there, and on the way back.
    server.bucket.fail_writes(Some((2, Fault::Refuse)));
    assert!(desk.refused(&format!("push s3://{BUCKET}/again"), &[]).contains("told to refuse"));
    server.bucket.fail_writes(None);
    server.bucket.take_log();
    desk.good(&format!("push s3://{BUCKET}/again"));
    let log = server.bucket.take_log();
    assert!(log.iter().any(|(op, key)| *op == Op::Put && key.contains("/refs/heads/main/")), "{log:?}");
    let good = server.bucket.objects();
    let (last, bytes) = good.iter().rfind(|(key, _)| key.starts_with("again/objects/")).unwrap();
    server.bucket.set(last, bytes.slice(..bytes.len() - 1));
    let text = desk.refused(&format!("clone s3://{BUCKET}/again d"), &[]);
    assert!(text.contains("damaged") && text.contains("the same command again"), "{text}");
    server.bucket.set(last, bytes.clone());
    desk.good(&format!("clone s3://{BUCKET}/again d"));
    assert_eq!(desk.json("status --store d")["model"], base["model"]);
}
