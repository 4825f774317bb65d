//! A GPT-2 with made-up weights.

use std::path::Path;

use recant::core::{Dtype, HostTensor};
use safetensors::tensor::TensorView;
use serde_json::json;
use tempfile::TempDir;

/// Writes a GPT-2 of the size of `gpt2` (124 M parameters, 50,257 tokens) with made-up f32 weights. Its
/// tokenizer is a tiny one: benchmarks feed token ids.
///
/// # Panics
/// When the temporary directory cannot be written.
#[must_use]
#[expect(clippy::expect_used, reason = "a benchmark without a model has failed")]
pub fn gpt2_small() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (layers, d, vocab, context) = (12usize, 768usize, 50_257usize, 1024usize);
    let config = json!({
        "model_type": "gpt2", "n_layer": layers, "n_embd": d, "n_head": 12, "n_positions": context,
        "vocab_size": vocab, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0,
    });
    std::fs::write(dir.path().join("config.json"), config.to_string()).expect("config.json");
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../crates/recant-model/tests/fixtures/gpt2-tiny/tokenizer.json");
    std::fs::copy(tokenizer, dir.path().join("tokenizer.json")).expect("tokenizer.json");

    let mut tensors: Vec<(String, HostTensor)> = Vec::new();
    let mut state = 1u64;
    let mut put = |name: String, shape: Vec<usize>, centre: f32, spread: f32| {
        let mut draw = || {
            // A linear congruential generator; only the size of the numbers matters here.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            centre + spread * ((state >> 40) as f32 / 8_388_608.0 - 1.0)
        };
        let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| draw()).collect();
        let tensor = HostTensor::from_f32(Dtype::F32, shape, &numbers).expect("shape and numbers agree");
        tensors.push((format!("transformer.{name}"), tensor));
    };
    put("wte.weight".into(), vec![vocab, d], 0.0, 0.035);
    put("wpe.weight".into(), vec![context, d], 0.0, 0.02);
    for i in 0..layers {
        for norm in ["ln_1", "ln_2"] {
            put(format!("h.{i}.{norm}.weight"), vec![d], 1.0, 0.0);
            put(format!("h.{i}.{norm}.bias"), vec![d], 0.0, 0.0);
        }
        let linears = [
            ("attn.c_attn", d, 3 * d),
            ("attn.c_proj", d, d),
            ("mlp.c_fc", d, 4 * d),
            ("mlp.c_proj", 4 * d, d),
        ];
        for (name, inputs, outputs) in linears {
            put(format!("h.{i}.{name}.weight"), vec![inputs, outputs], 0.0, 0.035);
            put(format!("h.{i}.{name}.bias"), vec![outputs], 0.0, 0.0);
        }
    }
    put("ln_f.weight".into(), vec![d], 1.0, 0.0);
    put("ln_f.bias".into(), vec![d], 0.0, 0.0);
    let views = tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(safetensors::Dtype::F32, tensor.shape().to_vec(), tensor.bytes());
        (name.as_str(), view.expect("shape and bytes agree"))
    });
    safetensors::serialize_to_file(views, None, &dir.path().join("model.safetensors")).expect("weights");
    dir
}
