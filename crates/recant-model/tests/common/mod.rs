//! Copies of the fixtures in other forms.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};

use recant_backend::{Device, DeviceSpec};
use recant_checkpoint::Header;
use recant_core::{Dtype, HostTensor, ParamPath};
use recant_model::{Model, OpenError, TokenBatch};
use serde_json::{Map, Value};
use tempfile::TempDir;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub(crate) fn open(dir: &Path) -> Result<Model, OpenError> {
    Model::open(dir, &Device::open(DeviceSpec::Flex).unwrap())
}

/// A writable copy of a fixture.
pub(crate) fn copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(fixture(name).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

/// Changes the copy's config.json.
pub(crate) fn edit_config(dir: &Path, edit: impl FnOnce(&mut Map<String, Value>)) {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(config.as_object_mut().unwrap());
    std::fs::write(path, serde_json::to_vec(&config).unwrap()).unwrap();
}

/// Sets the keys of an object, and removes those that are `"(absent)"`.
pub(crate) fn set_config(dir: &Path, keys: &Value) {
    edit_config(dir, |config| {
        for (key, value) in keys.as_object().unwrap() {
            config.shift_remove(key);
            if value != "(absent)" {
                config.insert(key.clone(), value.clone());
            }
        }
    });
}

/// The copy's tensors, in the order of the file.
pub(crate) fn tensors(dir: &Path) -> Vec<(String, HostTensor)> {
    let bytes = bytes::Bytes::from(std::fs::read(dir.join("model.safetensors")).unwrap());
    let (header, start) = Header::of_file(&bytes).unwrap();
    let tensor = |entry: recant_checkpoint::TensorEntry| {
        let slice = bytes.slice(start + entry.begin as usize..start + entry.end as usize);
        (entry.path.to_string(), HostTensor::new(entry.dtype, entry.shape, slice).unwrap())
    };
    header.tensors.into_iter().map(tensor).collect()
}

/// Writes tensors as the copy's weights, without metadata.
pub(crate) fn write(dir: &Path, tensors: &[(String, HostTensor)]) {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, tensor) in tensors {
        let begin = data.len();
        data.extend_from_slice(tensor.bytes());
        let entry = serde_json::json!({
            "dtype": tensor.dtype().name(), "shape": tensor.shape(), "data_offsets": [begin, data.len()],
        });
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
    std::fs::write(dir.join("model.safetensors"), file).unwrap();
}

/// Changes the copy's tensors.
pub(crate) fn edit_tensors(dir: &Path, edit: impl FnOnce(&mut Vec<(String, HostTensor)>)) {
    let mut all = tensors(dir);
    edit(&mut all);
    write(dir, &all);
}

pub(crate) fn zeros(dtype: Dtype, shape: &[usize]) -> HostTensor {
    let bytes = vec![0; shape.iter().product::<usize>() * dtype.size()];
    HostTensor::new(dtype, shape.to_vec(), bytes.into()).unwrap()
}

pub(crate) fn path(name: &str) -> ParamPath {
    ParamPath::new(name).unwrap()
}

/// Log-probabilities after every token of a fixed text.
pub(crate) fn log_probs(model: &Model) -> Vec<Vec<f32>> {
    let ids: Vec<u32> = (0..12).map(|i| i * 23 % 293).collect();
    let batch = TokenBatch::new(std::slice::from_ref(&ids), model.spec()).unwrap();
    let all: Vec<(usize, usize)> = (0..ids.len()).map(|token| (0, token)).collect();
    model.log_probs(&batch, &all)
}

pub(crate) fn notes(model: &Model) -> Vec<String> {
    model.notes().iter().map(ToString::to_string).collect()
}
