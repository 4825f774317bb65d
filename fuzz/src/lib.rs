//! What every decoder promises about any bytes at all, as functions that a fuzzer and a plain test call, and
//! the seeds that both begin with.
//!
//! Each function says whether it accepted the bytes, and panics when a promise is broken. Memory is watched
//! from outside: `fuzz/smoke` gives the fuzzer a limit.

#[path = "../../crates/recant-store/tests/common/mod.rs"]
mod common;
mod file;
mod records;
pub mod seeds;
mod source;
mod tokenizer;

pub use file::{bundle, files};
pub use records::{carry, editor, factors, ledger, memory, moments, npz, partial, patch_file};
pub use source::{chat, gguf, shards};
pub use tokenizer::tokenizer;

use recant_checkpoint::{Foreign, Header};
use recant_core::{AdapterState, ObjectId, ParamPath, Site, WeightPatch};
use recant_store::object::{
    Blob, Commit, FactSet, Manifest, Operation, decode_tensor, encode_tensor, references,
};
use recant_store::{Name, PublicKey};

/// Objects of a store. Whatever bytes a decoder accepts are the ones that its encoder writes.
pub fn objects(bytes: &[u8]) -> bool {
    let again = [
        Commit::decode(bytes).ok().map(|commit| commit.encode()),
        Operation::decode(bytes).ok().map(|operation| operation.encode()),
        Manifest::decode(bytes).ok().map(|manifest| manifest.encode()),
        FactSet::decode(bytes).ok().map(|facts| facts.encode()),
        Blob::decode(bytes).ok().map(|blob| blob.encode()),
        decode_tensor(bytes.to_vec().into()).ok().map(|tensor| encode_tensor(&tensor)),
    ];
    // At most one of them: the kinds begin differently.
    let mut accepted = again.into_iter().flatten();
    let first = accepted.next();
    assert!(accepted.next().is_none(), "bytes of two kinds");
    if let Some(first) = &first {
        assert!(first == bytes, "another encoding of the same value");
        references(bytes).expect("what is decoded has references");
    } else {
        let _ = references(bytes);
    }
    first.is_some()
}

/// Patches. The same promise, and an id that is the bytes' own.
pub fn patch(bytes: &[u8]) -> bool {
    let Ok(patch) = WeightPatch::decode(bytes) else { return false };
    assert!(patch.encode() == bytes, "another encoding of the same value");
    true
}

/// States of adapters. The same promise.
pub fn adapter(bytes: &[u8]) -> bool {
    let Ok(state) = AdapterState::decode(bytes) else { return false };
    assert!(state.encode() == bytes, "another encoding of the same value");
    true
}

/// Headers of safetensors files. An accepted header's tensors lie one after the other, and each is as long as
/// its shape says.
pub fn header(bytes: &[u8]) -> bool {
    let Ok(header) = Header::parse(bytes) else { return false };
    let mut at = 0;
    for entry in &header.tensors {
        assert_eq!(entry.begin, at);
        let len = entry.shape.iter().map(|&side| side as u64).product::<u64>() * entry.dtype.size() as u64;
        at += len;
        assert_eq!(entry.end, at);
    }
    assert_eq!(header.data_len(), at);
    assert_eq!(header.by_name().len(), header.tensors.len(), "one name, two tensors");
    true
}

/// Whole safetensors files. Every tensor of an accepted one lies within the file, and the file is not one of those
/// that a download leaves in place of another.
pub fn checkpoint(bytes: &[u8]) -> bool {
    let foreign = Foreign::of(bytes);
    let Ok((header, data_start)) = Header::of_file(bytes) else { return false };
    assert_eq!(foreign, None, "a text is a safetensors file");
    assert_eq!(data_start as u64 + header.data_len(), bytes.len() as u64);
    for entry in &header.tensors {
        let (begin, end) = (data_start + entry.begin as usize, data_start + entry.end as usize);
        assert!(bytes.get(begin..end).is_some());
    }
    true
}

/// Texts that name things: of files, parameters, objects, sites, keys. An accepted name is one name, walks
/// nowhere, and comes back as it was.
pub fn names(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut accepted = false;
    if let Ok(name) = Name::new(text) {
        let mut parts = std::path::Path::new(name.as_str()).components();
        assert!(matches!(parts.next(), Some(std::path::Component::Normal(part)) if part == text));
        assert!(parts.next().is_none() && !text.contains(['\0', '/', '\\']));
        accepted = true;
    }
    if let Ok(path) = ParamPath::new(text) {
        assert!(!path.as_str().contains(['/', '\\', ':', '\0']) && !path.as_str().contains(".."));
        accepted = true;
    }
    if let Ok(id) = text.parse::<ObjectId>() {
        assert_eq!(id.to_string(), text);
        accepted = true;
    }
    if let Ok(site) = text.parse::<Site>() {
        assert_eq!(site.to_string().parse::<Site>().ok(), Some(site));
        accepted = true;
    }
    if let Ok(key) = PublicKey::from_text(text) {
        assert_eq!(PublicKey::from_text(&key.to_text()).ok(), Some(key));
        accepted = true;
    }
    let _ = PublicKey::signers(text);
    accepted
}
