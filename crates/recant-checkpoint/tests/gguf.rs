//! A GGUF file as a source: tensors, config.json and the tokenizer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};

use common::{BOOL, FLOAT32, File, LIST, TEXT, UINT32, list, text, texts};
use recant_checkpoint::{Gguf, Header, Source, SourceError};
use recant_core::{Dtype, ParamPath};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn json_of(source: &Gguf, name: &str) -> Value {
    serde_json::from_slice(&source.file(name).unwrap().unwrap()).unwrap()
}

fn path(name: &str) -> ParamPath {
    ParamPath::new(name).unwrap()
}

/// What tests/fixtures/make_gguf.py has from the gguf package, to the bit.
#[test]
fn every_type_is_decoded_as_the_gguf_package_does() {
    let source = Gguf::open(&fixture("every-type.gguf")).unwrap();
    let expected = std::fs::read(fixture("every-type.safetensors")).unwrap();
    let (header, data) = Header::of_file(&expected).unwrap();
    assert!(source.layout().names().eq(header.by_name().into_keys()));
    for entry in &header.tensors {
        let tensor = source.tensor(&entry.path).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (entry.dtype, &entry.shape[..]), "{}", entry.path);
        let bytes = &expected[data..][entry.begin as usize..entry.end as usize];
        assert!(tensor.bytes() == bytes, "{}", entry.path);
    }
    let found: Vec<Dtype> = header.tensors.iter().map(|entry| entry.dtype).collect();
    assert!([Dtype::F32, Dtype::F16, Dtype::BF16].iter().all(|dtype| found.contains(dtype)));
}

/// The head and the tensors in its order are a valid safetensors file.
#[test]
fn the_layout_is_that_of_one_safetensors_file() {
    let source = Gguf::open(&fixture("every-type.gguf")).unwrap();
    let [weights] = &source.layout().files[..] else { panic!("several files") };
    assert_eq!(weights.name, "model.safetensors");
    let tensors = weights.header.tensors.iter().map(|entry| source.tensor(&entry.path).unwrap());
    let file = tensors.fold(weights.head.to_vec(), |all, tensor| [&all[..], tensor.bytes()].concat());
    assert_eq!(Header::of_file(&file).unwrap(), (weights.header.clone(), weights.head.len()));
    assert!(weights.header.tensors.is_sorted_by(|a, b| a.path < b.path));
    let missing = source.tensor(&path("model.layers.2.mlp.up_proj.weight")).unwrap_err();
    assert!(matches!(missing, SourceError::Missing { .. }), "{missing}");
    assert_eq!((source.directory(), source.place()), (None, &*fixture("every-type.gguf")));
}

#[test]
fn config_and_tokenizer_follow_from_the_file() {
    let source = Gguf::open(&fixture("every-type.gguf")).unwrap();
    assert_eq!(source.files().unwrap(), ["config.json", "tokenizer.json", "tokenizer_config.json"]);
    assert_eq!(source.file("generation_config.json").unwrap(), None);
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 9, "hidden_size": 256,
        "intermediate_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "tie_word_embeddings": true, "torch_dtype": "float32", "bos_token_id": 6, "eos_token_id": 6,
        "pad_token_id": null, "rope_theta": 500000.0, "attention_bias": true, "mlp_bias": false,
    });
    assert_eq!(json_of(&source, "config.json"), config);
    let tokenizer = json_of(&source, "tokenizer.json");
    // The last token only fills up the vocabulary.
    let vocabulary = json!({"a": 0, "b": 1, "c": 2, "Ġ": 3, "ab": 4, "Ġab": 5, "<|end|>": 6, "<think>": 7});
    assert_eq!(tokenizer["model"]["vocab"], vocabulary);
    assert_eq!(tokenizer["model"]["merges"], json!([["a", "b"], ["Ġ", "ab"]]));
    assert_eq!(tokenizer["model"]["ignore_merges"], true);
    let added = tokenizer["added_tokens"].as_array().unwrap();
    let added: Vec<_> =
        added.iter().map(|token| (&token["id"], &token["content"], &token["special"])).collect();
    assert_eq!(
        added,
        [(&json!(6), &json!("<|end|>"), &json!(true)), (&json!(7), &json!("<think>"), &json!(false))]
    );
    // Llama 3's texts begin with a token even where the file does not say it.
    assert_eq!(tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"], "<|end|>");
    let settings = json_of(&source, "tokenizer_config.json");
    assert_eq!(settings["chat_template"], "{{ messages }}");
    assert_eq!((&settings["bos_token"], &settings["eos_token"]), (&json!("<|end|>"), &json!("<|end|>")));
}

