//! Hugging Face directories in and out: bytes kept, damage refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use recant_backend::{Device, DeviceSpec};
use recant_core::{Addend, Blobs, Matrix, ParamPath};
use recant_files::OutputError;
use recant_model::{Model, OpenError, SaveError, SaveOptions, Slot};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn flex() -> Device {
    Device::open(DeviceSpec::Flex).unwrap()
}

/// A writable copy of a fixture.
fn copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(fixture(name).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

fn rank_one(model: &Model, layer: usize) -> recant_core::WeightPatch {
    let spec = model.spec();
    let u = (0..spec.d_model).map(|i| (i as f32).sin() * 0.1).collect();
    let v = (0..spec.d_mlp).map(|i| (i as f32).cos() * 0.1).collect();
    let addend = Addend::low_rank(Matrix::column(u), Matrix::column(v)).unwrap();
    model.express(Slot::MlpDown(layer), addend).unwrap()
}

#[test]
fn an_unedited_model_is_written_byte_for_byte() {
    for name in ["gpt2-tiny", "gpt2-tiny-f16", "gpt2-tiny-bf16", "llama-tiny-gqa", "llama-tiny-tied"] {
        let out = tempfile::tempdir().unwrap();
        let dir = out.path().join("model");
        Model::open(&fixture(name), &flex()).unwrap().save(&dir, SaveOptions::default()).unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            let same =
                std::fs::read(fixture(name).join(file)).unwrap() == std::fs::read(dir.join(file)).unwrap();
            assert!(same, "{name}/{file}");
        }
    }
}

#[test]
fn an_edit_moves_one_tensor_and_undo_restores_every_byte() {
    for name in ["gpt2-tiny", "gpt2-tiny-f16", "gpt2-tiny-bf16", "llama-tiny-gqa", "llama-tiny-tied"] {
        let model = Model::open(&fixture(name), &flex()).unwrap();
        let (digest, on_device) = (model.digest(), model.device_digest());
        let (edited, applied) = model.apply(&rank_one(&model, 1), &Blobs::new()).unwrap();
        assert_ne!(edited.digest(), digest, "{name}");
        assert_ne!(edited.device_digest(), on_device, "{name}");

        let out = tempfile::tempdir().unwrap();
        edited.save(&out.path().join("edited"), SaveOptions::default()).unwrap();
        let reopened = Model::open(&out.path().join("edited"), &flex()).unwrap();
        assert_eq!(reopened.digest(), edited.digest(), "{name}: what was evaluated is what was written");
        let differ = |(path, tensor): (&ParamPath, &recant_core::HostTensor)| {
            (reopened.tensor(path) != Some(tensor)).then(|| path.clone())
        };
        let changed: Vec<ParamPath> = model.weights().iter().filter_map(differ).collect();
        assert_eq!(changed, applied.changed, "{name}");

        let back = edited.undo(&applied).unwrap();
        assert_eq!((back.digest(), back.device_digest()), (digest, on_device), "{name}");
        assert_eq!(
            (model.digest(), model.device_digest()),
            (digest, on_device),
            "{name}: the parent is untouched"
        );
    }
}

#[test]
fn slots_have_one_orientation_whatever_the_checkpoint() {
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        let model = Model::open(&fixture(name), &flex()).unwrap();
        let dims = model.weight(Slot::MlpDown(0)).unwrap().dims();
        assert_eq!(dims, [model.spec().d_model, model.spec().d_mlp], "{name}");
        assert!(model.slot(Slot::MlpDown(model.spec().layers)).is_none());
    }
}

/// A checkpoint that stores a tied head twice keeps storing it twice, and an edit moves both.
#[test]
fn tied_weights_that_are_stored_twice_stay_so() {
    let dir = copy("gpt2-tiny");
    let file = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> = tensors.tensors();
    let head = tensors.tensor("transformer.wte.weight").unwrap();
    all.push(("lm_head.weight".to_owned(), head));
    safetensors::serialize_to_file(all, None, &file).unwrap();
    let model = Model::open(dir.path(), &flex()).unwrap();
    let out = tempfile::tempdir().unwrap();
    model.save(&out.path().join("m"), SaveOptions::default()).unwrap();
    assert_eq!(std::fs::read(out.path().join("m/model.safetensors")).unwrap(), std::fs::read(&file).unwrap());
    let alias = ParamPath::new("lm_head.weight").unwrap();
    assert_eq!(model.weights().canonical(&alias).as_str(), "transformer.wte.weight");
}

