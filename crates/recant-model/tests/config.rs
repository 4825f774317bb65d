//! config.json and generation_config.json as people have them: of every age of `transformers`, and of other tools.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{copy, fixture, log_probs, notes, open, set_config};
use recant_model::{Architecture, ConfigError, OpenError, SaveOptions, Strategy};
use serde_json::{Value, json};

/// Configurations that mean to `transformers` what the fixture's own means: the same numbers, bit for bit, no note,
/// and the file is kept as it is.
#[test]
fn configurations_that_mean_the_same_compute_the_same() {
    let absent = "(absent)";
    let llama = [
        json!({"rope_theta": 77.0}), // stale beside rope_parameters
        json!({"rope_parameters": {"rope_type": "default", "rope_theta": 10000}}),
        json!({"rope_parameters": absent, "rope_theta": 10000, "rope_scaling": null}),
        json!({"rope_parameters": absent}),
        json!({"rope_parameters": absent, "rope_scaling": {"rope_type": "default", "type": "default"}}),
        json!({"rope_parameters": absent, "rope_theta": 77.0,
            "rope_scaling": {"rope_type": "default", "rope_theta": 10000.0}}),
        json!({"rope_parameters": absent, "rope_scaling": {"type": "dynamic", "factor": 2.0}}),
        json!({"hidden_act": "swish"}),
        json!({"hidden_act": absent, "max_position_embeddings": absent, "head_dim": absent}),
        json!({"attention_bias": absent, "mlp_bias": absent, "tie_word_embeddings": absent}),
        json!({"bos_token_id": -1, "pad_token_id": -1, "eos_token_id": -1}),
        json!({"bos_token_id": absent, "eos_token_id": null}),
        json!({"eos_token_id": [0, 5]}),
        json!({"dtype": absent, "torch_dtype": "float16", "use_cache": false, "unk_token_id": 3, "_name_or_path": "x/y"}),
        json!({"pretraining_tp": 2, "architectures": null, "auto_map": {"AutoConfig": "a.B"}}),
        json!({"sliding_window": null, "layer_types": ["full_attention"], "partial_rotary_factor": 1.0}),
        json!({"sliding_window": 4096}),
        json!({"sliding_window": 4, "use_sliding_window": false}),
        json!({"quantization_config": null, "pruned_heads": {}, "final_logit_softcapping": 0}),
    ];
    let gpt2 = [
        json!({"n_embd": absent, "hidden_size": 32, "n_layer": absent, "num_hidden_layers": 3,
            "n_head": absent, "num_attention_heads": 4, "n_positions": absent, "max_position_embeddings": 48}),
        json!({"hidden_size": 32, "num_hidden_layers": 3, "n_ctx": 48}),
        json!({"activation_function": absent, "layer_norm_epsilon": absent, "n_inner": absent}),
        json!({"activation_function": "gelu_pytorch_tanh", "n_inner": 128}),
        json!({"scale_attn_weights": absent, "tie_word_embeddings": absent, "add_cross_attention": absent}),
        json!({"reorder_and_upcast_attn": true, "summary_type": "mean", "gradient_checkpointing": true}),
        json!({"bos_token_id": absent, "eos_token_id": absent}),
        json!({"task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}}}),
    ];
    let llama3 = [
        json!({"rms_norm_eps": absent}),
        json!({"rope_parameters": absent, "rope_theta": 100, "rope_scaling": {"rope_type": "llama3",
            "type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
            "original_max_position_embeddings": 32}}),
    ];
    let linear = [
        json!({"rope_parameters": absent, "rope_theta": 100.0, "rope_scaling": {"type": "linear", "factor": 4.0}}),
        json!({"tie_word_embeddings": true, "num_key_value_heads": 2}),
    ];
    let tied = [json!({"num_key_value_heads": absent})];
    let mixtral = [
        json!({"num_local_experts": absent, "num_experts": 5}),
        json!({"num_experts_per_tok": absent, "rms_norm_eps": absent, "hidden_act": absent, "head_dim": absent}),
        json!({"router_jitter_noise": absent, "router_aux_loss_coef": 0.5, "output_router_logits": true}),
    ];
    let qwen3_moe = [
        json!({"num_local_experts": absent, "num_experts": 6}),
        json!({"decoder_sparse_step": absent, "use_sliding_window": absent, "attention_bias": absent}),
        json!({"max_window_layers": 2, "sliding_window": 4, "use_sliding_window": false}),
        json!({"mlp_only_layers": [1, 1, 9]}),
    ];
    let step = [
        json!({"decoder_sparse_step": absent, "mlp_only_layers": [2, 0]}),
        json!({"norm_topk_prob": absent, "mlp_only_layers": null}),
        json!({"max_window_layers": 2}), // the window is that of all blocks
    ];
    let all = [
        ("llama-tiny-gqa", &llama[..]),
        ("gpt2-tiny", &gpt2[..]),
        ("llama-tiny-llama3", &llama3[..]),
        ("llama-tiny-linear", &linear[..]),
        ("llama-tiny-tied", &tied[..]),
        ("mixtral-tiny", &mixtral[..]),
        ("qwen3-moe-tiny", &qwen3_moe[..]),
        ("qwen3-moe-tiny-step", &step[..]),
    ];
    for (name, forms) in all {
        let expected = log_probs(&open(&fixture(name)).unwrap());
        for form in forms {
            let dir = copy(name);
            set_config(dir.path(), form);
            let model = open(dir.path()).unwrap_or_else(|error| panic!("{name}, {form}: {error}"));
            assert!(log_probs(&model) == expected, "{name}, {form}: other numbers");
            assert!(model.notes().is_empty(), "{name}, {form}: {:?}", notes(&model));
            let out = tempfile::tempdir().unwrap();
            model.save(&out.path().join("saved"), SaveOptions::default()).unwrap();
            let config = |dir: &Path| std::fs::read(dir.join("config.json")).unwrap();
            let kept = config(&out.path().join("saved")) == config(dir.path());
            assert!(kept, "{name}, {form}: config.json is not kept");
        }
    }
}

/// A key that would make another computation of it is refused by its name, whatever its value.
#[test]
fn what_would_be_another_computation_is_refused_by_name() {
    let cases: [(&str, Value); 28] = [
        ("gpt2-tiny", json!({"activation_function": "quick_gelu"})),
        ("gpt2-tiny", json!({"scale_attn_weights": false})),
        ("gpt2-tiny", json!({"scale_attn_by_inverse_layer_idx": true})),
        ("gpt2-tiny", json!({"add_cross_attention": true})),
        ("gpt2-tiny", json!({"is_encoder_decoder": true})),
        ("gpt2-tiny", json!({"pruned_heads": {"0": [1]}})),
        ("gpt2-tiny", json!({"alibi": true})),
        ("llama-tiny-gqa", json!({"hidden_act": "mish"})),
        ("llama-tiny-gqa", json!({"rope_parameters": {"rope_type": "ntk", "factor": 4.0}})),
        ("llama-tiny-gqa", json!({"rope_scaling": {"type": "proportional"}})),
        ("llama-tiny-gqa", json!({"sliding_window": 4})),
        ("llama-tiny-gqa", json!({"layer_types": ["full_attention", "sliding_attention"]})),
        ("llama-tiny-gqa", json!({"rope_interleaved": true})),
        ("llama-tiny-gqa", json!({"attention_multiplier": 0.015})),
        ("llama-tiny-gqa", json!({"embedding_multiplier": 12.0})),
        ("llama-tiny-gqa", json!({"residual_multiplier": 0.22})),
        ("llama-tiny-gqa", json!({"logits_scaling": 8.0})),
        ("llama-tiny-gqa", json!({"attn_logit_softcapping": 50.0})),
        ("llama-tiny-gqa", json!({"final_logit_softcapping": 30.0})),
        ("llama-tiny-gqa", json!({"qk_layernorm": true})),
        ("llama-tiny-gqa", json!({"num_local_experts": 8})),
        ("llama-tiny-gqa", json!({"clip_qkv": 8.0})),
        ("llama-tiny-gqa", json!({"no_rope_layers": [1, 0]})),
        ("qwen3-tiny", json!({"num_experts": 8})),
        ("mixtral-tiny", json!({"n_routed_experts": 8})),
        ("mixtral-tiny", json!({"layer_types": ["full_attention", "linear_attention"]})),
        ("qwen3-moe-tiny", json!({"layer_types": ["full_attention", "sliding_attention", "full_attention"]})),
        ("qwen3-moe-tiny", json!({"clip_qkv": 8.0})),
    ];
    for (name, form) in cases {
        let dir = copy(name);
        set_config(dir.path(), &form);
        let error = open(dir.path()).expect_err("another computation");
        let OpenError::Config { source: ConfigError::Setting { key, .. }, path } = &error else {
            panic!("{form}: {error}")
        };
        let named = form.as_object().unwrap().keys().next().unwrap();
        assert!(key == named || (key == "rope_type" && named.starts_with("rope_")), "{form}: {error}");
        assert!(path.ends_with("config.json") && error.to_string().contains("config.json"), "{error}");
    }
    let dir = copy("llama-tiny-gqa");
    set_config(dir.path(), &json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}));
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("quantised") && error.contains("gptq"), "{error}");
}