/// A tokenizer that cannot be made does not matter where there is one.
#[test]
fn what_stands_beside_the_file_is_taken() {
    let mut file = File::of("llama");
    file.key("tokenizer.ggml.model", TEXT, text("bert"));
    file.key("tokenizer.ggml.tokens", LIST, texts(&["a", "b", "c"]));
    let dir = tempfile::tempdir().unwrap();
    let written = file.write(dir.path());
    let error = Gguf::open(&written).unwrap_err().to_string();
    assert!(error.contains("`bert`") && error.contains("tokenizer.json beside"), "{error}");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::write(dir.path().join(name), format!("[{name:?}]")).unwrap();
    }
    let source = Gguf::open(&written).unwrap();
    for name in source.files().unwrap() {
        assert_eq!(json_of(&source, &name), json!([name]));
    }
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    assert_eq!(json_of(&source, "config.json")["hidden_size"], 4);
    std::fs::write(dir.path().join("tokenizer.json"), "<!DOCTYPE html>").unwrap();
    assert!(matches!(source.file("tokenizer.json"), Err(SourceError::Foreign(_))));
}

#[test]
fn a_file_without_a_tokenizer_has_none() {
    let source = File::of("llama").open().unwrap();
    assert_eq!(source.files().unwrap(), ["config.json"]);
    assert_eq!(source.file("tokenizer.json").unwrap(), None);
}

#[test]
fn rows_of_queries_and_keys_are_put_back_for_llama_only() {
    let numbers: Vec<f32> = (0u8..16).map(f32::from).collect();
    let first = |architecture: &str, part: &str| {
        let mut file = File::of(architecture);
        file.size(&format!("{architecture}.attention.head_count"), 1);
        file.tensor(&format!("blk.0.attn_{part}.weight"), &[4, 4], &numbers);
        let tensor =
            file.open().unwrap().tensor(&path(&format!("model.layers.0.self_attn.{part}_proj.weight")));
        tensor.unwrap().to_f32().into_iter().step_by(4).collect::<Vec<_>>()
    };
    for part in ["q", "k"] {
        assert_eq!(first("llama", part), [0.0, 8.0, 4.0, 12.0]);
        assert_eq!(first("qwen2", part), [0.0, 4.0, 8.0, 12.0]);
    }
    assert_eq!(first("llama", "v"), [0.0, 4.0, 8.0, 12.0]);
}

