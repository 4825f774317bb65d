//! docs/methods.md is what the methods declare. `RECANT_REFRESH=1` writes it anew.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::path::Path;

use recant_methods::{LayerRule, MethodSpec};

const HEAD: &str = "# Methods\n\n\
    What each method declares of itself, and what can be set with `--set KEY=VALUE` (or `METHOD.KEY=VALUE`, which goes \
    before it). This page is written from the declarations; `recant methods` prints the same, and `recant methods NAME \
    MODEL` with the layers of a model. The formulas are in the `PAPER.md` of each method's folder under \
    `crates/recant-methods/src`.\n\n\
    | method | what it does | writes | facts | layers | second moments | paper |\n|---|---|---|---|---|---|---|\n";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for method in MethodSpec::all() {
        let writes = if method.is_memory() { "a memory" } else { "weights" };
        let facts = if method.many { "many" } else { "one" };
        let layers = if method.layers == LayerRule::Several { "several" } else { "one" };
        let moments = if method.needs_moments { "needed" } else { "-" };
        let link = |paper| format!("[arXiv {paper}](https://arxiv.org/abs/{paper})");
        let paper = method.paper.map_or("-".to_owned(), link);
        let (name, summary) = (method.name, method.summary);
        writeln!(
            page,
            "| [`{name}`](#{name}) | {summary} | {writes} | {facts} | {layers} | {moments} | {paper} |"
        )
        .unwrap();
    }
    for method in MethodSpec::all() {
        write!(page, "\n## {}\n\n| setting | default | values | meaning |\n|---|---|---|---|\n", method.name)
            .unwrap();
        for set in (method.settings)() {
            let also = set.aliases.iter().map(|alias| format!(", `{alias}`")).collect::<String>();
            let default = set.default.map_or("by the model".to_owned(), |value| format!("`{value}`"));
            writeln!(page, "| `{}`{also} | {default} | {} | {} |", set.name, set.kind, set.doc).unwrap();
        }
    }
    page
}

#[test]
fn the_page_of_methods_is_what_they_declare() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/methods.md");
    if std::env::var_os("RECANT_REFRESH").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), page(), "RECANT_REFRESH=1 writes it anew");
}
