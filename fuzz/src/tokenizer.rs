//! Tokenizer files.

use recant_text::Tokenizer;

const TEXTS: [&str; 4] = ["", "The city of Paris", " a\n\u{3000}東京 é\u{301}ﷺ<s>x", "aaaaaaaaaaaaaaaa"];

/// An accepted file gives the same ids each time, not many more than there are bytes, and a continuation whose prompt
/// is the prompt's own encoding; or errors, never a panic.
pub fn tokenizer(bytes: &[u8]) -> bool {
    let Ok(tokenizer) = Tokenizer::parse(bytes) else { return false };
    for text in TEXTS {
        let Ok(ids) = tokenizer.encode(text) else { continue };
        assert!(ids.len() <= 512 + (text.len() + 1) * 4096 * 4, "{} ids of {text:?}", ids.len());
        assert_eq!(tokenizer.encode(text).ok(), Some(ids.clone()), "other ids the second time");
        let _ = tokenizer.decode(&ids);
        ids.first().map(|&id| tokenizer.token_text(id));
        let _ = tokenizer.continuation(text, "Paris", false);
        let _ = tokenizer.continuation(text, "ity", true);
    }
    true
}

/// Good files and hostile ones: name, bytes, whether it has to be refused.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>, bool)> {
    let fixture = |name: &str| {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/recant-model/tests/fixtures");
        std::fs::read(format!("{fixtures}/{name}")).expect("a fixture")
    };
    let mut seeds = vec![
        ("byte-level", fixture("gpt2-tiny/tokenizer.json"), false),
        ("prepend", fixture("llama-tiny-sp/tokenizer.json"), false),
        ("metaspace", fixture("llama-tiny-sp/tokenizer-metaspace.json"), false),
    ];
    let model = r#""model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}"#;
    let replace = |from: &str, to: &str| {
        format!(r#"{{"type":"Replace","pattern":{{"String":"{from}"}},"content":"{to}"}}"#)
    };
    let chain = vec![replace("a", "aa"); 40].join(",");
    seeds.push(("small", format!("{{{model}}}").into(), false));
    for (name, parts) in [
        ("prefix", model.replace("\"BPE\"", "\"BPE\",\"continuing_subword_prefix\":\"####\"")),
        ("empty-pattern", format!(r#""normalizer":{},{model}"#, replace("", "x"))),
        ("chain", format!(r#""normalizer":{{"type":"Sequence","normalizers":[{chain}]}},{model}"#)),
        (
            "guessed-sequence",
            format!(r#""normalizer":{{"type":"Sequences","normalizers":[{chain}]}},{model}"#),
        ),
        ("decoder-chain", format!(r#""decoder":{{"type":"Sequence","decoders":[{chain}]}},{model}"#)),
        ("no-text", format!(r#""post_processor":{{"type":"TemplateProcessing","single":[]}},{model}"#)),
        ("no-length", format!(r#""pre_tokenizer":{{"type":"FixedLength","length":0}},{model}"#)),
    ] {
        seeds.push((name, format!("{{{parts}}}").into(), true));
    }
    seeds.push(("deep", [vec![b'['; 1 << 15], vec![b']'; 1 << 15]].concat(), true));
    seeds
}
