//! The header of a safetensors file: which tensor is where.
//!
//! A header is untrusted. It is accepted when its tensors, sorted by their beginnings, fill the data without
//! a gap or an overlap, and each one's length is what its type and shape ask for.

use std::collections::BTreeMap;

use recant_core::{Dtype, ParamPath, ParamPathError};
use serde_json::{Map, Value};

/// Longest accepted header in bytes; the limit of the safetensors crate.
pub const MAX_HEADER: u64 = 100_000_000;

/// Bytes before the header: its length, u64 LE.
const PREFIX: usize = size_of::<u64>();

/// Key of the header under which a file's own notes are.
const METADATA: &str = "__metadata__";

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name.
    pub path: ParamPath,
    /// Element type.
    pub dtype: Dtype,
    /// Sides, slowest first.
    pub shape: Vec<usize>,
    /// First byte, counted from the end of the header.
    pub begin: u64,
    /// Byte after the last one.
    pub end: u64,
}

/// The tensors of a file in the order of their bytes, and its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// The tensors.
    pub tensors: Vec<TensorEntry>,
    /// The file's own notes, such as `format`; `None` when it has no place for them.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// A header is not valid, or the file is not as long as it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The file is shorter than the length of a header.
    #[error("the file has {found} bytes, fewer than a header; it is truncated")]
    Short {
        /// Bytes of the file.
        found: u64,
    },
    /// The header's length is beyond [`MAX_HEADER`].
    #[error("its header claims an absurd size of {claimed} bytes; it is no safetensors file, or damaged")]
    Size {
        /// What it claims.
        claimed: u64,
    },
    /// The header is longer than the file.
    #[error("its header claims {claimed} of the {found} bytes of the file; it is truncated or damaged")]
    Cut {
        /// What it claims.
        claimed: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The file's length is not what the header asks for.
    #[error(
        "it has {found} bytes where its header asks for {expected}; the download was cut or the file is damaged"
    )]
    File {
        /// What the header asks for.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// It is not the JSON that it should be.
    #[error("its header is no safetensors header: {reason}")]
    Json {
        /// What is wrong.
        reason: String,
    },
    /// A name is not acceptable.
    #[error(transparent)]
    Name(#[from] ParamPathError),
    /// A type is not known.
    #[error("tensor `{path}` has dtype {dtype}, which recant does not carry")]
    Dtype {
        /// The tensor.
        path: ParamPath,
        /// The type.
        dtype: String,
    },
    /// A tensor's bytes are not as many as its type and shape ask for.
    #[error("tensor `{path}` has {found} bytes where its shape asks for {expected}")]
    Length {
        /// The tensor.
        path: ParamPath,
        /// What the shape asks for.
        expected: String,
        /// What the offsets give.
        found: String,
    },
    /// The tensors overlap or leave a gap.
    #[error(
        "tensor `{path}` begins at {begin}, where {expected} is expected: tensors overlap or leave a gap"
    )]
    Begin {
        /// The tensor.
        path: ParamPath,
        /// Where it begins.
        begin: u64,
        /// Where the one before ends.
        expected: u64,
    },
}

impl Header {
    /// The length of a file's header, from the file's first eight bytes.
    ///
    /// # Errors
    /// [`HeaderError::Size`], [`HeaderError::Cut`]: nothing of that length is to be read.
    pub fn len_of(prefix: [u8; 8], file_len: u64) -> Result<u64, HeaderError> {
        let claimed = u64::from_le_bytes(prefix);
        if claimed > MAX_HEADER {
            return Err(HeaderError::Size { claimed });
        }
        if claimed > file_len.saturating_sub(PREFIX as u64) {
            return Err(HeaderError::Cut { claimed, found: file_len });
        }
        Ok(claimed)
    }

    /// Reads a header, without the eight bytes of its length.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn parse(json: &[u8]) -> Result<Self, HeaderError> {
        let bad = |reason: String| HeaderError::Json { reason };
        let mut entries: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| bad(error.to_string()))?;
        let metadata = entries.shift_remove(METADATA).map(metadata).transpose()?;
        let mut tensors =
            entries.into_iter().map(|(name, value)| entry(name, &value)).collect::<Result<Vec<_>, _>>()?;
        tensors.sort_by_key(|entry| (entry.begin, entry.end));
        let mut expected = 0;
        for entry in &tensors {
            if entry.begin != expected {
                return Err(HeaderError::Begin { path: entry.path.clone(), begin: entry.begin, expected });
            }
            expected = entry.end;
        }
        Ok(Self { tensors, metadata })
    }

    /// Reads the header of a whole file in memory, and where its data begins.
    ///
    /// # Errors
    /// [`HeaderError`], also when the file is not as long as the header says.
    pub fn of_file(bytes: &[u8]) -> Result<(Self, usize), HeaderError> {
        let found = bytes.len() as u64;
        let (prefix, rest) = bytes.split_first_chunk().ok_or(HeaderError::Short { found })?;
        // `len_of` has compared it with the length of a slice.
        let json_len = usize::try_from(Self::len_of(*prefix, found)?).unwrap_or(rest.len());
        let header = Self::parse(&rest[..json_len])?;
        header.check_file_len(json_len as u64, found)?;
        Ok((header, PREFIX + json_len))
    }

    /// Whether a file with a header of `json_len` bytes is as long as the header says.
    ///
    /// # Errors
    /// [`HeaderError::File`].
    pub fn check_file_len(&self, json_len: u64, found: u64) -> Result<(), HeaderError> {
        let expected = (PREFIX as u64).saturating_add(json_len).saturating_add(self.data_len());
        if expected == found { Ok(()) } else { Err(HeaderError::File { expected, found }) }
    }

    /// A file's head with these entries: the length of the header, and the header, padded to eight bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = Map::new();
        if let Some(notes) = &self.metadata {
            let notes = notes.iter().map(|(key, note)| (key.clone(), Value::from(note.as_str())));
            entries.insert(METADATA.to_owned(), Value::Object(notes.collect()));
        }
        for TensorEntry { path, dtype, shape, begin, end } in &self.tensors {
            let entry = serde_json::json!({
                "dtype": dtype.to_string(), "shape": shape, "data_offsets": [begin, end],
            });
            entries.insert(path.to_string(), entry);
        }
        let mut json = Value::Object(entries).to_string().into_bytes();
        json.resize(json.len().next_multiple_of(8), b' ');
        [&(json.len() as u64).to_le_bytes()[..], &json].concat()
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.tensors.last().map_or(0, |entry| entry.end)
    }

    /// The tensors by name.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<&ParamPath, &TensorEntry> {
        self.tensors.iter().map(|entry| (&entry.path, entry)).collect()
    }
}

