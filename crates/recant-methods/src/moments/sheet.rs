//! What the files of second moments have in common: safetensors whose metadata say what they are.

use std::collections::HashMap;
use std::io;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// A file of some format, read and not yet believed.
pub(super) struct Sheet<'a> {
    metadata: HashMap<String, String>,
    pub(super) tensors: SafeTensors<'a>,
}

impl<'a> Sheet<'a> {
    /// Reads the header; an error is a reason in words.
    pub(super) fn read(bytes: &'a [u8], format: &str) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let sheet = Self { metadata, tensors };
        match sheet.field("format")? {
            found if found == format => Ok(sheet),
            found => Err(format!("its format is {found:?}, not {format:?}")),
        }
    }

    /// A field of the metadata.
    pub(super) fn field(&self, name: &str) -> Result<&str, String> {
        self.metadata.get(name).map(String::as_str).ok_or_else(|| format!("it does not say its `{name}`"))
    }

    /// A field that is a number.
    pub(super) fn number(&self, name: &str) -> Result<u64, String> {
        self.field(name)?.parse().map_err(|_| format!("`{name}` is not a number"))
    }

    /// A field that is a digest of 32 bytes, hexadecimal.
    pub(super) fn digest(&self, name: &str) -> Result<[u8; 32], String> {
        let digest = self.field(name)?.parse::<recant_core::ModelDigest>();
        digest.map(|digest| *digest.as_bytes()).map_err(|error| format!("`{name}`: {error}"))
    }

    /// Square matrices `layers.N.WHAT` of finite f64, by layer.
    pub(super) fn layers(&self, what: &str) -> Result<Vec<(usize, usize, Vec<f64>)>, String> {
        let mut layers = Vec::new();
        for (name, view) in self.tensors.tensors() {
            let Some(rest) = name.strip_prefix("layers.") else { continue };
            let number = rest.strip_suffix(what).and_then(|rest| rest.strip_suffix('.'));
            // One spelling a layer, or two tensors would be the same layer's.
            let number = number.and_then(|text| text.parse().ok().filter(|n: &usize| n.to_string() == text));
            let number: usize =
                number.ok_or_else(|| format!("it holds `{name}`, which is no layer's {what}"))?;
            let &[rows, cols] = view.shape() else {
                return Err(format!("`{name}` is not a matrix"));
            };
            if view.dtype() != Dtype::F64 || rows != cols || rows == 0 {
                return Err(format!("`{name}` is not a square matrix of F64"));
            }
            let numbers: Vec<f64> =
                view.data().as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect();
            if numbers.iter().any(|x| !x.is_finite()) {
                return Err(format!("`{name}` holds NaN or infinity"));
            }
            layers.push((number, rows, numbers));
        }
        match layers.is_empty() {
            true => Err("it holds no layer".to_owned()),
            false => Ok(layers),
        }
    }

    /// Rows of token ids, as [`rows`] lays them out.
    pub(super) fn rows(&self, name: &str) -> Result<Vec<Vec<u32>>, String> {
        let numbers = |part: &str| {
            let name = format!("{name}.{part}");
            let view = self.tensors.tensor(&name).map_err(|error| error.to_string())?;
            match (view.dtype(), view.shape()) {
                (Dtype::U32, [_]) => {
                    Ok(view.data().as_chunks().0.iter().map(|&b| u32::from_le_bytes(b)).collect::<Vec<u32>>())
                }
                _ => Err(format!("`{name}` is not a vector of U32")),
            }
        };
        let (ids, lengths) = (numbers("ids")?, numbers("lengths")?);
        let mut rest = ids.as_slice();
        let mut rows = Vec::with_capacity(lengths.len());
        for length in lengths {
            let row = rest.split_at_checked(length as usize);
            let (row, behind) =
                row.ok_or_else(|| format!("`{name}.lengths` add up to more than there is"))?;
            rows.push(row.to_vec());
            rest = behind;
        }
        match rest.is_empty() {
            true => Ok(rows),
            false => Err(format!("`{name}.lengths` add up to less than there is")),
        }
    }
}

/// A tensor to write: name, type, shape, bytes.
pub(super) type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

/// A square matrix to write.
pub(super) fn square(name: String, dim: usize, numbers: &[f64]) -> Entry {
    (name, Dtype::F64, vec![dim, dim], numbers.iter().flat_map(|x| x.to_le_bytes()).collect())
}

/// Rows of token ids to write: `NAME.ids`, one behind the other, and `NAME.lengths`.
pub(super) fn rows(name: &str, rows: &[Vec<u32>]) -> [Entry; 2] {
    let vector = |part: &str, numbers: Vec<u32>| {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        (format!("{name}.{part}"), Dtype::U32, vec![numbers.len()], bytes)
    };
    let lengths = rows.iter().map(|row| u32::try_from(row.len()).unwrap_or(u32::MAX)).collect();
    [vector("ids", rows.concat()), vector("lengths", lengths)]
}

/// Whether the beginning of a file says a format of this family.
pub(super) fn begins(head: &[u8], family: &str) -> bool {
    let format = |head| -> Option<String> {
        let (_, header) = SafeTensors::read_metadata(head).ok()?;
        header.metadata().as_ref()?.get("format").cloned()
    };
    format(head).is_some_and(|format| format.starts_with(family))
}

/// The bytes of a file; the same content is the same bytes.
pub(super) fn encode(metadata: &[(&str, String)], entries: &[Entry]) -> io::Result<Vec<u8>> {
    let other = |error: safetensors::SafeTensorError| io::Error::other(error.to_string());
    let views = entries
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(other)?;
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let mut bytes = safetensors::serialize(views, Some(metadata)).map_err(other)?;
    recant_checkpoint::order_metadata_of(&mut bytes);
    Ok(bytes)
}

/// Bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
