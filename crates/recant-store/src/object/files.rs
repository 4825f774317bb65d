//! How a model's tensors lie in its files of weights, as a blob.
//!
//! One file, `model.safetensors`: a blob of the type `file`, whose bytes are the header without its length. Several, or
//! one of another name: a blob of the type `shards`:
//!
//! ```text
//! magic  8   "RCNTSHD1"
//! files      u32 count; for each, names ascending: text name, bytes header
//! list       u8 0, or 1 and bytes: model.safetensors.index.json
//! ```

use recant_checkpoint::{Header, HeaderError, Layout, SHARD_LIST, Twice, WEIGHTS, WeightFile};

use super::Blob;
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::name::{FileName, Name, NameError};

const MAGIC: &[u8] = b"RCNTSHD1";
/// Type of the blob of one file.
const FILE: &str = "file";
/// Type of the blob of shards.
const SHARDS: &str = "shards";

/// A blob does not say how tensors lie in files.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// It is none of the types that do.
    #[error("it is a blob of the type {kind}")]
    Kind {
        /// The type.
        kind: Name,
    },
    /// It does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A header is not valid.
    #[error("{file}: {source}")]
    Header {
        /// The file.
        file: String,
        /// What is wrong.
        source: HeaderError,
    },
    /// Two files hold the same tensor.
    #[error("tensor `{}` is in {} and in {}", .0.tensor, .0.files[0], .0.files[1])]
    Twice(Box<Twice>),
}

/// The blob of a layout.
///
/// # Errors
/// [`NameError`] when a file has a name that a store does not carry.
pub(crate) fn encode(layout: &Layout) -> Result<Blob, NameError> {
    let json = |file: &WeightFile| file.head.get(8..).unwrap_or_default().to_vec();
    if let ([file], None) = (&layout.files[..], &layout.list)
        && file.name == WEIGHTS
    {
        return Ok(Blob { kind: Name::new(FILE)?, bytes: json(file) });
    }
    let mut out = Encoder::new(MAGIC);
    out.count(layout.files.len());
    for file in &layout.files {
        out.text(FileName::new(file.name.clone())?.as_str());
        out.bytes(&json(file));
    }
    match &layout.list {
        None => out.u8(0),
        Some(list) => {
            out.u8(1);
            out.bytes(list);
        }
    }
    Ok(Blob { kind: Name::new(SHARDS)?, bytes: out.finish() })
}

/// The layout that a blob says.
///
/// # Errors
/// [`FilesError`].
pub(crate) fn decode(blob: &Blob) -> Result<Layout, FilesError> {
    match blob.kind.as_str() {
        FILE => Ok(Layout::new(vec![weight_file(WEIGHTS, &blob.bytes)?], None).map_err(FilesError::Twice)?),
        SHARDS => shards(&blob.bytes),
        _ => Err(FilesError::Kind { kind: blob.kind.clone() }),
    }
}

fn shards(bytes: &[u8]) -> Result<Layout, FilesError> {
    let mut input = Decoder::new("list of shards", MAGIC, bytes)?;
    let mut files: Vec<WeightFile> = Vec::new();
    for _ in 0..input.count()? {
        let name = FileName::new(input.text()?).map_err(DecodeError::from)?.to_string();
        input.ascends(files.last().map(|last| &last.name), &name, &name)?;
        if name == SHARD_LIST || name.contains('/') {
            return Err(input.inconsistent(format!("{name} cannot be a shard")).into());
        }
        files.push(weight_file(&name, input.bytes()?)?);
    }
    let list = match input.u8()? {
        0 => None,
        1 => Some(input.bytes()?.to_vec().into()),
        tag => return Err(input.tag("whether there is a list", tag).into()),
    };
    input.finish()?;
    Layout::new(files, list).map_err(FilesError::Twice)
}

fn weight_file(name: &str, json: &[u8]) -> Result<WeightFile, FilesError> {
    let header =
        Header::parse(json).map_err(|source| FilesError::Header { file: name.to_owned(), source })?;
    let head = [&(json.len() as u64).to_le_bytes()[..], json].concat();
    Ok(WeightFile { name: name.to_owned(), header, head: head.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(names: &[&str], list: Option<&[u8]>) -> Layout {
        let header = |i: usize| {
            format!(r#"{{"w{i}":{{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}}}  "#).into_bytes()
        };
        let files = names.iter().enumerate().map(|(i, name)| weight_file(name, &header(i)).unwrap());
        Layout::new(files.collect(), list.map(|list| list.to_vec().into())).unwrap()
    }

    #[test]
    fn what_is_stored_comes_back() {
        for (layout, kind) in [
            (layout(&[WEIGHTS], None), FILE),
            (layout(&["a.safetensors", "b.safetensors"], Some(b"{}")), SHARDS),
            (layout(&["other.safetensors"], None), SHARDS),
        ] {
            let blob = encode(&layout).unwrap();
            assert_eq!((blob.kind.as_str(), decode(&blob).unwrap()), (kind, layout));
            if kind == SHARDS {
                for len in 0..blob.bytes.len() {
                    let cut = Blob { bytes: blob.bytes[..len].to_vec(), ..blob.clone() };
                    assert!(decode(&cut).is_err(), "{len}");
                }
            }
        }
        let other = Blob { kind: Name::new("grace").unwrap(), bytes: Vec::new() };
        assert!(matches!(decode(&other), Err(FilesError::Kind { .. })));
        let blob = encode(&layout(&["a", "b"], None)).unwrap();
        let twice = Blob { bytes: blob.bytes.replace(b"w1", b"w0"), ..blob };
        assert!(matches!(decode(&twice), Err(FilesError::Twice(_))));
    }

    trait Replace {
        fn replace(&self, from: &[u8; 2], to: &[u8; 2]) -> Vec<u8>;
    }

    impl Replace for Vec<u8> {
        fn replace(&self, from: &[u8; 2], to: &[u8; 2]) -> Vec<u8> {
            let mut bytes = self.clone();
            if let Some(at) = self.windows(2).position(|pair| pair == from) {
                bytes[at..at + 2].copy_from_slice(to);
            }
            bytes
        }
    }
}