#[test]
fn gemmas_norms_are_less_one_and_its_blocks_alternate() {
    let mut file = File::of("gemma3");
    file.size("gemma3.block_count", 7);
    file.size("gemma3.attention.key_length", 4);
    file.size("gemma3.attention.sliding_window", 6);
    for block in 0..7 {
        file.tensor(&format!("blk.{block}.attn_norm.weight"), &[4], &[1.0, 1.5, 0.25, 2.0]);
    }
    // As f16: 1.5 and 1.
    file.stored("blk.0.ffn_norm.weight", &[2], 1, vec![0, 0x3e, 0, 0x3c]);
    let source = file.open().unwrap();
    let norm = source.tensor(&path("model.layers.0.input_layernorm.weight")).unwrap();
    assert_eq!(norm.to_f32(), [0.0, 0.5, -0.75, 1.0]);
    let half = source.tensor(&path("model.layers.0.pre_feedforward_layernorm.weight")).unwrap();
    assert_eq!((half.dtype(), half.to_f32()), (Dtype::F32, vec![0.5, 0.0]));
    let config = json_of(&source, "config.json");
    let layers: Vec<&str> =
        config["layer_types"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(layers[..5].iter().all(|kind| *kind == "sliding_attention"));
    assert_eq!(layers[5..], ["full_attention", "sliding_attention"]);
    assert_eq!((&config["model_type"], &config["sliding_window"]), (&json!("gemma3_text"), &json!(6)));
    assert_eq!((&config["query_pre_attn_scalar"], &config["head_dim"]), (&json!(4), &json!(4)));
    assert_eq!(config["rope_local_base_freq"], 10000.0);
}

#[test]
fn scaled_frequencies_are_said() {
    let scaling = |change: &dyn Fn(&mut File)| {
        let mut file = File::of("llama");
        change(&mut file);
        file.open().map(|source| json_of(&source, "config.json")["rope_scaling"].clone())
    };
    let of_type = |kind: &'static str| {
        move |file: &mut File| {
            file.key("llama.rope.scaling.type", TEXT, text(kind));
            file.key("llama.rope.scaling.factor", FLOAT32, 4f32.to_le_bytes().to_vec());
        }
    };
    assert_eq!(scaling(&|_| ()).unwrap(), Value::Null);
    assert_eq!(scaling(&of_type("none")).unwrap(), Value::Null);
    let linear = json!({"rope_type": "linear", "type": "linear", "factor": 4.0});
    assert_eq!(scaling(&of_type("linear")).unwrap(), linear);
    let yarn = |file: &mut File| {
        of_type("yarn")(file);
        file.size("llama.rope.scaling.original_context_length", 2);
    };
    let expected =
        json!({"rope_type": "yarn", "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2});
    assert_eq!(scaling(&yarn).unwrap(), expected);
    assert!(scaling(&of_type("su")).unwrap_err().to_string().contains("llama.rope.scaling.type = su"));
    let factors = |file: &mut File| file.tensor("rope_freqs.weight", &[2], &[1.0, 3.0]);
    assert!(scaling(&factors).unwrap_err().to_string().contains("Llama 3.1"));
    assert_eq!(scaling(&|file| file.tensor("rope_freqs.weight", &[2], &[1.0, 1.0])).unwrap(), Value::Null);
}

/// A SentencePiece model: merges follow from tokens and scores.
#[test]
fn merges_are_found_from_scores() {
    let mut file = File::of("llama");
    let tokens = ["<unk>", "<s>", "<0x00>", "▁", "a", "b", "ab", "▁a", "▁ab"];
    file.key("tokenizer.ggml.model", TEXT, text("llama"));
    file.key("tokenizer.ggml.tokens", LIST, texts(&tokens));
    let of =
        |kind, values: &[[u8; 4]]| list(kind, &values.iter().map(|value| value.to_vec()).collect::<Vec<_>>());
    let scores = [0.0f32, 0.0, 0.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0].map(f32::to_le_bytes);
    file.key("tokenizer.ggml.scores", LIST, of(FLOAT32, &scores));
    let kinds = [2u32, 3, 6, 1, 1, 1, 1, 1, 1].map(u32::to_le_bytes);
    file.key("tokenizer.ggml.token_type", LIST, of(UINT32, &kinds));
    file.size("tokenizer.ggml.unknown_token_id", 0);
    file.size("tokenizer.ggml.bos_token_id", 1);
    let tokenizer = json_of(&file.open().unwrap(), "tokenizer.json");
    let model = &tokenizer["model"];
    // The best score first; of one token, the longest first part first.
    assert_eq!(model["merges"], json!([["▁", "a"], ["a", "b"], ["▁a", "b"], ["▁", "ab"]]));
    assert_eq!((&model["unk_token"], &model["byte_fallback"]), (&json!("<unk>"), &json!(true)));
    assert_eq!(tokenizer["normalizer"]["normalizers"][0]["type"], "Prepend");
    assert_eq!(tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");
    file.key("tokenizer.ggml.add_space_prefix", BOOL, vec![0]);
    file.key("tokenizer.ggml.add_bos_token", BOOL, vec![0]);
    let tokenizer = json_of(&file.open().unwrap(), "tokenizer.json");
    assert_eq!(
        (&tokenizer["normalizer"]["type"], &tokenizer["post_processor"]),
        (&json!("Replace"), &Value::Null)
    );
}
