//! Safetensors whose metadata say what they are, with the digest of all bytes as the last tensor.
//!
//! The tensor `blake3` (32 bytes of U8) is the file's end, and its value is BLAKE3 of everything before it. Other tools
//! read the file as it is. The header is written in one way, and a file with a checksum has that very header.

use std::collections::BTreeMap;

use recant_core::ModelDigest;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::seal;

/// Name of the tensor that holds the digest.
const DIGEST: &str = "blake3";

/// A file is no sheet of its format.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SheetError {
    /// The checksum is another one.
    #[error(transparent)]
    Damaged(#[from] seal::Damaged),
    /// It is no safetensors file.
    #[error("this is no {kind} of recant, or it is damaged: {reason}")]
    Safetensors {
        /// What was expected.
        kind: &'static str,
        /// What the reader says.
        reason: String,
    },
    /// It is a file of another format or of a later version.
    #[error("its format is {found:?}, not {wanted:?}")]
    Format {
        /// The format it names, empty if none.
        found: String,
        /// The one that was expected.
        wanted: &'static str,
    },
    /// A field of the metadata is not there.
    #[error("it does not say its `{name}`")]
    Missing {
        /// The field.
        name: String,
    },
    /// A field of the metadata makes no sense.
    #[error("`{name}` is {found:?}; {wanted} is expected")]
    Field {
        /// The field.
        name: String,
        /// What it says.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A tensor or a field does not belong there.
    #[error("it holds `{name}`, which does not belong there")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// A tensor has another type or shape than its place asks for, or is not there.
    #[error("`{name}` is not there or has another type or shape than it should")]
    Shape {
        /// The tensor.
        name: String,
    },
    /// A tensor's numbers make no sense.
    #[error("`{name}`: {reason}")]
    Number {
        /// The tensor.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no layer in it.
    #[error("it holds no layer")]
    Empty,
    /// It says the same as another file in other bytes.
    #[error("it is not in its canonical form")]
    Form,
}

/// A format of sheets.
pub(crate) struct Format {
    /// What a person calls it.
    pub(crate) kind: &'static str,
    /// The metadata's `format` of files with a checksum.
    pub(crate) sealed: &'static str,
    /// That of files before there was one; `None`: they have no metadata.
    pub(crate) former: Option<&'static str>,
}

/// A tensor to write.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Format {
    /// The bytes of a file. Tensors are laid out with the widest elements first, then by name.
    pub(crate) fn write(&self, mut metadata: BTreeMap<String, String>, mut entries: Vec<Entry>) -> Vec<u8> {
        metadata.insert("format".to_owned(), self.sealed.to_owned());
        entries.push(Entry {
            name: DIGEST.to_owned(),
            dtype: Dtype::U8,
            shape: vec![seal::DIGEST],
            bytes: vec![0; seal::DIGEST],
        });
        entries.sort_by(|a, b| rank(a.dtype, &a.name).cmp(&rank(b.dtype, &b.name)));
        let places = entries.iter().map(|entry| (entry.name.as_str(), entry.dtype, &entry.shape[..]));
        let mut bytes = header(&metadata, places);
        entries.iter().for_each(|entry| bytes.extend_from_slice(&entry.bytes));
        seal::mend(&mut bytes);
        bytes
    }
}

/// The order of tensors: the digest last, before it the narrowest elements.
fn rank(dtype: Dtype, name: &str) -> (bool, std::cmp::Reverse<usize>, &str) {
    (name == DIGEST, std::cmp::Reverse(dtype.bitsize()), name)
}

/// A header with its eight bytes of length: metadata by key, then tensors as they lie, padded to eight bytes.
fn header<'a>(
    metadata: &BTreeMap<String, String>,
    tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize])>,
) -> Vec<u8> {
    let mut map = serde_json::Map::new();
    map.insert("__metadata__".to_owned(), serde_json::json!(metadata));
    let mut at = 0;
    for (name, dtype, shape) in tensors {
        let end = at + shape.iter().product::<usize>() * dtype.bitsize() / 8;
        let place = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, end] });
        map.insert(name.to_owned(), place);
        at = end;
    }
    let mut text = serde_json::Value::Object(map).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes
}

/// A file of a format whose checksum, if it has one, is right.
pub(crate) struct Sheet<'a> {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorView<'a>>,
    pub(crate) checked: bool,
}