fn metadata(value: Value) -> Result<BTreeMap<String, String>, HeaderError> {
    serde_json::from_value(value)
        .map_err(|error| HeaderError::Json { reason: format!("{METADATA} is no map of texts: {error}") })
}

fn entry(name: String, value: &Value) -> Result<TensorEntry, HeaderError> {
    let path = ParamPath::new(name)?;
    let bad = |what: &str| HeaderError::Json { reason: format!("tensor `{path}` has no usable {what}") };
    let name = value["dtype"].as_str().ok_or_else(|| bad("dtype"))?;
    let dtype = Dtype::from_name(name)
        .map_err(|error| HeaderError::Dtype { path: path.clone(), dtype: error.name })?;
    let sides = value["shape"].as_array().ok_or_else(|| bad("shape"))?;
    let side = |side: &Value| side.as_u64().and_then(|side| usize::try_from(side).ok());
    let shape = sides.iter().map(side).collect::<Option<Vec<_>>>().ok_or_else(|| bad("shape"))?;
    let offsets = value["data_offsets"].as_array().filter(|offsets| offsets.len() == 2);
    let offset = |i: usize| offsets.and_then(|offsets| offsets[i].as_u64());
    let (begin, end) = offset(0).zip(offset(1)).ok_or_else(|| bad("data_offsets"))?;
    let found = end.checked_sub(begin);
    let expected =
        shape.iter().try_fold(dtype.size() as u64, |product, &side| product.checked_mul(side as u64));
    if expected.is_none() || found != expected {
        let show = |count: Option<u64>| count.map_or("an absurd number".to_owned(), |n| n.to_string());
        return Err(HeaderError::Length { path, expected: show(expected), found: show(found) });
    }
    Ok(TensorEntry { path, dtype, shape, begin, end })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn file(json: &str, data: usize) -> Vec<u8> {
        [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &vec![0; data]].concat()
    }

    const TWO: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},
        "a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;

    #[test]
    fn a_header_is_sorted_by_its_bytes_and_keeps_its_metadata() {
        let (header, data_start) = Header::of_file(&file(TWO, 12)).unwrap();
        let names: Vec<&str> = header.tensors.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!((names, header.data_len(), data_start), (vec!["a", "b"], 12, 8 + TWO.len()));
        assert_eq!(header.metadata.unwrap()["format"], "pt");
        assert_eq!(Header::parse(b"{}").unwrap(), Header::default());
    }

    #[test]
    fn hostile_headers_are_refused() {
        let one = |body: &str| format!(r#"{{"a":{{{body}}}}}"#);
        let cases = [
            ("[]".to_owned(), "no safetensors header"),
            (r#"{"__metadata__":{"format":1}}"#.to_owned(), "no map of texts"),
            (one(r#""dtype":"F99","shape":[1],"data_offsets":[0,4]"#), "F99"),
            (one(r#""dtype":"F32","shape":[1],"data_offsets":[4,8]"#), "gap"),
            (one(r#""dtype":"F32","shape":[2],"data_offsets":[0,4]"#), "asks for"),
            (one(r#""dtype":"F32","shape":[1],"data_offsets":[4,0]"#), "asks for"),
            (one(r#""dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]"#), "absurd"),
            (one(r#""dtype":"F32","shape":[-1],"data_offsets":[0,4]"#), "shape"),
            (one(r#""dtype":"F32","shape":[1],"data_offsets":[0]"#), "data_offsets"),
            (r#"{"../a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#.to_owned(), "slash"),
            (
                r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},
                    "b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#
                    .to_owned(),
                "overlap",
            ),
        ];
        for (json, expected) in cases {
            let error = Header::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
        let whole = file(TWO, 12);
        for len in 0..whole.len() {
            let error = Header::of_file(&whole[..len]).unwrap_err();
            let expected = match len {
                ..8 => HeaderError::Short { found: len as u64 },
                _ if len < 8 + TWO.len() => HeaderError::Cut { claimed: TWO.len() as u64, found: len as u64 },
                _ => HeaderError::File { expected: whole.len() as u64, found: len as u64 },
            };
            assert_eq!(error, expected);
        }
        let longer = Header::of_file(&file(TWO, 13)).unwrap_err();
        assert!(matches!(longer, HeaderError::File { .. }), "{longer}");
        let absurd = Header::of_file(&[255; 64]).unwrap_err();
        assert!(matches!(absurd, HeaderError::Size { claimed: u64::MAX }), "{absurd}");
    }
}
