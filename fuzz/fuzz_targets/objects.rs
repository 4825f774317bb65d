//! Whatever bytes a decoder accepts are the ones that its encoder writes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use recant_store::object::{Blob, Commit, FactSet, Manifest, Operation, decode_tensor, encode_tensor, references};

fuzz_target!(|bytes: &[u8]| {
    let _ = references(bytes);
    if let Ok(commit) = Commit::decode(bytes) {
        assert_eq!(commit.encode(), bytes);
    }
    if let Ok(operation) = Operation::decode(bytes) {
        assert_eq!(operation.encode(), bytes);
    }
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(manifest.encode(), bytes);
    }
    if let Ok(facts) = FactSet::decode(bytes) {
        assert_eq!(facts.encode(), bytes);
    }
    if let Ok(blob) = Blob::decode(bytes) {
        assert_eq!(blob.encode(), bytes);
    }
    if let Ok(tensor) = decode_tensor(bytes.to_vec().into()) {
        assert_eq!(encode_tensor(&tensor), bytes);
    }
});
