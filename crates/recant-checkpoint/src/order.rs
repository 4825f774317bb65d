//! The order of a safetensors header.
//!
//! The safetensors crate keeps a file's metadata in a hash map and writes it in that map's order, which differs
//! from process to process. The same model would then be other bytes each time it is written.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::Value;

use crate::header::MAX_HEADER;

/// Puts the metadata of the file's header into the order of its keys, in place. Tensors stay where they are.
///
/// # Errors
/// What the system says, or [`io::ErrorKind::InvalidData`] when the file is not a safetensors file.
pub fn order_metadata(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut header = Vec::new();
    (&mut file).take(length).read_to_end(&mut header)?;
    let ordered = ordered(&header).ok_or(io::ErrorKind::InvalidData)?;
    file.seek(SeekFrom::Start(8))?;
    file.write_all(&ordered)
}

/// As [`order_metadata`], for a serialised file in memory; bytes that are not one stay as they are.
pub fn order_metadata_of(bytes: &mut [u8]) {
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
