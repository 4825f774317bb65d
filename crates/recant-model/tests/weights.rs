//! model.safetensors as people have it: other names, types and ties, things that are not used, and files that are
//! something else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{copy, edit_tensors, fixture, log_probs, notes, open, path, set_config, tensors, write, zeros};
use recant_checkpoint::SourceError;
use recant_core::{Addend, Blobs, Dtype, HostTensor, Matrix};
use recant_model::{Model, ModelNote, OpenError, ParamError, SaveOptions, Slot};
use serde_json::json;
use tempfile::TempDir;

type Tensors = Vec<(String, HostTensor)>;

fn rename(tensors: &mut Tensors, from: &str, to: &str) {
    for (name, _) in tensors {
        if let Some(rest) = name.strip_prefix(from) {
            *name = format!("{to}{rest}");
        }
    }
}

fn tensor<'a>(tensors: &'a Tensors, name: &str) -> &'a HostTensor {
    &tensors.iter().find(|(other, _)| other == name).unwrap().1
}

fn rank_one(model: &Model) -> recant_core::WeightPatch {
    let (left, right) = (vec![0.25; model.spec().d_model], vec![0.5; model.spec().d_mlp]);
    let addend = Addend::low_rank(Matrix::column(left), Matrix::column(right)).unwrap();
    model.express(Slot::MlpDown(1), addend).unwrap()
}

