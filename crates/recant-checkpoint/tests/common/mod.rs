//! Writes small GGUF files.

#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use recant_checkpoint::{Gguf, SourceError};

/// Where tensors are aligned, in bytes.
pub const ALIGNMENT: usize = 32;
/// Numbers of types in the file.
pub const UINT32: u32 = 4;
pub const FLOAT32: u32 = 6;
pub const BOOL: u32 = 7;
pub const TEXT: u32 = 8;
pub const LIST: u32 = 9;

/// A tensor as it is written.
#[derive(Clone)]
pub struct Tensor {
    pub name: Vec<u8>,
    /// Sides, fastest first.
    pub sides: Vec<u64>,
    pub kind: u32,
    pub offset: u64,
    pub data: Vec<u8>,
}

/// A file as it is written; tests change what they are about.
#[derive(Clone)]
pub struct File {
    pub magic: Vec<u8>,
    pub version: u32,
    pub key_count: Option<u64>,
    pub tensor_count: Option<u64>,
    /// Keys with the types and the bytes of their values.
    pub keys: Vec<(Vec<u8>, u32, Vec<u8>)>,
    pub tensors: Vec<Tensor>,
}

pub fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

pub fn list(kind: u32, elements: &[Vec<u8>]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(elements.len() as u64).to_le_bytes(), &elements.concat()].concat()
}

pub fn texts(texts: &[&str]) -> Vec<u8> {
    list(TEXT, &texts.iter().map(text).collect::<Vec<_>>())
}

fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

impl File {
    /// A model of one block of width 4 with two heads, without any tensor but the embedding of three tokens.
    pub fn of(architecture: &str) -> Self {
        let mut file = Self {
            magic: b"GGUF".to_vec(),
            version: 3,
            key_count: None,
            tensor_count: None,
            keys: Vec::new(),
            tensors: Vec::new(),
        };
        file.key("general.architecture", TEXT, text(architecture));
        for (key, size) in [
            ("block_count", 1),
            ("context_length", 8),
            ("embedding_length", 4),
            ("feed_forward_length", 4),
            ("attention.head_count", 2),
        ] {
            file.size(&format!("{architecture}.{key}"), size);
        }
        let eps = format!("{architecture}.attention.layer_norm_rms_epsilon");
        file.key(&eps, FLOAT32, 1e-5f32.to_le_bytes().to_vec());
        let numbers: Vec<f32> = (0u8..12).map(f32::from).collect();
        file.tensor("token_embd.weight", &[4, 3], &numbers);
        file
    }

    pub fn key(&mut self, key: &str, kind: u32, value: Vec<u8>) {
        self.keys.retain(|(known, ..)| known != key.as_bytes());
        self.keys.push((key.into(), kind, value));
    }

    pub fn size(&mut self, key: &str, size: u32) {
        self.key(key, UINT32, size.to_le_bytes().to_vec());
    }

    pub fn without(&mut self, key: &str) {
        self.keys.retain(|(known, ..)| known != key.as_bytes());
    }

    /// Adds a tensor of F32; sides are fastest first.
    pub fn tensor(&mut self, name: &str, sides: &[u64], numbers: &[f32]) {
        self.stored(name, sides, 0, f32s(numbers));
    }

    /// Adds a tensor of a type.
    pub fn stored(&mut self, name: &str, sides: &[u64], kind: u32, data: Vec<u8>) {
        let end = self.tensors.last().map_or(0, |last| last.offset + last.data.len() as u64);
        let offset = end.next_multiple_of(ALIGNMENT as u64);
        self.tensors.push(Tensor { name: name.into(), sides: sides.to_vec(), kind, offset, data });
    }

    /// Everything before the data, without padding.
    pub fn head(&self) -> Vec<u8> {
        let mut bytes = self.magic.clone();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.keys {
            bytes.extend([&text(key)[..], &kind.to_le_bytes(), value].concat());
        }
        for tensor in &self.tensors {
            bytes.extend(text(&tensor.name));
            bytes.extend((tensor.sides.len() as u32).to_le_bytes());
            tensor.sides.iter().for_each(|side| bytes.extend(side.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(tensor.offset.to_le_bytes());
        }
        bytes
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        let data = bytes.len();
        for tensor in &self.tensors {
            // A place that was changed may be anywhere.
            if tensor.offset < 1 << 20 {
                let begin = data + tensor.offset as usize;
                bytes.resize(bytes.len().max(begin + tensor.data.len()), 0);
                bytes[begin..begin + tensor.data.len()].copy_from_slice(&tensor.data);
            }
        }
        bytes
    }

    pub fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("model.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }

    /// Writes and opens the file; the map outlives its folder.
    pub fn open(&self) -> Result<Gguf, SourceError> {
        let dir = tempfile::tempdir().unwrap();
        Gguf::open(&self.write(dir.path()))
    }

    pub fn refusal(&self) -> String {
        self.open().unwrap_err().to_string()
    }
}