impl<'a> Sheet<'a> {
    pub(crate) fn read(bytes: &'a [u8], format: &Format) -> Result<Self, SheetError> {
        let checked = seal::ends_with_digest(bytes);
        let no_sheet = |error: safetensors::SafeTensorError| SheetError::Safetensors {
            kind: format.kind,
            reason: error.to_string(),
        };
        let (length, read) = SafeTensors::read_metadata(bytes).map_err(no_sheet)?;
        let metadata: BTreeMap<_, _> = read.metadata().clone().into_iter().flatten().collect();
        let all = SafeTensors::deserialize(bytes).map_err(no_sheet)?;
        let found = metadata.get("format").map(String::as_str);
        let mut sheet =
            Self { metadata: metadata.clone(), tensors: all.tensors().into_iter().collect(), checked };
        if found == Some(format.sealed) {
            if !checked {
                return Err(seal::Damaged.into());
            }
            let mut places: Vec<_> = sheet
                .tensors
                .iter()
                .map(|(name, view)| (name.as_str(), view.dtype(), view.shape()))
                .collect();
            places.sort_by(|a, b| rank(a.1, a.0).cmp(&rank(b.1, b.0)));
            if bytes[..8 + length] != header(&metadata, places.into_iter()) {
                return Err(SheetError::Form);
            }
            let digest = sheet.tensors.remove(DIGEST);
            if digest.is_none_or(|view| (view.dtype(), view.shape()) != (Dtype::U8, &[seal::DIGEST][..])) {
                return Err(SheetError::Shape { name: DIGEST.to_owned() });
            }
            return Ok(sheet);
        }
        let former = found == format.former && (format.former.is_some() || metadata.is_empty());
        if former && !sheet.tensors.contains_key(DIGEST) {
            sheet.checked = false;
            return Ok(sheet);
        }
        Err(SheetError::Format { found: found.unwrap_or_default().to_owned(), wanted: format.sealed })
    }

