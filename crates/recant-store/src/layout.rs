//! The header of a safetensors file: which tensor stands where.
//!
//! A header is untrusted. It is accepted when its tensors, sorted by their beginnings, fill the data without
//! a gap or an overlap, and each one's length is what its type and shape ask for.

use std::collections::BTreeMap;

use recant_core::{Dtype, ParamPath, ParamPathError};
use serde_json::Value;

/// Longest accepted header in bytes; the limit of the safetensors crate.
pub(crate) const MAX_HEADER: u64 = 100_000_000;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub path: ParamPath,
    /// Element type.
    pub dtype: Dtype,
    /// Sides.
    pub shape: Vec<usize>,
    /// First byte, counted from the end of the header.
    pub begin: u64,
    /// Byte behind the last one.
    pub end: u64,
}

/// The tensors of a file in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The tensors.
    pub places: Vec<Place>,
}

/// A header is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
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
    Place {
        /// The tensor.
        path: ParamPath,
        /// Where it begins.
        begin: u64,
        /// Where the one before ends.
        expected: u64,
    },
}

impl Layout {
    /// Reads a header, without the eight bytes of its length.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn parse(header: &[u8]) -> Result<Self, LayoutError> {
        let bad = |reason: String| LayoutError::Json { reason };
        let entries: serde_json::Map<String, Value> =
            serde_json::from_slice(header).map_err(|error| bad(error.to_string()))?;
        let mut places = entries
            .into_iter()
            .filter(|(name, _)| name != "__metadata__")
            .map(|(name, value)| place(name, &value))
            .collect::<Result<Vec<_>, _>>()?;
        places.sort_by_key(|place| (place.begin, place.end));
        let mut expected = 0;
        for place in &places {
            if place.begin != expected {
                return Err(LayoutError::Place { path: place.path.clone(), begin: place.begin, expected });
            }
            expected = place.end;
        }
        Ok(Self { places })
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.places.last().map_or(0, |place| place.end)
    }

    /// The tensors by name.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<&ParamPath, &Place> {
        self.places.iter().map(|place| (&place.path, place)).collect()
    }
}

fn place(name: String, value: &Value) -> Result<Place, LayoutError> {
    let path = ParamPath::new(name)?;
    let bad = |what: &str| LayoutError::Json { reason: format!("tensor `{path}` has no usable {what}") };
    let name = value["dtype"].as_str().ok_or_else(|| bad("dtype"))?;
    let dtype = Dtype::from_name(name)
        .map_err(|error| LayoutError::Dtype { path: path.clone(), dtype: error.name })?;
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
        return Err(LayoutError::Length { path, expected: show(expected), found: show(found) });
    }
    Ok(Place { path, dtype, shape, begin, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(header: &str) -> String {
        Layout::parse(header.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_header_is_sorted_by_place() {
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},
            "a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
        let layout = Layout::parse(header.as_bytes()).unwrap();
        let names: Vec<&str> = layout.places.iter().map(|place| place.path.as_str()).collect();
        assert_eq!((names, layout.data_len()), (vec!["a", "b"], 12));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let one = |body: &str| format!(r#"{{"a":{{{body}}}}}"#);
        let cases = [
            ("[]".to_owned(), "no safetensors header"),
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
        for (header, expected) in cases {
            assert!(error(&header).contains(expected), "{header}: {}", error(&header));
        }
    }
}
