//! What a GGUF file says about itself: keys and their values.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value as Json;

use super::error::GgufError;

/// Kinds of values by their numbers in the file.
pub(super) mod kind {
    pub(in crate::gguf) const UINT8: u32 = 0;
    pub(in crate::gguf) const INT8: u32 = 1;
    pub(in crate::gguf) const UINT16: u32 = 2;
    pub(in crate::gguf) const INT16: u32 = 3;
    pub(in crate::gguf) const UINT32: u32 = 4;
    pub(in crate::gguf) const INT32: u32 = 5;
    pub(in crate::gguf) const FLOAT32: u32 = 6;
    pub(in crate::gguf) const BOOL: u32 = 7;
    pub(in crate::gguf) const TEXT: u32 = 8;
    pub(in crate::gguf) const LIST: u32 = 9;
    pub(in crate::gguf) const UINT64: u32 = 10;
    pub(in crate::gguf) const INT64: u32 = 11;
    pub(in crate::gguf) const FLOAT64: u32 = 12;

    /// Bytes of a value; `None` for texts, lists and what is not known.
    pub(in crate::gguf) fn size(kind: u32) -> Option<usize> {
        match kind {
            UINT8 | INT8 | BOOL => Some(1),
            UINT16 | INT16 => Some(2),
            UINT32 | INT32 | FLOAT32 => Some(4),
            UINT64 | INT64 | FLOAT64 => Some(8),
            _ => None,
        }
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float32(f32),
    Float64(f64),
    Bool(bool),
    Text(String),
    List(List),
}

/// A list of values of one kind, still as bytes; they were checked when the header was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct List {
    /// Kind of the elements.
    pub(super) kind: u32,
    pub(super) count: u64,
    pub(super) bytes: Bytes,
}

impl Value {
    /// A number or truth value from its little-endian bytes; `None` for other kinds.
    pub(super) fn scalar(kind: u32, bytes: &[u8]) -> Option<Self> {
        Some(match kind {
            kind::UINT8 => Self::Unsigned(u8::from_le_bytes(bytes.try_into().ok()?).into()),
            kind::INT8 => Self::Signed(i8::from_le_bytes(bytes.try_into().ok()?).into()),
            kind::UINT16 => Self::Unsigned(u16::from_le_bytes(bytes.try_into().ok()?).into()),
            kind::INT16 => Self::Signed(i16::from_le_bytes(bytes.try_into().ok()?).into()),
            kind::UINT32 => Self::Unsigned(u32::from_le_bytes(bytes.try_into().ok()?).into()),
            kind::INT32 => Self::Signed(i32::from_le_bytes(bytes.try_into().ok()?).into()),
            kind::FLOAT32 => Self::Float32(f32::from_le_bytes(bytes.try_into().ok()?)),
            kind::BOOL => Self::Bool(bytes.first()? != &0),
            kind::UINT64 => Self::Unsigned(u64::from_le_bytes(bytes.try_into().ok()?)),
            kind::INT64 => Self::Signed(i64::from_le_bytes(bytes.try_into().ok()?)),
            kind::FLOAT64 => Self::Float64(f64::from_le_bytes(bytes.try_into().ok()?)),
            _ => return None,
        })
    }

    fn whole(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            Self::Signed(n) => u64::try_from(*n).ok(),
            // A number for each block: of one size where all are alike.
            Self::List(list) => {
                let mut sizes = list.scalars()?.map(|value| value.whole());
                let first = sizes.next()??;
                sizes.all(|size| size == Some(first)).then_some(first)
            }
            _ => None,
        }
    }

    /// A finite number; an f32 becomes the shortest decimal number that is rounded to it.
    fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Float32(x) => x.to_string().parse().ok()?,
            Self::Float64(x) => *x,
            Self::Unsigned(n) => *n as f64,
            Self::Signed(n) => *n as f64,
            _ => return None,
        };
        Some(number).filter(|number: &f64| number.is_finite())
    }

    /// What stands there, for messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Unsigned(n) => n.to_string(),
            Self::Signed(n) => n.to_string(),
            Self::Float32(x) => x.to_string(),
            Self::Float64(x) => x.to_string(),
            Self::Bool(flag) => flag.to_string(),
            Self::Text(text) if text.len() > 64 => "a long text".to_owned(),
            Self::Text(text) => format!("{text:?}"),
            Self::List(list) => format!("a list of {}", list.count),
        }
    }
}

impl List {
    /// The elements; `None` when they are texts or lists.
    pub(super) fn scalars(&self) -> Option<impl Iterator<Item = Value> + '_> {
        let size = kind::size(self.kind)?;
        Some(self.bytes.chunks_exact(size).filter_map(|bytes| Value::scalar(self.kind, bytes)))
    }

    /// The texts; `None` when they are something else.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        if self.kind != kind::TEXT {
            return None;
        }
        let (mut texts, mut rest) = (Vec::new(), &self.bytes[..]);
        while let Some((len, after)) = rest.split_first_chunk() {
            let (text, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
            texts.push(std::str::from_utf8(text).ok()?);
            rest = after;
        }
        Some(texts)
    }
}

/// All keys of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Values(pub(super) BTreeMap<String, Value>);

impl Values {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong = || GgufError::Value { key: key.to_owned(), expected, found: value.shown() };
        read(value).map(Some).ok_or_else(wrong)
    }

    /// A whole number that is not negative, or a list in which all are the same one.
    pub(super) fn whole(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.read(key, "a whole number that is the same for all blocks", Value::whole)
    }

    /// A finite number.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.read(key, "a finite number", Value::number)
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.read(key, "true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.read(key, "a text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, GgufError> {
        self.read(key, "a list of texts", |value| match value {
            Value::List(list) => list.texts(),
            _ => None,
        })
    }

    /// A list of whole numbers; a negative one is `None`.
    pub(super) fn wholes(&self, key: &str) -> Result<Option<Vec<Option<u64>>>, GgufError> {
        self.read(key, "a list of whole numbers", |value| match value {
            Value::List(list) => list.scalars()?.map(|value| Some(value.whole())).collect(),
            _ => None,
        })
    }

    pub(super) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, GgufError> {
        self.read(key, "a list of finite numbers", |value| match value {
            Value::List(list) => list.scalars()?.map(|value| value.number()).collect(),
            _ => None,
        })
    }
}

/// A number as it stands in JSON: whole ones, too, with a point.
pub(super) fn json(number: f64) -> Json {
    serde_json::Number::from_f64(number).map_or(Json::Null, Json::Number)
}