/// Replaces a few bytes of the weights' JSON header, padding to the same length.
fn patch_header(dir: &Path, from: &str, to: &str) {
    let path = dir.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + header_len]).unwrap();
    assert!(header.contains(from), "{header}");
    let mut changed = header.replacen(from, to, 1).trim_end().to_owned();
    while changed.len() < header_len {
        changed.push(' ');
    }
    let rest = bytes.split_off(8 + header_len);
    let mut out = (changed.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(changed.as_bytes());
    out.extend_from_slice(&rest);
    std::fs::write(path, out).unwrap();
}

fn edit_json(dir: &Path, edit: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let path = dir.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(config.as_object_mut().unwrap());
    std::fs::write(path, serde_json::to_vec(&config).unwrap()).unwrap();
}

/// Every kind of damage is one clear error that names the thing; none is a panic.
#[test]
fn damaged_directories_are_refused_by_name() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage, &str); 20] = [
        ("no directory", |d| std::fs::remove_dir_all(d).unwrap(), "config.json"),
        ("no config", |d| std::fs::remove_file(d.join("config.json")).unwrap(), "config.json"),
        ("no weights", |d| std::fs::remove_file(d.join("model.safetensors")).unwrap(), "model.safetensors"),
        ("no tokenizer", |d| std::fs::remove_file(d.join("tokenizer.json")).unwrap(), "tokenizer.json"),
        ("bad tokenizer", |d| std::fs::write(d.join("tokenizer.json"), "{").unwrap(), "tokenizer.json"),
        (
            "other form",
            |d| {
                std::fs::rename(d.join("model.safetensors"), d.join("pytorch_model.bin")).unwrap();
            },
            "pytorch_model.bin",
        ),
        ("bad json", |d| std::fs::write(d.join("config.json"), "{").unwrap(), "malformed"),
        (
            "unknown architecture",
            |d| {
                edit_json(d, |c| {
                    c.insert("model_type".into(), "mamba".into());
                })
            },
            "mamba",
        ),
        (
            "unknown activation",
            |d| {
                edit_json(d, |c| {
                    c.insert("activation_function".into(), "mish".into());
                });
            },
            "activation_function = mish",
        ),
        (
            "zero layers",
            |d| {
                edit_json(d, |c| {
                    c.insert("n_layer".into(), 0.into());
                })
            },
            "n_layer is 0",
        ),
        (
            "heads do not divide",
            |d| {
                edit_json(d, |c| {
                    c.insert("n_head".into(), 5.into());
                })
            },
            "does not divide",
        ),
        (
            "shape against config",
            |d| {
                edit_json(d, |c| {
                    c.insert("n_inner".into(), 64.into());
                })
            },
            "implies [32, 64]",
        ),
        (
            "layer missing",
            |d| {
                edit_json(d, |c| {
                    c.insert("n_layer".into(), 4.into());
                })
            },
            "transformer.h.3.",
        ),
        ("empty weights", |d| std::fs::write(d.join("model.safetensors"), []).unwrap(), "truncated"),
        (
            "truncated weights",
            |d| {
                let bytes = std::fs::read(d.join("model.safetensors")).unwrap();
                std::fs::write(d.join("model.safetensors"), &bytes[..bytes.len() - 100]).unwrap();
            },
            "the download was cut",
        ),
        (
            "absurd header",
            |d| {
                let mut bytes = std::fs::read(d.join("model.safetensors")).unwrap();
                bytes[..8].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
                std::fs::write(d.join("model.safetensors"), bytes).unwrap();
            },
            "absurd size",
        ),
        (
            "header past the end",
            |d| {
                let mut bytes = std::fs::read(d.join("model.safetensors")).unwrap();
                bytes[..8].copy_from_slice(&50_000_000u64.to_le_bytes());
                std::fs::write(d.join("model.safetensors"), bytes).unwrap();
            },
            "truncated or damaged",
        ),
        ("unknown dtype", |d| patch_header(d, "\"F32\"", "\"F99\""), "F99"),
        (
            "traversal in a name",
            |d| patch_header(d, "transformer.wte.weight", "../../../etc/passwd_xx"),
            "passwd",
        ),
        (
            "overlapping offsets",
            |d| patch_header(d, "\"data_offsets\":[0,", "\"data_offsets\":[4,"),
            "model.safetensors",
        ),
    ];
    for (what, damage, expected) in cases {
        let dir = copy("gpt2-tiny");
        damage(dir.path());
        let error = Model::open(dir.path(), &flex()).expect_err(what);
        assert!(error.to_string().contains(expected), "{what}: {error}");
        if what == "no directory" {
            let _ = dir.keep();
        }
    }
}