/// The number of key and value heads where a configuration does not say it, as `transformers` 5.24 has it.
#[test]
fn heads_that_are_not_given_are_those_of_the_family() {
    let cases = [
        ("llama", 32),
        ("mistral", 8),
        ("mixtral", 8),
        ("qwen2", 32),
        ("qwen3", 32),
        ("qwen3_moe", 4),
        ("gemma2", 4),
        ("gemma3_text", 4),
        ("phi3", 32),
        ("olmo2", 32),
        ("smollm3", 4),
        ("ernie4_5", 2),
    ];
    for (family, heads) in cases {
        let mut config = json!({
            "model_type": family, "hidden_size": 128, "num_attention_heads": 32, "num_hidden_layers": 2,
            "intermediate_size": 64, "vocab_size": 64, "head_dim": 4,
        });
        if ["mixtral", "qwen3_moe"].contains(&family) {
            config["num_experts"] = json!(16);
            config["moe_intermediate_size"] = json!(16);
        }
        let parsed = Architecture::parse(config.to_string().as_bytes());
        let parsed = parsed.unwrap_or_else(|error| panic!("{family}: {error}"));
        assert_eq!(parsed.spec().kv_heads, heads, "{family}");
    }
}

#[test]
fn a_size_that_is_not_given_or_unusable_is_named() {
    let keys: [(&str, &[&str]); 4] = [
        ("gpt2-tiny", &["n_layer", "n_embd", "n_head", "vocab_size"]),
        (
            "llama-tiny-gqa",
            &["num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size"],
        ),
        ("mixtral-tiny", &["num_local_experts"]),
        ("qwen3-moe-tiny", &["moe_intermediate_size"]),
    ];
    let forms = [
        (json!("(absent)"), " is not given"),
        (Value::Null, " is not given"),
        (json!(0), " is 0"),
        (json!("twelve"), " is \"twelve\", where a whole number below"),
        (json!(-3), " is -3, where a whole number below"),
        (json!(1_u64 << 62), " is 4611686018427387904, where a whole number below"),
        (json!(1.5), " is 1.5, where a whole number below"),
    ];
    for (name, keys) in keys {
        for key in keys {
            for (value, expected) in &forms {
                let dir = copy(name);
                set_config(dir.path(), &json!({*key: value}));
                let error = open(dir.path()).expect_err(key).to_string();
                assert!(error.contains(&format!("{key}{expected}")), "{key}: {error}");
            }
        }
    }
    let others = [
        ("gpt2-tiny", json!({"hidden_size": 64}), "which means the same"),
        ("gpt2-tiny", json!({"layer_norm_epsilon": -1.0}), "layer_norm_epsilon"),
        ("gpt2-tiny", json!({"eos_token_id": "end"}), "eos_token_id"),
        ("llama-tiny-gqa", json!({"tie_word_embeddings": "no"}), "true or false"),
        ("llama-tiny-gqa", json!({"num_key_value_heads": 3}), "does not divide"),
        ("llama-tiny-gqa", json!({"model_type": 7}), "model_type"),
        ("mixtral-tiny", json!({"num_experts": 6}), "which means the same"),
        (
            "mixtral-tiny",
            json!({"num_experts_per_tok": 6}),
            "num_experts_per_tok is 6, and there are 5 experts",
        ),
        ("mixtral-tiny", json!({"num_experts_per_tok": 0}), "num_experts_per_tok is 0"),
        ("qwen3-moe-tiny", json!({"decoder_sparse_step": 0}), "decoder_sparse_step is 0"),
        ("qwen3-moe-tiny", json!({"mlp_only_layers": 1}), "where a list of whole numbers is expected"),
        ("qwen3-moe-tiny", json!({"norm_topk_prob": 1}), "true or false"),
        // What is a mixture is decided by the configuration alone.
        (
            "qwen3-moe-tiny",
            json!({"mlp_only_layers": [0, 1]}),
            "has no `model.layers.0.mlp.gate_proj.weight`",
        ),
        ("qwen3-moe-tiny", json!({"mlp_only_layers": []}), "has no `model.layers.1.mlp.gate.weight`"),
        (
            "qwen3-moe-tiny",
            json!({"moe_intermediate_size": 24}),
            "`model.layers.0.mlp.experts.0.gate_proj.weight`",
        ),
        (
            "mixtral-tiny",
            json!({"num_local_experts": 4}),
            "`model.layers.0.block_sparse_moe.gate.weight` is [5, 32]",
        ),
    ];
    for (name, form, expected) in others {
        let dir = copy(name);
        set_config(dir.path(), &form);
        let error = open(dir.path()).expect_err("unusable").to_string();
        assert!(error.contains(expected), "{form}: {error}");
    }
}

