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

/// Every Rust file below some folders, with its text.
fn sources(mut open: Vec<PathBuf>) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    while let Some(place) = open.pop() {
        for path in std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
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
    let places = ["crates", "xtask", "fuzz/tests", "tests/s3/tests"].map(|dir| root().join(dir)).to_vec();
    for (_, source) in sources(places) {
        found.extend(named.iter().filter(|name| source.contains(&format!("fn {name}("))).copied());
    }
    let missing: Vec<_> = named.difference(&found).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names tests that do not exist: {missing:?}");
}

/// The string literals of a source, without comments and tests; a line that goes on after a backslash is one.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let (mut found, mut rest) = (Vec::new(), source);
    while let Some(first) = rest.chars().next() {
        let hashes = || rest[1..].len() - rest[1..].trim_start_matches('#').len();
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, next)| next);
        } else if rest.starts_with("/*") {
            rest = rest.split_once("*/").map_or("", |(_, next)| next);
        } else if first == 'r' && rest[1 + hashes()..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes()));
            let (text, next) = rest[2 + hashes()..].split_once(&end).expect("an end of a raw string");
            found.push(text.to_owned());
            rest = next;
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let (text, next) = rest[1..].split_at(end.expect("an end of a string"));
            let lines = text.split("\\\n").enumerate();
            found.push(lines.map(|(at, line)| if at == 0 { line } else { line.trim_start() }).collect());
            rest = &next[1..];
        } else if let Some(next) = ["'\"'", "'\\\"'"].iter().find_map(|quote| rest.strip_prefix(quote)) {
            rest = next;
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// Whether a text for people names a command of the binary, or a flag of one.
fn names_a_command(text: &str) -> bool {
    let flags = text.match_indices("--").filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        before.is_none_or(|c| " `(\"'".contains(c))
            && text[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
    });
    text.contains("`recant ") || flags.count() > 0
}

/// A library is used without the binary: what to type belongs to the hints of the binary.
#[test]
fn libraries_name_no_commands_and_no_flags() {
    let sample = concat!(
        "// \"`recant log`\"\nlet quote = '\"'; let a = \"use \\\n    --force\"; let b = r#\"`recant log`\"#;\n",
        "let c = \"a -- b, \\\"x\\\"\";\n#[cfg(test)]\nmod tests { \"--x\" }"
    );
    let told: Vec<bool> = literals(sample).iter().map(|text| names_a_command(text)).collect();
    assert_eq!(told, [true, true, false], "{:?}", literals(sample));

    let crates = std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let libraries: Vec<PathBuf> =
        crates.filter(|path| !path.ends_with("recant")).map(|path| path.join("src")).collect();
    assert!(libraries.len() > 10, "{libraries:?}");
    let (mut read, mut wrong) = (0, Vec::new());
    for (path, source) in sources(libraries).into_iter().filter(|(path, _)| !path.ends_with("tests.rs")) {
        let texts = literals(&source);
        read += texts.len();
        let named = texts.into_iter().filter(|text| names_a_command(text));
        wrong.extend(named.map(|text| format!("{}: {text:?}", path.display())));
    }
    assert!(read > 1000, "{read} literals");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Equations stand in blocks of their own kind, which Markdown leaves alone, and the pages of their crates load what
/// sets them: one header, a copy in each package, because a page is made from the package.
#[test]
fn equations_are_set_where_they_are_written() {
    let mut headers = BTreeSet::new();
    for place in std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()) {
        let sources = sources(vec![place.join("src")]);
        let comments = || {
            let lines =
                sources.iter().flat_map(|(path, source)| source.lines().map(move |line| (path, line)));
            lines.filter(|(_, line)| ["//!", "///"].iter().any(|mark| line.trim_start().starts_with(mark)))
        };
        let loose: Vec<_> = comments().filter(|(_, line)| line.contains("$$")).collect();
        assert!(loose.is_empty(), "an equation stands outside a block of math: {loose:?}");
        if comments().any(|(_, line)| line.ends_with("```math")) {
            let manifest = std::fs::read_to_string(place.join("Cargo.toml")).unwrap();
            let args = "rustdoc-args = [\"--html-in-header\", \"docs/katex-header.html\"]";
            assert!(manifest.contains(args), "{} does not load the header", place.display());
            headers.insert(std::fs::read_to_string(place.join("docs/katex-header.html")).unwrap());
        }
    }
    assert_eq!(headers.len(), 1, "the headers of the crates differ");
    let header = headers.first().unwrap();
    assert_eq!(header.matches("https://").count(), header.matches("integrity=\"sha384-").count());
}