#[test]
fn nan_weights_are_refused_with_their_place() {
    let dir = copy("gpt2-tiny");
    let path = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let len = bytes.len();
    bytes[len - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = Model::open(dir.path(), &flex()).unwrap_err();
    assert!(matches!(error, OpenError::NonFinite { .. }), "{error}");
}

#[test]
fn every_truncation_of_the_header_is_an_error() {
    let dir = copy("llama-tiny-tied");
    let path = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for len in (0..bytes.len()).step_by(997).chain(0..16) {
        std::fs::write(&path, &bytes[..len]).unwrap();
        assert!(Model::open(dir.path(), &flex()).is_err(), "{len} bytes");
    }
}

/// Whether a model may not be written there, for this reason.
fn is_refused(saved: Result<(), SaveError>, reason: fn(&OutputError) -> bool) {
    match saved.unwrap_err() {
        SaveError::Output(error) => assert!(reason(&error), "{error}"),
        error => panic!("{error}"),
    }
}

#[test]
fn an_occupied_output_is_refused_and_left_alone() {
    let model = Model::open(&fixture("gpt2-tiny"), &flex()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("model");
    let force = SaveOptions { force: true };
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("precious.txt"), "mine").unwrap();
    is_refused(model.save(&dir, SaveOptions::default()), |e| matches!(e, OutputError::Occupied { .. }));
    is_refused(model.save(&dir, force), |e| matches!(e, OutputError::Foreign { .. }));
    assert_eq!(std::fs::read_to_string(dir.join("precious.txt")).unwrap(), "mine");

    std::fs::remove_file(dir.join("precious.txt")).unwrap();
    model.save(&dir, SaveOptions::default()).unwrap();
    std::fs::write(dir.join("tokenizer.json"), "changed").unwrap();
    model.save(&dir, force).unwrap();
    assert!(Model::open(&dir, &flex()).is_ok());
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1, "nothing temporary is left");
}

#[test]
fn an_output_that_cannot_be_written_leaves_nothing() {
    let model = Model::open(&fixture("gpt2-tiny"), &flex()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let force = SaveOptions { force: true };
    std::fs::write(out.path().join("file"), "").unwrap();
    is_refused(model.save(&out.path().join("file/model"), force), |e| matches!(e, OutputError::Write { .. }));
    let source = copy("gpt2-tiny");
    let own = Model::open(source.path(), &flex()).unwrap();
    for place in [source.path().to_owned(), source.path().join("inside"), source.path().join("..")] {
        is_refused(own.save(&place, force), |e| matches!(e, OutputError::Protected { .. }));
    }
}

/// Permissions of what is written: the weights' are those of the source's weights, and other people may read a
/// directory that they may read elsewhere.
#[cfg(unix)]
#[test]
fn a_written_model_is_as_readable_as_its_source() {
    use std::os::unix::fs::PermissionsExt;
    let source = copy("gpt2-tiny");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for bits in [0o644, 0o640, 0o600] {
        let weights = source.path().join("model.safetensors");
        std::fs::set_permissions(&weights, std::fs::Permissions::from_mode(bits)).unwrap();
        let out = tempfile::tempdir().unwrap();
        let (dir, plain) = (out.path().join("model"), out.path().join("plain"));
        std::fs::create_dir(&plain).unwrap();
        Model::open(source.path(), &flex()).unwrap().save(&dir, SaveOptions::default()).unwrap();
        assert_eq!(mode(&dir.join("model.safetensors")), bits);
        assert_eq!(mode(&dir), mode(&plain));
    }
}

/// Licences, notices and further chat templates go along; half an adapter does not, a whole one does.
#[test]
fn what_stands_beside_the_weights_goes_along() {
    let source = copy("gpt2-tiny");
    let put = |name: &str| {
        let path = source.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    };
    let model = Model::open(source.path(), &flex()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let along = ["LICENSE", "NOTICE", "additional_chat_templates/rag.jinja"];
    let adapter = ["adapter_config.json", "adapter_model.safetensors"];
    along.into_iter().chain([adapter[0]]).for_each(put);
    let has = |dir: &str, name: &str| out.path().join(dir).join(name).exists();
    model.save(&out.path().join("a"), SaveOptions::default()).unwrap();
    assert!(along.iter().all(|name| has("a", name)) && !has("a", adapter[0]));
    put(adapter[1]);
    model.save(&out.path().join("b"), SaveOptions::default()).unwrap();
    assert!(along.iter().chain(&adapter).all(|name| has("b", name)));
    // And what recant wrote, recant replaces.
    model.save(&out.path().join("b"), SaveOptions { force: true }).unwrap();
}