/// What the shares of a token's experts are scaled by, how many experts it goes through, and how far it sees change
/// the numbers; and where a model of mixtures has other blocks, it is edited at the nearest.
#[test]
fn the_keys_of_a_mixture_are_heeded() {
    let cases = [
        ("qwen3-moe-tiny", json!({"norm_topk_prob": false})),
        ("qwen3-moe-tiny", json!({"num_experts_per_tok": 2})),
        ("qwen3-moe-tiny", json!({"use_sliding_window": true, "sliding_window": 4})),
        ("qwen3-moe-tiny-step", json!({"norm_topk_prob": true})),
        ("qwen3-moe-tiny-step", json!({"sliding_window": 3})),
        ("mixtral-tiny", json!({"num_experts_per_tok": 1})),
        ("mixtral-tiny", json!({"sliding_window": null})),
    ];
    for (name, form) in cases {
        let dir = copy(name);
        set_config(dir.path(), &form);
        let (as_it_is, changed) =
            (log_probs(&open(&fixture(name)).unwrap()), log_probs(&open(dir.path()).unwrap()));
        let both = as_it_is.iter().flatten().zip(changed.iter().flatten());
        let most = both.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most > 1e-2, "{name}, {form}: {most}");
    }
    let spec = |name: &str| open(&fixture(name)).unwrap().spec().clone();
    let mixtral = spec("mixtral-tiny");
    assert_eq!((mixtral.blocks_with_matrix(), mixtral.edit.layer), (vec![], 0));
    assert_eq!(mixtral.check_matrix(1).unwrap_err().to_string().matches("no block of it has one").count(), 1);
    let qwen = spec("qwen3-moe-tiny");
    let mixture = qwen.mixture.clone().unwrap();
    assert_eq!((mixture.experts, mixture.per_token, mixture.d_expert), (6, 3, 20));
    assert_eq!((mixture.blocks, qwen.blocks_with_matrix(), qwen.edit.layer), (vec![0, 2], vec![1], 1));
    assert!(qwen.edit.reason.contains("no mixture"));
    assert!(qwen.check_matrix(1).is_ok() && qwen.check_matrix(2).is_err());
    assert_eq!((qwen.key_width(0), qwen.key_width(1)), (32, 64));
    let step = spec("qwen3-moe-tiny-step");
    assert_eq!((step.mixture.unwrap().blocks, step.edit.layer), (vec![1], 0));
}