    /// Every tensor but the digest, by name.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (String, &TensorView<'a>)> {
        self.tensors.iter().map(|(name, view)| (name.clone(), view))
    }

    /// Refuses fields that are not among these; files of before may say more.
    pub(crate) fn only_fields(&self, known: &[&str]) -> Result<(), SheetError> {
        let unknown = |name: &&String| *name != "format" && !known.contains(&name.as_str());
        match self.metadata.keys().find(unknown).filter(|_| self.checked) {
            Some(name) => Err(SheetError::Unknown { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Refuses tensors whose names are none of these; one that ends in a dot stands for all that begin so.
    pub(crate) fn only_tensors(&self, known: &[&str]) -> Result<(), SheetError> {
        let fits =
            |name: &str, known: &str| name == known || (known.ends_with('.') && name.starts_with(known));
        let unknown = |name: &&String| !known.iter().any(|known| fits(name, known));
        match self.tensors.keys().find(unknown) {
            Some(name) => Err(SheetError::Unknown { name: name.clone() }),
            None => Ok(()),
        }
    }

    pub(crate) fn has(&self, begin: &str) -> bool {
        self.tensors.keys().any(|name| name.starts_with(begin))
    }

    /// A field of the metadata.
    pub(crate) fn field(&self, name: &str) -> Result<&str, SheetError> {
        let missing = || SheetError::Missing { name: name.to_owned() };
        self.metadata.get(name).map(String::as_str).ok_or_else(missing)
    }

    /// A field that is a whole number, in its one spelling.
    pub(crate) fn number(&self, name: &str) -> Result<u64, SheetError> {
        let found = self.field(name)?;
        let number = found.parse().ok().filter(|number: &u64| number.to_string() == found);
        number.ok_or_else(|| SheetError::Field {
            name: name.to_owned(),
            found: found.to_owned(),
            wanted: "a whole number",
        })
    }

    /// A field that is a digest of 32 bytes, hexadecimal.
    pub(crate) fn digest(&self, name: &str) -> Result<[u8; 32], SheetError> {
        let found = self.field(name)?;
        let refuse = |_| SheetError::Field {
            name: name.to_owned(),
            found: found.to_owned(),
            wanted: "a digest of 64 lower-case hexadecimal digits",
        };
        found.parse::<ModelDigest>().map(|digest| *digest.as_bytes()).map_err(refuse)
    }

    /// Square matrices `layers.N.WHAT` of finite f64, by layer.
    pub(crate) fn layers(&self, what: &str) -> Result<BTreeMap<usize, Square>, SheetError> {
        let mut layers = BTreeMap::new();
        for (name, view) in self.tensors() {
            let Some(rest) = name.strip_prefix("layers.") else { continue };
            let number = rest.strip_suffix(what).and_then(|rest| rest.strip_suffix('.'));
            // One spelling a layer, or two tensors would be the same layer's.
            let number = number.and_then(|text| text.parse().ok().filter(|n: &usize| n.to_string() == text));
            let number: usize = number.ok_or_else(|| SheetError::Unknown { name: name.clone() })?;
            let dim = match view.shape() {
                &[rows, cols] if view.dtype() == Dtype::F64 && rows == cols => rows,
                _ => return Err(SheetError::Shape { name }),
            };
            let numbers = view.data().as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect();
            let reason = "it is empty, or holds NaN or infinity".to_owned();
            let square = Square::new(dim, numbers).ok_or(SheetError::Number { name, reason })?;
            layers.insert(number, square);
        }
        if layers.is_empty() { Err(SheetError::Empty) } else { Ok(layers) }
    }

    /// Rows of token ids, as [`rows`] lays them out.
    pub(crate) fn rows(&self, name: &str) -> Result<Vec<Vec<u32>>, SheetError> {
        let numbers = |part: &str| {
            let name = format!("{name}.{part}");
            match self.tensors.get(&name).map(|view| (view.dtype(), view.shape(), view.data())) {
                Some((Dtype::U32, [_], data)) => {
                    Ok(data.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b)).collect::<Vec<u32>>())
                }
                _ => Err(SheetError::Shape { name }),
            }
        };
        let (ids, lengths) = (numbers("ids")?, numbers("lengths")?);
        let refuse = || SheetError::Number {
            name: format!("{name}.lengths"),
            reason: "they do not add up to the number of ids".to_owned(),
        };
        let mut rest = ids.as_slice();
        let mut rows = Vec::with_capacity(lengths.len());
        for length in lengths {
            let (row, after) = rest.split_at_checked(length as usize).ok_or_else(refuse)?;
            rows.push(row.to_vec());
            rest = after;
        }
        if rest.is_empty() { Ok(rows) } else { Err(refuse()) }
    }
}

/// A square matrix of finite f64, shared by its clones.
#[derive(Debug, Clone, PartialEq)]
pub struct Square {
    dim: usize,
    numbers: std::sync::Arc<[f64]>,
}

impl Square {
    /// A matrix from its `dim * dim` numbers in row order; `None` when their count differs, `dim` is 0, or one is not
    /// finite.
    #[must_use]
    pub fn new(dim: usize, numbers: Vec<f64>) -> Option<Self> {
        let fits = dim > 0 && dim.checked_mul(dim) == Some(numbers.len());
        (fits && numbers.iter().all(|x| x.is_finite())).then(|| Self { dim, numbers: numbers.into() })
    }

    /// Length of a side.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The numbers in row order.
    #[must_use]
    pub fn numbers(&self) -> &[f64] {
        &self.numbers
    }

    /// BLAKE3 of the numbers' bytes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        recant_core::bytes_digest(&self.bytes())
    }

    fn bytes(&self) -> Vec<u8> {
        self.numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    pub(crate) fn entry(&self, name: String) -> Entry {
        Entry { name, dtype: Dtype::F64, shape: vec![self.dim; 2], bytes: self.bytes() }
    }
}

/// Rows of token ids to write: `NAME.ids`, one after the other, and `NAME.lengths`.
pub(crate) fn rows(name: &str, rows: &[Vec<u32>]) -> [Entry; 2] {
    let vector = |part: &str, numbers: Vec<u32>| Entry {
        name: format!("{name}.{part}"),
        dtype: Dtype::U32,
        shape: vec![numbers.len()],
        bytes: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
    };
    let lengths = rows.iter().map(|row| u32::try_from(row.len()).unwrap_or(u32::MAX)).collect();
    [vector("ids", rows.concat()), vector("lengths", lengths)]
}

/// Metadata to write.
pub(crate) fn metadata<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
