//! Files that would make the `tokenizers` library panic, or a text grow without bound, are errors that say where.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use recant_text::{FormatError, Tokenizer, TokenizerError};
use serde_json::{Value, json};

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A good file with something changed.
fn parse(change: impl Fn(&mut Value)) -> Result<Tokenizer, FormatError> {
    let mut file = fixture("llama-tiny-sp/tokenizer.json");
    change(&mut file);
    Tokenizer::parse(file.to_string().as_bytes())
}

fn replace(pattern: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": pattern}, "content": content})
}

fn sequence(list: &str, steps: Vec<Value>) -> Value {
    json!({"type": "Sequence", list: steps})
}

fn chain(list: &str, length: usize) -> Value {
    sequence(list, vec![replace("a", "aa"); length])
}

fn other_type(mut step: Value, kind: &str) -> Value {
    step["type"] = kind.into();
    step
}

fn template(single: Value) -> Value {
    let special = json!({"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]},
        "<many>": {"id": "<many>", "ids": vec![1; 1000], "tokens": vec!["x"; 1000]},
        "<odd>": {"id": "<odd>", "ids": [1, 2], "tokens": ["x"]}});
    json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special})
}

#[test]
fn hostile_files_are_refused_by_part() {
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let second = json!({"Sequence": {"id": "B", "type_id": 0}});
    let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let regex = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "x"});
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let cases = [
        ("normalizer", replace("", "x"), "empty pattern"),
        ("normalizer", regex, "empty pattern"),
        ("normalizer", chain("normalizers", 40), "longer"),
        ("normalizer", replace("a", &"a".repeat(1 << 16)), "longer"),
        ("normalizer", sequence("normalizers", vec![replace("a", "b"); 1000]), "steps"),
        ("normalizer", json!({"pattern": {"String": ""}, "content": "x"}), "type"),
        ("normalizer", json!({"type": "Sequence"}), "normalizers"),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "damaged"),
        ("normalizer", json!([]), "neither"),
        // The library would take these for a sequence and a replacement, by their fields.
        ("normalizer", other_type(chain("normalizers", 4), "Sequences"), "unknown type \"Sequences\""),
        ("normalizer", other_type(chain("normalizers", 4), "BertNormalizer"), "`normalizers`"),
        ("normalizer", other_type(replace("a", "aa"), "BertNormalizer"), "`pattern`"),
        (
            "normalizer",
            json!({"type": "Replace", "pattern": {"Regex": "(a{99}b){99}"}, "content": ""}),
            "9801 times",
        ),
        ("pre_tokenizer", other_type(chain("pretokenizers", 4), "Delimiter"), "`pretokenizers`"),
        ("decoder", other_type(chain("decoders", 4), "sequence"), "unknown type"),
        ("post_processor", other_type(template(json!([])), "BertProcessing"), "`single`"),
        ("post_processor", other_type(template(json!([])), "Template"), "unknown type"),
        ("pre_tokenizer", json!({"type": "FixedLength", "length": 0}), "length 0"),
        ("pre_tokenizer", sequence("pretokenizers", vec![byte_level; 30]), "longer"),
        ("decoder", replace("", "x"), "empty pattern"),
        ("decoder", chain("decoders", 40), "longer"),
        ("post_processor", template(json!([special("<s>"), text, text])), "2 times"),
        ("post_processor", template(json!([special("<s>")])), "0 times"),
        ("post_processor", template(json!([text, second])), "unknown piece"),
        ("post_processor", template(json!([special("<nobody>"), text])), "<nobody>"),
        ("post_processor", template(json!([special("<odd>"), text])), "<odd>"),
        ("post_processor", template(json!([special("<many>"), text])), "1000 special"),
        ("added_tokens", json!([{"id": 0, "content": "x".repeat(1 << 20)}]), "too much"),
        ("added_tokens", json!({}), "list"),
        ("model", json!(null), "not an object"),
        ("model", json!({"type": "BPE", "merges": []}), "vocab"),
        ("model", json!({"type": "BPE", "vocab": {"a": -1}, "merges": []}), "id -1"),
        ("model", json!({"type": "BPE", "vocab": {"a": u32::MAX}, "merges": []}), "id 4294967295"),
        ("model", json!({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "a"]]}), "gives no token"),
        ("model", json!({"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}), "not a pair"),
        ("model", json!({"type": "Unigram", "unk_id": 0, "vocab": [["x".repeat(1 << 20), 0.0]]}), "too much"),
    ];
    for (part, value, expected) in cases {
        let shown: String = value.to_string().chars().take(100).collect();
        let error = parse(|file| file[part] = value.clone()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("`{part}`")), "{part}: {shown}: {error}");
        assert!(error.contains(expected), "{part}: {shown}: {error}");
    }
}

