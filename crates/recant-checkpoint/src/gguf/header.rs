//! The header of a GGUF file: what it says about itself, and which tensor is where.
//!
//! A header is untrusted. Every length is compared with the rest of the file before anything of that length is kept,
//! and every tensor lies within the file, on its alignment, without overlapping another.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::error::GgufError;
use super::quants::Quant;
use super::value::{List, Value, Values, kind};

/// First bytes of a GGUF file.
const MAGIC: &[u8] = b"GGUF";
/// Alignment of tensors where the file does not say it, in bytes.
const ALIGNMENT: u64 = 32;
/// Bytes of the shortest key with its value: length of the key, type of the value, and a value of one byte.
const SHORTEST_VALUE: u64 = 8 + 4 + 1;
/// Bytes of the shortest entry of a tensor: length of its name, number of sides, one side, type and offset.
const SHORTEST_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;
/// Most sides of a tensor; ggml's limit.
const MAX_SIDES: u32 = 4;
/// How deeply lists can be in lists.
const MAX_DEPTH: usize = 4;

/// A tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorInfo {
    pub(super) name: String,
    /// Sides, slowest first.
    pub(super) shape: Vec<usize>,
    pub(super) quant: Quant,
    /// First byte, counted from the start of the file.
    pub(super) begin: usize,
    /// Byte after the last one.
    pub(super) end: usize,
}

impl TensorInfo {
    /// Number of elements; the header was checked to have as many bytes.
    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn misshapen(&self, reason: impl Into<String>) -> GgufError {
        let shape = self.shape.iter().map(|&side| side as u64).collect();
        GgufError::Shape { tensor: self.name.clone(), shape, reason: reason.into() }
    }
}

/// What a file says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Contents {
    pub(super) values: Values,
    pub(super) tensors: Vec<TensorInfo>,
}

impl Contents {
    /// Reads the header of a whole file in memory.
    pub(super) fn of_file(file: &Bytes) -> Result<Self, GgufError> {
        let mut cursor = Cursor { file, at: 0 };
        if !file.starts_with(MAGIC) {
            return Err(if MAGIC.starts_with(file) {
                cursor.cut("its first bytes")
            } else {
                GgufError::Magic
            });
        }
        cursor.at = MAGIC.len();
        match cursor.u32("its version")? {
            2 | 3 => {}
            version if version & 0xffff == 0 && version != 0 => return Err(GgufError::BigEndian),
            version => return Err(GgufError::Version { version }),
        }
        let tensors = cursor.u64("its number of tensors")?;
        let values = cursor.u64("its number of keys")?;
        let values = cursor.values(values)?;
        let entries = cursor.entries(tensors)?;
        let alignment = values.whole("general.alignment")?.unwrap_or(ALIGNMENT);
        if !alignment.is_power_of_two() {
            return Err(GgufError::Alignment { alignment });
        }
        let data = (cursor.at as u64).checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        let tensors = entries.into_iter().map(|entry| entry.placed(data, alignment, file.len()));
        let this = Self { values, tensors: tensors.collect::<Result<_, _>>()? };
        this.refuse_overlaps()?;
        Ok(this)
    }

    fn refuse_overlaps(&self) -> Result<(), GgufError> {
        let mut by_place: Vec<&TensorInfo> = self.tensors.iter().collect();
        by_place.sort_by_key(|tensor| (tensor.begin, tensor.end));
        for pair in by_place.windows(2) {
            if pair[1].begin < pair[0].end {
                let [first, second] = [pair[0].name.clone(), pair[1].name.clone()];
                return Err(GgufError::Overlap { first, second });
            }
        }
        Ok(())
    }

    /// A tensor by its name in the file.
    pub(super) fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

/// A tensor as the header says it, before its place was checked.
struct Entry {
    name: String,
    shape: Vec<u64>,
    quant: Quant,
    offset: u64,
}

impl Entry {
    fn placed(self, data: u64, alignment: u64, file: usize) -> Result<TensorInfo, GgufError> {
        if !self.offset.is_multiple_of(alignment) {
            return Err(GgufError::Unaligned { tensor: self.name, offset: self.offset, alignment });
        }
        let Self { name, shape, quant, offset } = self;
        let wrong = |reason: String| GgufError::Shape { tensor: name.clone(), shape: shape.clone(), reason };
        let (elements, bytes) = quant.block();
        if shape.contains(&0) {
            return Err(wrong("a side of which is 0".to_owned()));
        }
        if !shape.last().is_some_and(|row| row.is_multiple_of(elements as u64)) {
            return Err(wrong(format!("whose rows do not consist of {} blocks of {elements}", quant.name())));
        }
        let all = shape.iter().try_fold(1u64, |product, &side| product.checked_mul(side));
        let len = all.and_then(|all| (all / elements as u64).checked_mul(bytes as u64));
        // Elements are counted in memory, as f32 at most.
        let len = len.filter(|_| all.is_some_and(|all| all < isize::MAX as u64 / 4));
        let len = len.ok_or_else(|| wrong("which is beyond what can be counted".to_owned()))?;
        let begin = data.checked_add(offset);
        let end = begin.and_then(|begin| begin.checked_add(len)).filter(|&end| end <= file as u64);
        let place = |at: Option<u64>| at.and_then(|at| usize::try_from(at).ok());
        let (Some(begin), Some(end)) = (place(begin), place(end)) else {
            return Err(GgufError::Beyond { tensor: name });
        };
        let shape = shape.iter().filter_map(|&side| usize::try_from(side).ok()).collect();
        Ok(TensorInfo { name, shape, quant, begin, end })
    }
}

/// Reads from the front of a file.
struct Cursor<'a> {
    file: &'a Bytes,
    at: usize,
}

