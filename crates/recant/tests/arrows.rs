//! The dependency edges of the workspace are those that ARCHITECTURE.md draws, and the tests it names exist.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crates that may name Burn: everything else works on values or through them.
const KNOW_BURN: [&str; 4] = ["recant-backend", "recant-methods", "recant-model", "xtask"];

type Arrows = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every direct dependency, of every kind, of every workspace member.
fn built() -> Arrows {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|p| (name(p), p["dependencies"].as_array().unwrap().iter().map(name).collect())).collect()
}

/// The fenced block `arrows`: a line `crate: dependency dependency` for each member.
fn drawn() -> Arrows {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let block = text.split_once("```text arrows\n").expect("a block `arrows`").1;
    let lines = block.split_once("```").expect("an end of the block").0.lines();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let line = |line: &str| {
        let (from, to) = line.split_once(':').unwrap_or_else(|| panic!("`{line}` is no arrow"));
        (from.trim().to_owned(), words(to))
    };
    lines.filter(|text| !text.trim().is_empty()).map(line).collect()
}

#[test]
fn arrows_point_one_way() {
    let (built, drawn) = (built(), drawn());
    let ours: BTreeSet<String> = built.keys().cloned().collect();
    let inner: Arrows =
        built.iter().map(|(from, to)| (from.clone(), to.intersection(&ours).cloned().collect())).collect();
    assert_eq!(inner, drawn, "left: what Cargo.toml says; right: what ARCHITECTURE.md draws");

    // A crate is finished when everything that it points to is; what never finishes is a circle.
    let mut finished = BTreeSet::new();
    while finished.len() < drawn.len() {
        let next = drawn.iter().find(|(from, to)| !finished.contains(*from) && to.is_subset(&finished));
        let (from, _) = next.expect("ARCHITECTURE.md draws a circle");
        finished.insert(from.clone());
    }
}

#[test]
fn few_crates_know_burn() {
    let knows = |to: &BTreeSet<String>| to.iter().any(|name| name == "burn" || name.starts_with("burn-"));
    let found: Vec<String> = built().into_iter().filter(|(_, to)| knows(to)).map(|(from, _)| from).collect();
    assert_eq!(found, KNOW_BURN);
}

/// The picture of folders and the table of crates say what there is.
#[test]
fn the_folders_are_those_of_the_tree() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let block = text.split_once("```text folders\n").expect("a block `folders`").1;
    let lines = block.split_once("```").expect("an end of the block").0.lines();
    let drawn: BTreeSet<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    for folder in &drawn {
        assert!(folder.ends_with('/') && root().join(folder).is_dir(), "{folder} is drawn and not there");
    }
    // What stands in the tree is what git knows; a checkout may have other folders beside.
    let tracked = Command::new("git").args(["ls-files", "*/*"]).current_dir(root()).output();
    let tracked = tracked.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    for file in String::from_utf8(tracked.unwrap_or_default()).unwrap().lines() {
        assert!(
            drawn.iter().any(|folder| file.starts_with(folder)),
            "{file} stands in no folder that is drawn"
        );
    }
    for name in built().keys() {
        assert!(text.contains(&format!("\n| `{name}` |")), "{name} has no row in the table of crates");
    }
}

/// The table of invariants names tests; a renamed or deleted test would leave a promise that nothing holds.
#[test]
fn every_test_named_in_the_architecture_exists() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.split_once("| invariant | test |").expect("a table of invariants").1;
    let table = table.split_once("\n## ").expect("an end of the table").0;
    // The last column: words in backquotes that look like a function's name.
    let is_name =
        |word: &&str| word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let columns = table.lines().filter_map(|line| line.trim_end().trim_end_matches('|').rsplit_once('|'));
    let named: BTreeSet<&str> =
        columns.flat_map(|(_, tests)| tests.split('`').skip(1).step_by(2)).filter(is_name).collect();
    assert!(named.len() > 20, "{named:?}");

    let mut found = BTreeSet::new();
    let mut open = ["crates", "xtask", "fuzz/tests", "tests/s3/tests"].map(|dir| root().join(dir)).to_vec();
    while let Some(place) = open.pop() {
        for path in std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(path).unwrap();
                found.extend(named.iter().filter(|name| source.contains(&format!("fn {name}("))).copied());
            }
        }
    }
    let missing: Vec<_> = named.difference(&found).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names tests that do not exist: {missing:?}");
}