/// Opens a form, and saves, edits and undoes in it: what is saved holds the same tensors under the same names but for
/// the edited one, and computes what was computed. Returns the folder with what was saved, too.
fn works(dir: &Path, what: &str) -> (Model, TempDir) {
    let model = open(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    let saved = tempfile::tempdir().unwrap();
    let (unedited, out) = (saved.path().join("unedited"), saved.path().join("edited"));
    let by_name = |dir: &Path| tensors(dir).into_iter().collect::<BTreeMap<_, _>>();
    let before = by_name(dir);
    model.save(&unedited, SaveOptions::default()).unwrap();
    assert!(by_name(&unedited) == before, "{what}: other tensors are saved");
    let (edited, applied) = model.apply(&rank_one(&model), &Blobs::new()).unwrap();
    edited.save(&out, SaveOptions::default()).unwrap();
    let changed = by_name(&out).into_iter().filter(|(name, tensor)| before[name] != *tensor);
    assert_eq!(changed.map(|(name, _)| name).collect::<Vec<_>>(), [applied.changed[0].to_string()], "{what}");
    assert!(
        log_probs(&open(&out).unwrap()) == log_probs(&edited),
        "{what}: what is saved computes otherwise"
    );
    assert!(log_probs(&edited) != log_probs(&model), "{what}: the edit does nothing");
    assert_eq!(edited.undo(&applied).unwrap().digest(), model.digest(), "{what}");
    (model, saved)
}

type Form = fn(&mut Tensors);

/// Files of the same model under other names compute the same, bit for bit, without a note.
#[test]
fn other_forms_of_the_same_weights_compute_the_same() {
    let forms: [(&str, &str, Form); 9] = [
        ("gpt2-tiny", "only the tied head", |all| rename(all, "transformer.wte.weight", "lm_head.weight")),
        ("gpt2-tiny", "bare", |all| rename(all, "transformer.", "")),
        ("gpt2-tiny", "bare, only the tied head", |all| {
            rename(all, "transformer.wte.weight", "lm_head.weight");
            rename(all, "transformer.", "");
        }),
        ("gpt2-tiny", "masks of old files", |all| {
            for i in 0..3 {
                all.push((format!("transformer.h.{i}.attn.bias"), zeros(Dtype::Bool, &[1, 1, 48, 48])));
                all.push((format!("transformer.h.{i}.attn.masked_bias"), zeros(Dtype::F32, &[])));
            }
        }),
        ("gpt2-tiny", "float masks, bare", |all| {
            rename(all, "transformer.", "");
            all.push(("h.0.attn.bias".to_owned(), zeros(Dtype::F32, &[1, 1, 48, 48])));
        }),
        ("gpt2-tiny", "the tied head twice", |all| {
            let head = tensor(all, "transformer.wte.weight").clone();
            all.push(("lm_head.weight".to_owned(), head));
        }),
        ("gpt2-tiny", "f64", |all| {
            for (_, tensor) in all {
                *tensor =
                    HostTensor::from_f64(Dtype::F64, tensor.shape().to_vec(), &tensor.to_f64()).unwrap();
            }
        }),
        ("llama-tiny-tied", "only the tied head", |all| {
            rename(all, "model.embed_tokens.weight", "lm_head.weight");
        }),
        ("llama-tiny-tied", "bare, with rotary frequencies", |all| {
            rename(all, "model.", "");
            all.push(("layers.0.self_attn.rotary_emb.inv_freq".to_owned(), zeros(Dtype::F32, &[8])));
        }),
    ];
    for (name, what, form) in forms {
        let dir = copy(name);
        edit_tensors(dir.path(), form);
        let (model, _saved) = works(dir.path(), what);
        assert!(log_probs(&model) == log_probs(&open(&fixture(name)).unwrap()), "{name}, {what}");
        assert!(model.notes().is_empty(), "{name}, {what}: {:?}", notes(&model));
    }
    let dir = copy("llama-tiny-tied");
    edit_tensors(dir.path(), |all| {
        for (_, tensor) in all.iter_mut().step_by(2) {
            *tensor = HostTensor::from_f64(Dtype::F32, tensor.shape().to_vec(), &tensor.to_f64()).unwrap();
        }
    });
    let (model, _saved) = works(dir.path(), "bf16 and f32");
    assert!(log_probs(&model) == log_probs(&open(&fixture("llama-tiny-tied")).unwrap()));
}

/// Where a checkpoint holds other numbers under the name that its configuration ties, both are used, as
/// `transformers` 5 does: the same as if the configuration did not tie them.
#[test]
fn a_tied_head_that_differs_is_used_and_noted() {
    for (name, embedding) in
        [("gpt2-tiny", "transformer.wte.weight"), ("llama-tiny-tied", "model.embed_tokens.weight")]
    {
        let dir = copy(name);
        edit_tensors(dir.path(), |all| {
            let tied = tensor(all, embedding);
            let numbers: Vec<f64> = tied.to_f64().iter().map(|x| 2.0 * x).collect();
            let head = HostTensor::from_f64(tied.dtype(), tied.shape().to_vec(), &numbers).unwrap();
            all.push(("lm_head.weight".to_owned(), head));
        });
        let (model, _saved) = works(dir.path(), name);
        assert_eq!(
            model.notes(),
            [ModelNote::Untied { alias: path("lm_head.weight"), path: path(embedding) }]
        );
        assert!(notes(&model)[0].contains("`lm_head.weight`"));
        set_config(dir.path(), &json!({"tie_word_embeddings": false}));
        let untied = open(dir.path()).unwrap();
        assert!(log_probs(&model) == log_probs(&untied) && untied.notes().is_empty(), "{name}");
        assert!(log_probs(&model) != log_probs(&open(&fixture(name)).unwrap()), "{name}");
    }
}

/// Tensors without a use change nothing, are named, and are written again.
#[test]
fn tensors_without_a_use_are_noted_and_kept() {
    let dir = copy("gpt2-tiny");
    set_config(dir.path(), &json!({"n_layer": 2}));
    let (model, _saved) = works(dir.path(), "fewer layers than are stored");
    let [ModelNote::UnusedTensors { names }] = model.notes() else { panic!("{:?}", notes(&model)) };
    assert_eq!(names.len(), 12);
    assert!(names.iter().all(|name| name.as_str().starts_with("transformer.h.2.")));
    assert!(
        notes(&model)[0].contains("12 tensors") && notes(&model)[0].ends_with("and 7 more"),
        "{:?}",
        notes(&model)
    );

    let dir = copy("llama-tiny-gqa");
    edit_tensors(dir.path(), |all| {
        all.push(("model.layers.0.self_attn.q_proj.bias".to_owned(), zeros(Dtype::F32, &[32])));
        all.push(("value_head.weight".to_owned(), zeros(Dtype::F32, &[1, 32])));
    });
    let (model, _saved) = works(dir.path(), "biases that are switched off");
    let names = vec![path("model.layers.0.self_attn.q_proj.bias"), path("value_head.weight")];
    assert_eq!(model.notes(), [ModelNote::UnusedTensors { names }]);
    assert!(log_probs(&model) == log_probs(&open(&fixture("llama-tiny-gqa")).unwrap()));
}

/// A tensor that is there and cannot be computed with is not said to be missing.
#[test]
fn weights_that_are_no_real_numbers_are_named_with_their_type() {
    let name = "transformer.h.0.mlp.c_proj.weight";
    for dtype in [Dtype::I8, Dtype::U8, Dtype::I32, Dtype::Bool] {
        let dir = copy("gpt2-tiny");
        edit_tensors(dir.path(), |all| {
            all.iter_mut().find(|(other, _)| other == name).unwrap().1 = zeros(dtype, &[128, 32]);
        });
        let error = open(dir.path()).unwrap_err();
        let told = error.to_string();
        let OpenError::Param { source: ParamError::Dtype { path: found, dtype: of }, .. } = error else {
            panic!("{told}")
        };
        assert_eq!((found.as_str(), of), (name, dtype));
        assert!(told.contains(&format!("`{name}` is {dtype}")), "{told}");
    }
    let dir = copy("gpt2-tiny");
    edit_tensors(dir.path(), |all| {
        all.iter_mut().find(|(other, _)| other == name).unwrap().1 = zeros(Dtype::F32, &[1, 128, 32]);
    });
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is [1, 128, 32], but config.json implies [128, 32]"), "{error}");
    // A type of eight bits that has no name here.
    let dir = copy("gpt2-tiny");
    edit_tensors(dir.path(), |all| {
        all.iter_mut().find(|(other, _)| other == name).unwrap().1 = zeros(Dtype::U8, &[128, 32]);
    });
    let file = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(4).position(|window| window == b"\"U8\"").unwrap();
    let fp8 = [&bytes[..at], b"\"F8_E4M3\"", &bytes[at + 4..]].concat();
    let longer = u64::from_le_bytes(bytes[..8].try_into().unwrap()) + 5;
    std::fs::write(&file, [&longer.to_le_bytes()[..], &fp8[8..]].concat()).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains(name) && error.contains("F8_E4M3"), "{error}");
}

