//! The order of a safetensors header.
//!
//! The safetensors crate keeps a file's metadata in a hash map and writes it in that map's order, which differs
//! from process to process. The same model would then be other bytes each time it is written.

use serde_json::Value;

/// Puts the metadata of a serialised file's header into the order of its keys, in place; tensors stay where they are, and
/// bytes that are no safetensors file stay as they are.
pub fn order_metadata(bytes: &mut [u8]) {
    let Some((length, rest)) = bytes.split_first_chunk_mut::<8>() else { return };
    let header = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| rest.get_mut(..length));
    if let Some(header) = header
        && let Some(ordered) = ordered(header)
    {
        header.copy_from_slice(&ordered);
    }
}

/// The same header, as long as before, with the metadata in the order of its keys.
fn ordered(header: &[u8]) -> Option<Vec<u8>> {
    let mut json: Value = serde_json::from_slice(header).ok()?;
    if let Some(metadata) = json.get_mut("__metadata__").and_then(Value::as_object_mut) {
        metadata.sort_keys();
    }
    let mut ordered = serde_json::to_vec(&json).ok()?;
    if ordered.len() > header.len() {
        return None;
    }
    ordered.resize(header.len(), b' ');
    Some(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_written_in_the_order_of_its_keys() {
        let header = br#"{"__metadata__":{"z":"1","a":"\u00e9\n"},"y":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{}}  "#;
        let ordered = String::from_utf8(ordered(header).unwrap()).unwrap();
        assert_eq!(ordered.len(), header.len());
        assert!(ordered.find("\"a\"").unwrap() < ordered.find("\"z\"").unwrap(), "{ordered}");
        assert!(ordered.find("\"y\"").unwrap() < ordered.find("\"b\"").unwrap(), "{ordered}");
        assert!(super::ordered(b"no header").is_none());
    }
}