impl Cursor<'_> {
    fn cut(&self, what: &'static str) -> GgufError {
        GgufError::Cut { what, at: self.at as u64 }
    }

    fn rest(&self) -> u64 {
        (self.file.len() - self.at) as u64
    }

    fn take(&mut self, len: u64, what: &'static str) -> Result<Bytes, GgufError> {
        let len = usize::try_from(len).ok().filter(|_| len <= self.rest()).ok_or_else(|| self.cut(what))?;
        let bytes = self.file.slice(self.at..self.at + len);
        self.at += len;
        Ok(bytes)
    }

    fn number<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let bytes = self.file[self.at..].first_chunk().ok_or_else(|| self.cut(what))?;
        self.at += N;
        Ok(*bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.number(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.number(what).map(u64::from_le_bytes)
    }

    /// Steps over a text, and says where it is.
    fn text(&mut self, what: &'static str) -> Result<Bytes, GgufError> {
        let len = self.u64(what)?;
        let at = self.at as u64;
        let bytes = self.take(len, what)?;
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(bytes),
            Err(_) => Err(GgufError::Text { what, at }),
        }
    }

    fn string(&mut self, what: &'static str) -> Result<String, GgufError> {
        let at = self.at as u64;
        String::from_utf8(self.text(what)?.to_vec()).map_err(|_| GgufError::Text { what, at })
    }

    /// Refuses a count of things of which the rest of the file cannot hold so many.
    fn bounded(&self, claimed: u64, shortest: u64, what: &'static str) -> Result<u64, GgufError> {
        let most = self.rest() / shortest;
        if claimed > most { Err(GgufError::Count { what, claimed, most }) } else { Ok(claimed) }
    }

    fn values(&mut self, count: u64) -> Result<Values, GgufError> {
        let mut values = BTreeMap::new();
        for _ in 0..self.bounded(count, SHORTEST_VALUE, "keys")? {
            let key = self.string("a key")?;
            let kind = self.u32("the type of a value")?;
            let value = self.value(&key, kind)?;
            if values.contains_key(&key) {
                return Err(GgufError::Twice { what: "the key", name: key });
            }
            values.insert(key, value);
        }
        Ok(Values(values))
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<Value, GgufError> {
        const WHAT: &str = "a value";
        match kind {
            kind::TEXT => self.string(WHAT).map(Value::Text),
            kind::LIST => self.list(key, 0).map(Value::List),
            _ => {
                let unknown = || GgufError::ValueType { key: key.to_owned(), kind };
                let size = kind::size(kind).ok_or_else(unknown)?;
                let bytes = self.take(size as u64, WHAT)?;
                refuse_bools(key, kind, &bytes)?;
                Value::scalar(kind, &bytes).ok_or_else(unknown)
            }
        }
    }

    fn list(&mut self, key: &str, depth: usize) -> Result<List, GgufError> {
        const WHAT: &str = "a list";
        if depth > MAX_DEPTH {
            return Err(GgufError::Depth { key: key.to_owned(), most: MAX_DEPTH });
        }
        let kind = self.u32(WHAT)?;
        let count = self.u64(WHAT)?;
        let shortest = match kind {
            kind::TEXT => 8,
            kind::LIST => 12,
            _ => kind::size(kind).ok_or_else(|| GgufError::ValueType { key: key.to_owned(), kind })? as u64,
        };
        let count = self.bounded(count, shortest, "elements of a list")?;
        let start = self.at;
        match kind {
            kind::TEXT => (0..count).try_for_each(|_| self.text("a text of a list").map(drop))?,
            kind::LIST => (0..count).try_for_each(|_| self.list(key, depth + 1).map(drop))?,
            _ => refuse_bools(key, kind, &self.take(count * shortest, WHAT)?)?,
        }
        Ok(List { kind, count, bytes: self.file.slice(start..self.at) })
    }

    fn entries(&mut self, count: u64) -> Result<Vec<Entry>, GgufError> {
        let (mut entries, mut names) = (Vec::new(), BTreeSet::new());
        for _ in 0..self.bounded(count, SHORTEST_TENSOR, "tensors")? {
            let entry = self.entry()?;
            if !names.insert(entry.name.clone()) {
                return Err(GgufError::Twice { what: "the tensor", name: entry.name });
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn entry(&mut self) -> Result<Entry, GgufError> {
        const WHAT: &str = "the entry of a tensor";
        let name = self.string("the name of a tensor")?;
        let sides = self.u32(WHAT)?;
        if !(1..=MAX_SIDES).contains(&sides) {
            let reason = format!("for which it claims {sides} sides; 1 to {MAX_SIDES} are possible");
            return Err(GgufError::Shape { tensor: name, shape: Vec::new(), reason });
        }
        // The file has the fastest side first.
        let mut shape = (0..sides).map(|_| self.u64(WHAT)).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        let quant = self.u32(WHAT)?;
        let quant =
            Quant::from_tag(quant).map_err(|kind| GgufError::Quantisation { tensor: name.clone(), kind })?;
        Ok(Entry { name, shape, quant, offset: self.u64(WHAT)? })
    }
}

/// Refuses truth values that are neither 0 nor 1.
fn refuse_bools(key: &str, kind: u32, bytes: &[u8]) -> Result<(), GgufError> {
    match bytes.iter().find(|&&byte| kind == kind::BOOL && byte > 1) {
        Some(&found) => Err(GgufError::Bool { key: key.to_owned(), found }),
        None => Ok(()),
    }
}
