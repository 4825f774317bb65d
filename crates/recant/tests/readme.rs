//! What README.md shows is what runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../examples/edit.rs"]
mod edit;

use std::path::Path;

/// The Rust example of README.md is the middle of `examples/edit.rs`, and that runs.
#[test]
fn the_example_of_the_readme_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let source = include_str!("../examples/edit.rs");
    let (_, rest) = source.split_once("// README: begin\n").unwrap();
    let (body, _) = rest.split_once("    // README: end").unwrap();
    let body: String = body.lines().map(|line| format!("{}\n", line.trim_start())).collect();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    assert!(readme.contains(&body), "README.md does not show the middle of examples/edit.rs:\n{body}");

    // The example names files from the repository's root. No other test of this process reads a file.
    std::env::set_current_dir(root).unwrap();
    edit::main().unwrap();
}

/// The tables of methods name what there is.
#[test]
fn the_readme_names_every_method() {
    let readme = include_str!("../../../README.md");
    let (_, methods) = readme.split_once("## Methods").unwrap();
    let (methods, _) = methods.split_once("## History").unwrap();
    for info in recant::methods::METHODS.iter().chain(&recant::methods::MEMORIES) {
        assert!(methods.contains(&format!("`{}`", info.name)), "{}", info.name);
    }
}

/// Every crate has a page of its own, which Cargo.toml names, with an example that runs as a doctest of this crate.
#[test]
fn every_crate_has_a_readme_with_an_example_that_runs() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let hosted = include_str!("../src/lib.rs");
    let mut count = 0;
    for dir in std::fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path()) {
        let name = dir.file_name().unwrap().to_str().unwrap();
        let readme = std::fs::read_to_string(dir.join("README.md")).unwrap_or_default();
        assert!(readme.starts_with(&format!("# {name}\n")), "{name} has no README.md");
        assert!(readme.contains("```rust\n"), "{name}'s README.md has no example");
        let from_here = if name == "recant" {
            "\"../README.md\"".to_owned()
        } else {
            format!("\"../../{name}/README.md\"")
        };
        assert!(hosted.contains(&from_here), "the example of {name}'s README.md is not run");
        let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        let named = if name == "recant" { "readme = \"../../README.md\"" } else { "readme = \"README.md\"" };
        assert!(manifest.contains(named), "{name}'s Cargo.toml names no readme");
        count += 1;
    }
    assert!(count > 10, "{count}");
}