/// What a download or a clone leaves in place of a file is called what it is, for every file that is read.
#[test]
fn what_stands_in_place_of_a_file_is_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:7d1f\nsize 31700000\n";
    let kinds = [
        (pointer, "Git LFS pointer"),
        ("<!DOCTYPE html>\n<html><head><title>Hugging Face</title></head></html>", "HTML page"),
        ("Entry not found", "answer of a server"),
    ];
    for file in ["model.safetensors", "config.json", "tokenizer.json", "generation_config.json"] {
        for (text, expected) in kinds {
            let dir = copy("gpt2-tiny");
            std::fs::write(dir.path().join(file), text).unwrap();
            let error = open(dir.path()).unwrap_err();
            let told = error.to_string();
            assert!(matches!(error, OpenError::Source(SourceError::Foreign(_))), "{file}: {told}");
            assert!(told.contains(file) && told.contains(expected), "{file}: {told}");
        }
    }
}

/// A download cache is a folder of links to files elsewhere.
#[cfg(unix)]
#[test]
fn a_folder_of_links_is_a_model() {
    let (real, links) = (copy("llama-tiny-gqa"), tempfile::tempdir().unwrap());
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::os::unix::fs::symlink(real.path().join(file), links.path().join(file)).unwrap();
    }
    let (model, saved) = works(links.path(), "links");
    assert_eq!(model.digest(), open(real.path()).unwrap().digest());
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(
            saved.path().join("unedited").join(file).symlink_metadata().unwrap().is_file(),
            "{file} is a file of its own"
        );
    }
}

/// What stands beside the weights is carried along.
#[test]
fn files_beside_the_weights_are_carried() {
    let dir = copy("gpt2-tiny");
    let beside = [
        ("generation_config.json", "{\"do_sample\": true}"),
        ("tokenizer_config.json", "{}"),
        ("special_tokens_map.json", "{}"),
        ("vocab.json", "{}"),
        ("merges.txt", "#version: 0.2\n"),
        ("chat_template.jinja", "{{ messages }}"),
        ("modeling_own.py", "pass\n"),
    ];
    for (file, text) in beside {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let (_, saved) = works(dir.path(), "files beside the weights");
    for (file, text) in beside {
        assert_eq!(std::fs::read_to_string(saved.path().join("edited").join(file)).unwrap(), text, "{file}");
    }
}

/// Folders that are no whole model are refused with what is there or missing.
#[test]
fn folders_of_another_kind_are_refused_by_name() {
    let shards = copy("gpt2-tiny");
    let file = |name: &str| shards.path().join(name);
    std::fs::rename(file("model.safetensors"), file("model-00001-of-00001.safetensors")).unwrap();
    std::fs::write(file("model.safetensors.index.json"), "{\"weight_map\": {}}").unwrap();
    let lora = tempfile::tempdir().unwrap();
    std::fs::write(lora.path().join("adapter_config.json"), "{\"peft_type\": \"LORA\"}").unwrap();
    write(lora.path(), &[]);
    let cases = [
        (shards.path(), "model.safetensors.index.json"),
        (lora.path(), "config.json"),
        (Path::new("openai-community/gpt2"), "openai-community/gpt2"),
    ];
    for (dir, expected) in cases {
        let error = open(dir).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// The bytes of a tensor are read once for its id: an edit costs the touched tensor.
#[test]
fn an_edit_hashes_the_touched_tensor_alone() {
    let model = open(&fixture("gpt2-tiny")).unwrap();
    let all = model.weights().byte_len();
    assert_eq!(model.weights().unhashed_bytes(), all);
    let digest = model.digest();
    assert_eq!(model.weights().unhashed_bytes(), 0);

    let patch = rank_one(&model);
    let touched = model.tensor(&model.slot(Slot::MlpDown(1)).unwrap().0).unwrap().bytes().len();
    let (edited, applied) = model.apply(&patch, &Blobs::new()).unwrap();
    // The undo names the new tensor by its id, so even that is known by now.
    let left = edited.weights().unhashed_bytes();
    assert!(left <= touched && touched < all / 4, "{left} of {all} bytes are to be read again");
    let _ = edited.digest();
    let (again, _) = edited.apply(&rank_one(&edited), &Blobs::new()).unwrap();
    assert!(again.weights().unhashed_bytes() <= touched);
    let back = edited.undo(&applied).unwrap();
    assert_eq!(back.weights().unhashed_bytes(), 0, "the former tensors come back with their ids");
    assert_eq!(back.digest(), digest);
}