/// The library takes the bytes of the prefix off the right side of each merge without looking.
#[test]
fn a_prefix_that_merges_do_not_have_is_refused() {
    for prefix in ["##", "é"] {
        let error = parse(|file| file["model"]["continuing_subword_prefix"] = prefix.into()).map(|_| ());
        assert!(error.unwrap_err().to_string().contains("merge"));
    }
    for prefix in [json!(""), json!(null)] {
        parse(|file| file["model"]["continuing_subword_prefix"] = prefix.clone()).unwrap();
    }
}

/// What the checks do not know is an error all the same.
#[test]
fn a_panic_of_the_library_is_an_error() {
    // A trie of one unit that leads out of itself.
    let charsmap = "BAAAAP///38A";
    let leads_out = json!({"type": "Precompiled", "precompiled_charsmap": charsmap});
    let tokenizer = parse(|file| file["normalizer"] = leads_out.clone()).unwrap();
    match tokenizer.encode("abc") {
        Err(TokenizerError::Encode { text, reason }) => {
            assert!(text == "abc" && reason.contains("broke off"))
        }
        other => panic!("{other:?}"),
    }
    let strip = json!({"type": "Strip", "content": " ", "start": 0, "stop": 9});
    let tokenizer = parse(|file| file["decoder"] = strip.clone()).unwrap();
    let blank = tokenizer.encode(" ").unwrap();
    assert!(matches!(tokenizer.decode(&blank), Ok(_) | Err(TokenizerError::Decode { .. })));
}

#[test]
fn a_text_that_could_grow_too_long_is_refused() {
    let growing = json!({"type": "Sequence", "normalizers": vec![replace("a", "aa"); 12]});
    let tokenizer = parse(|file| file["normalizer"] = growing.clone()).unwrap();
    assert!(tokenizer.encode("a").unwrap().len() > 1);
    let error = tokenizer.encode(&"b".repeat(100_000)).unwrap_err();
    assert!(error.to_string().len() < 1_000, "the text is not repeated as a whole");
    assert!(error.to_string().contains("too many"));
}

/// Randomness, padding and truncation are not what a model's words should depend on.
#[test]
fn the_same_text_has_the_same_ids() {
    let plain = parse(|_| ()).unwrap();
    let changed = parse(|file| {
        file["model"]["dropout"] = 0.9.into();
        file["truncation"] =
            json!({"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
        file["padding"] = json!({"strategy": {"Fixed": 50}, "direction": "Left", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"});
    })
    .unwrap();
    let text = "The capital of Italy is Rome.";
    assert_eq!(plain.encode(text).unwrap(), changed.encode(text).unwrap());
}

#[test]
fn a_file_is_named_in_its_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let message = || Tokenizer::open(&path).unwrap_err().to_string();
    assert!(message().contains("tokenizer.json") && message().contains("No such file"), "{}", message());
    for text in ["", "{\"model\"", "[]", "{}", &"[".repeat(1 << 16)] {
        std::fs::write(&path, text).unwrap();
        assert!(message().contains("tokenizer.json"), "{}", message());
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(message().contains("not a regular file"), "{}", message());
    let large = PathBuf::from(dir.path()).join("large.json");
    std::fs::File::create(&large).unwrap().set_len(1 << 40).unwrap();
    assert!(Tokenizer::open(&large).unwrap_err().to_string().contains("at most"));
}