#[test]
fn keys_that_are_not_read_are_noted() {
    let dir = copy("llama-tiny-gqa");
    set_config(dir.path(), &json!({"max_sequence_length": 64, "mystery": 3, "nothing": null, "off": false}));
    let notes = notes(&open(dir.path()).unwrap());
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("`max_sequence_length`, `mystery`"), "{notes:?}");
    assert!(!notes[0].contains("nothing") && !notes[0].contains("off"), "{notes:?}");
}

/// A text ends at the tokens of config.json and at those of generation_config.json.
#[test]
fn generation_ends_at_the_tokens_of_both_files() {
    let write = |config: Value, generation: Option<Value>| {
        let dir = copy("gpt2-tiny");
        set_config(dir.path(), &json!({"eos_token_id": config}));
        if let Some(ids) = generation {
            let text = json!({"eos_token_id": ids, "do_sample": true}).to_string();
            std::fs::write(dir.path().join("generation_config.json"), text).unwrap();
        }
        let model = open(dir.path()).unwrap();
        let written = model.generate_ids(vec![5, 6, 7], 8, Strategy::Greedy, true).unwrap();
        (written.ids, model.spec().eos.clone(), model.net().spec().eos.clone())
    };
    let free = write(Value::Null, None).0;
    assert_eq!(free.len(), 11);
    let (third, fifth) = (free[5], free[7]);
    let before = |id: u32| 3 + free[3..].iter().position(|&other| other == id).unwrap();
    assert_eq!(write(json!(third), None).0, free[..before(third)]);
    assert_eq!(write(Value::Null, Some(json!(third))).0, free[..before(third)]);
    let (ids, eos, of_net) = write(json!(fifth), Some(json!([third, fifth])));
    assert_eq!(ids, free[..before(third).min(before(fifth))]);
    assert_eq!((eos.clone(), of_net), (vec![fifth, third], eos));
    assert_eq!(write(json!(fifth), Some(Value::Null)).0, free[..before(fifth)]);

    let dir = copy("gpt2-tiny");
    std::fs::write(dir.path().join("generation_config.json"), "{").unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("generation_config.json") && error.contains("malformed"), "{error}");
}
