//! The binary with models of a hub, which answers on loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "../../recant-hub/tests/server/mod.rs"]
mod server;

use std::process::Output;

use common::{demo, recant};
use server::{Served, Server};

struct Setup {
    server: Server,
    home: tempfile::TempDir,
}

impl Setup {
    fn new(served: Served) -> Self {
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
        };
        let files = std::fs::read_dir(demo("model")).unwrap().map(read).collect();
        Self { server: Server::start(Served { files, ..served }), home: tempfile::tempdir().unwrap() }
    }

    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = recant(self.home.path());
        for variable in
            ["HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"]
        {
            command.env_remove(variable);
        }
        command.env("HF_HOME", self.home.path()).env("HF_ENDPOINT", &self.server.endpoint);
        command.args(args).envs(variables.iter().copied()).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const ASK: [&str; 5] =
    ["ask", "--model", "org/model", "--prompt", "The mother tongue of Danielle Darrieux is"];

#[test]
fn a_model_is_asked_by_its_name_on_the_hub() {
    let setup =
        Setup::new(Served { cuts: vec![("model.safetensors".to_owned(), 100_000)], ..Served::default() });
    let first = setup.run(&ASK, &[]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert!(text(&first.stderr).contains("fetching org/model"), "{}", text(&first.stderr));
    assert!(text(&first.stderr).contains("going on from where it broke"), "{}", text(&first.stderr));
    let local = setup.run(&["ask", "--model", demo("model").to_str().unwrap(), "--prompt", ASK[4]], &[]);
    assert_eq!(text(&first.stdout), text(&local.stdout), "the same model, the same answer");

    let downloads = setup.server.downloads().len();
    let again = setup.run(&ASK, &[]);
    assert!(again.status.success());
    assert_eq!(text(&again.stderr), "", "nothing to fetch, nothing to say");
    assert_eq!(setup.server.downloads().len(), downloads);
    let offline = setup.run(&ASK, &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(text(&offline.stdout), text(&first.stdout));
    let unreachable = setup.run(&ASK, &[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    assert_eq!(text(&unreachable.stdout), text(&first.stdout));
    assert!(
        text(&unreachable.stderr).contains("the copy in the cache is used"),
        "{}",
        text(&unreachable.stderr)
    );
}

#[test]
fn an_edit_of_a_model_of_the_hub_goes_elsewhere_and_leaves_the_cache() {
    let setup = Setup::new(Served::default());
    let fact =
        ["--subject", "Danielle Darrieux", "--prompt", "The mother tongue of {} is", "--target", "English"];
    let edit = |out: &'static str| {
        let words = [
            "edit",
            "org/model",
            "--set",
            "v_num_grad_steps=2",
            "--set",
            "mom2_adjustment=false",
            "--patch",
            "p",
            "--out",
            out,
        ];
        [&words[..], &fact[..]].concat()
    };
    let done = setup.run(&edit("edited"), &[]);
    assert!(setup.home.path().join("edited/model.safetensors").is_file(), "{}", text(&done.stderr));
    let asked = setup.server.served().log.iter().filter(|line| line.contains("/api/")).count();
    assert_eq!(asked, 1, "one command asks once which commit a branch is");

    let cache = setup.home.path().join("hub/models--org--model");
    let before = std::fs::read(demo("model/model.safetensors")).unwrap();
    let snapshot = std::fs::read_dir(cache.join("snapshots")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read(snapshot.join("model.safetensors")).unwrap(), before);
    let inside = [&["edit", "org/model", "--out", snapshot.to_str().unwrap(), "--force"], &fact[..]].concat();
    let inside = setup.run(&inside, &[]);
    assert_eq!(inside.status.code(), Some(1), "the cache is an input");

    let export = ["export", "--model", "org/model", "--patch", "p", "--as", "lora", "--out", "lora"];
    let export = setup.run(&export, &[]);
    assert!(export.status.success(), "{}", text(&export.stderr));
    let config = std::fs::read_to_string(setup.home.path().join("lora/adapter_config.json")).unwrap();
    assert!(config.contains(r#""base_model_name_or_path": "org/model""#), "{config}");
}

#[test]
fn what_cannot_be_had_is_named_with_what_to_do() {
    let gated = Setup::new(Served { token: Some("secret".to_owned()), ..Served::default() });
    let cases: [(&[(&str, &str)], &str); 3] = [
        (&[], "401"),
        (&[("HF_TOKEN", "wrong")], "HF_TOKEN"),
        (&[("HF_HUB_OFFLINE", "1")], "HF_HUB_OFFLINE is set"),
    ];
    for (variables, said) in cases {
        let output = gated.run(&ASK, variables);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("secret"));
    }
    assert!(gated.run(&ASK, &[("HF_TOKEN", "secret")]).status.success());

    let open = Setup::new(Served::default());
    let unknown = open.run(&["ask", "--model", "org/none", "--prompt", "x"], &[]);
    assert!(text(&unknown.stderr).contains("404"), "{}", text(&unknown.stderr));
}
