//! Models that are fetched from a hub on loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recant_hub::{Cache, Hub, HubError, HubName, Step, Token};
use server::{COMMIT, Served, Server, digest};

fn weights() -> Vec<u8> {
    (0..300_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn files() -> BTreeMap<String, Vec<u8>> {
    let list = r#"{"metadata":{},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
    let files: [(&str, Vec<u8>); 8] = [
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"a\": 1}".to_vec()),
        ("model.safetensors.index.json", list.into()),
        ("1.safetensors", weights()),
        ("2.safetensors", b"second".to_vec()),
        ("pytorch_model.bin", b"pickle".to_vec()),
        ("onnx/model.safetensors", b"other".to_vec()),
        ("q4.gguf", b"GGUF".to_vec()),
    ];
    files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

struct Setup {
    server: Server,
    cache: tempfile::TempDir,
}

impl Setup {
    fn new(served: Served) -> Self {
        Self {
            server: Server::start(Served { files: files(), ..served }),
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn hub(&self) -> Hub {
        Hub {
            cache: Cache::at(self.cache.path()),
            endpoint: self.server.endpoint.clone(),
            token: None,
            offline: false,
        }
    }

    fn find(&self, name: &str) -> Result<PathBuf, HubError> {
        self.hub().find(&HubName::parse(name).unwrap(), &mut |_| {})
    }

    fn blob(&self, file: &str) -> PathBuf {
        self.cache.path().join("models--org--model/blobs").join(digest(file, &files()[file]))
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_model_is_fetched_once_in_the_layout_of_the_hubs_tools() {
    for elsewhere in [false, true] {
        let setup = Setup::new(Served { elsewhere, ..Served::default() });
        let mut told = Vec::new();
        let name = HubName::parse("org/model").unwrap();
        let dir = setup.hub().find(&name, &mut |step| told.push(format!("{step:?}"))).unwrap();
        assert_eq!(dir, setup.cache.path().join("models--org--model/snapshots").join(COMMIT));
        let wanted = [
            "1.safetensors",
            "2.safetensors",
            "config.json",
            "model.safetensors.index.json",
            "tokenizer.json",
        ];
        assert_eq!(names(&dir), wanted);
        for file in wanted {
            assert_eq!(std::fs::read(dir.join(file)).unwrap(), files()[file], "{file}");
            #[cfg(unix)]
            assert_eq!(dir.join(file).canonicalize().unwrap(), setup.blob(file).canonicalize().unwrap());
        }
        let reference = std::fs::read_to_string(setup.cache.path().join("models--org--model/refs/main"));
        assert_eq!(reference.unwrap(), COMMIT);
        assert!(told.iter().any(|step| step.contains("Begin { missing: 4")), "{told:?}");
        assert!(told.contains(&format!("Bytes({})", 1_200_000 + 6 + 2 + 8)), "{told:?}");

        let before = setup.server.downloads().len();
        assert_eq!(setup.find("org/model").unwrap(), dir);
        assert_eq!(setup.server.downloads().len(), before, "nothing is fetched twice");
        assert_eq!(setup.find("org/model/q4.gguf").unwrap(), dir.join("q4.gguf"));
        let asked = setup.server.served().log.len();
        assert_eq!(setup.find(&format!("org/model@{COMMIT}")).unwrap(), dir);
        assert_eq!(setup.server.served().log.len(), asked, "a commit that is there is not asked for");
    }
}

#[test]
fn a_cut_connection_is_gone_on_with() {
    let cut = |at| ("1.safetensors".to_owned(), at);
    let setup = Setup::new(Served { cuts: vec![cut(500_000), cut(300_000)], ..Served::default() });
    let mut again = Vec::new();
    let name = HubName::parse("org/model").unwrap();
    let dir = setup.hub().find(&name, &mut |step| {
        if let Step::Again { file, .. } = step {
            again.push(file.to_owned());
        }
    });
    assert_eq!(std::fs::read(dir.unwrap().join("1.safetensors")).unwrap(), weights());
    assert_eq!(again, ["1.safetensors", "1.safetensors"]);
    let asked: Vec<String> =
        setup.server.downloads().into_iter().filter(|line| line.contains("/1.")).collect();
    assert!(
        asked[0].ends_with("None")
            && asked[1].ends_with("Some(500000)")
            && asked[2].ends_with("Some(800000)"),
        "{asked:?}"
    );
}

#[test]
fn a_model_that_was_renamed_is_found_under_its_old_name() {
    let setup = Setup::new(Served::default());
    let dir = setup.find("old/name").unwrap();
    assert_eq!(dir, setup.cache.path().join("models--old--name/snapshots").join(COMMIT));
    assert_eq!(std::fs::read(dir.join("1.safetensors")).unwrap(), weights());
}

#[test]
fn a_later_run_goes_on_where_the_former_one_stopped() {
    let setup = Setup::new(Served::default());
    let partial = setup.blob("1.safetensors").with_extension("incomplete");
    std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::fs::write(&partial, &weights()[..700_000]).unwrap();
    let dir = setup.find("org/model").unwrap();
    assert_eq!(std::fs::read(dir.join("1.safetensors")).unwrap(), weights());
    assert!(setup.server.downloads().iter().any(|line| line.ends_with("Some(700000)")));
    assert!(!partial.exists());
}

#[test]
fn what_was_there_and_is_of_another_file_is_thrown_away() {
    for whole_always in [false, true] {
        let setup = Setup::new(Served { whole_always, ..Served::default() });
        let partial = setup.blob("1.safetensors").with_extension("incomplete");
        std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
        std::fs::write(&partial, vec![7; 700_000]).unwrap();
        let dir = setup.find("org/model").unwrap();
        assert_eq!(std::fs::read(dir.join("1.safetensors")).unwrap(), weights());
    }
}

#[test]
fn a_false_digest_is_refused_and_nothing_of_it_stays() {
    for file in ["1.safetensors", "config.json"] {
        let setup = Setup::new(Served { false_bytes: Some(file.to_owned()), ..Served::default() });
        let error = setup.find("org/model").unwrap_err();
        let HubError::Digest { file: named, expected, .. } = &error else { panic!("{error}") };
        assert_eq!((named.as_str(), expected.as_str()), (file, digest(file, &files()[file]).as_str()));
        assert!(!setup.blob(file).exists() && !setup.blob(file).with_extension("incomplete").exists());
        assert_eq!(
            setup.hub().cache.find(&HubName::parse("org/model").unwrap()),
            None,
            "it does not count as there"
        );
    }
}

#[test]
fn what_the_hub_refuses_is_named() {
    let setup = Setup::new(Served { token: Some("secret".to_owned()), ..Served::default() });
    let error = setup.find("org/model").unwrap_err();
    assert!(matches!(&error, HubError::Refused { status: 401, .. }), "{error}");
    assert!(error.to_string().contains("Access to model org/model is restricted"), "{error}");
    let hub = Hub { token: Some(Token::new("secret")), ..setup.hub() };
    assert!(!format!("{hub:?}").contains("secret"));
    assert!(hub.find(&HubName::parse("org/model").unwrap(), &mut |_| {}).is_ok());

    let open = Setup::new(Served::default());
    assert!(matches!(open.find("org/other").unwrap_err(), HubError::Unknown { .. }));
    assert!(matches!(open.find("org/model@v9").unwrap_err(), HubError::Unknown { .. }));
    assert!(matches!(open.find("org/model/q8.gguf").unwrap_err(), HubError::NoFile { .. }));
}

#[test]
fn without_a_network_what_is_there_is_used() {
    let setup = Setup::new(Served::default());
    let name = HubName::parse("org/model").unwrap();
    let nowhere = Hub { endpoint: "http://127.0.0.1:9".to_owned(), ..setup.hub() };
    let offline = Hub { offline: true, ..setup.hub() };
    assert!(matches!(nowhere.find(&name, &mut |_| {}).unwrap_err(), HubError::Unreachable { .. }));
    assert!(matches!(offline.find(&name, &mut |_| {}).unwrap_err(), HubError::Offline { .. }));
    assert!(setup.server.served().log.is_empty(), "nothing was asked");

    let dir = setup.find("org/model").unwrap();
    let mut told = false;
    let found = nowhere.find(&name, &mut |step| told |= matches!(step, Step::Unreachable(_)));
    assert_eq!(found.unwrap(), dir);
    assert!(told);
    assert_eq!(offline.find(&name, &mut |_| {}).unwrap(), dir);
}

#[test]
fn forms_that_recant_does_not_read_are_named() {
    let setup = Setup::new(Served::default());
    let without = |names: &[&str]| {
        let mut served = setup.server.served();
        served.files = files();
        served.files.retain(|name, _| !names.contains(&name.as_str()));
    };
    without(&["model.safetensors.index.json"]);
    let error = setup.find("org/model").unwrap_err().to_string();
    assert!(error.contains("org/model/q4.gguf"), "{error}");
    without(&["model.safetensors.index.json", "q4.gguf"]);
    let error = setup.find("org/model").unwrap_err().to_string();
    assert!(error.contains("pytorch_model.bin"), "{error}");
}

#[test]
fn a_list_that_names_a_file_elsewhere_is_refused() {
    let setup = Setup::new(Served::default());
    let list = br#"{"weight_map":{"a":"../../../../stolen"}}"#.to_vec();
    setup.server.served().files.insert("model.safetensors.index.json".to_owned(), list);
    let error = setup.find("org/model").unwrap_err();
    assert!(matches!(error, HubError::Answer { .. }), "{error}");
}
