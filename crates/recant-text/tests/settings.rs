//! `add_prefix_space` of tokenizer_config.json, as transformers 5.24 heeds it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use recant_text::Tokenizer;
use serde_json::{Value, json};

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Whether a text has the same ids with and without a blank in front.
fn puts_a_blank_in_front(tokenizer: Value, settings: Value, model: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, value: Value| std::fs::write(dir.path().join(name), value.to_string()).unwrap();
    write("tokenizer.json", tokenizer);
    write("tokenizer_config.json", settings);
    write("config.json", json!({ "model_type": model }));
    let tokenizer = Tokenizer::open(&dir.path().join("tokenizer.json")).unwrap();
    let ids = tokenizer.encode("The city").unwrap();
    let after = tokenizer.continuation("x", "The city", false).unwrap().target;
    assert!(tokenizer.decode(&ids).unwrap().trim_start() == "The city");
    ids.ends_with(&after)
}

#[test]
fn the_key_is_heeded_where_transformers_heeds_it() {
    let bytes = |own: bool| {
        let mut file = fixture("gpt2-tiny/tokenizer.json");
        file["pre_tokenizer"]["add_prefix_space"] = own.into();
        file
    };
    let settings = |class: Option<&str>, asked: Option<bool>| json!({ "tokenizer_class": class, "add_prefix_space": asked, "add_bos_token": true });
    // The file's own rule, class, key, architecture; whether there is a blank.
    for (own, class, asked, model, blank) in [
        (false, Some("GPT2Tokenizer"), Some(true), "gpt2", true),
        (false, Some("GPT2TokenizerFast"), Some(true), "llama", true),
        (false, Some("Qwen2Tokenizer"), Some(true), "llama", true),
        (false, Some("GPT2Tokenizer"), None, "gpt2", false),
        (true, Some("GPT2Tokenizer"), None, "gpt2", false),
        (true, Some("GPT2Tokenizer"), Some(false), "gpt2", false),
        (false, None, Some(true), "gpt2", true),
        (false, None, Some(true), "llama", false),
        (true, None, None, "gpt2", true),
        (false, Some("PreTrainedTokenizerFast"), Some(true), "gpt2", false),
        (true, Some("PreTrainedTokenizerFast"), Some(false), "gpt2", true),
        (false, Some("TokenizersBackend"), Some(true), "gpt2", false),
    ] {
        let found = puts_a_blank_in_front(bytes(own), settings(class, asked), model);
        assert_eq!(found, blank, "file {own}, class {class:?}, key {asked:?}, {model}");
    }
    for name in ["tokenizer.json", "tokenizer-metaspace.json"] {
        for (asked, blank) in [(None, true), (Some(true), true), (Some(false), false)] {
            let file = fixture(&format!("llama-tiny-sp/{name}"));
            let found = puts_a_blank_in_front(file, settings(Some("LlamaTokenizerFast"), asked), "llama");
            assert_eq!(found, blank, "{name}, key {asked:?}");
        }
    }
}
