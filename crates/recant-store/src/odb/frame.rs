//! The head of an object's file: how its bytes are got.
//!
//! ```text
//! magic   8  "RCNTOBJ1"
//! form    u8
//!  0 plain    the object's bytes, to the end of the file
//!  1 packed   u64 the object's length, u8 width (1, 2, 4, 8), u64 length of the packed bytes, then blocks:
//!             u32 packed length, that many bytes; see pack.rs
//!  2 link     path (u32 length, bytes), u64 offset, head (u32 length, bytes): the object is the head
//!             followed by what stands in the file from the offset on, as much as the tensor needs
//!  3 tensor   u32 steps, base 32, path (u32 length, bytes), u32 count, patch ids 32 each:
//!             the base tensor with the patches' additions to that path, in order
//!  4 manifest u32 steps, base 32, u32 count, then path (u32 length, bytes) and tensor id 32 each, ascending:
//!             the base manifest with these tensors in place
//! ```
//!
//! `steps` counts what has to be computed from objects that are plain, packed or linked. It is at most 128 for
//! a tensor and 64 for a manifest; readers count for themselves, and fsck compares.

use std::collections::BTreeMap;
use std::path::PathBuf;

use recant_core::{ManifestId, ObjectId, ParamPath, PatchId, TensorId};

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::object::TensorHead;

pub(super) const MAGIC: &[u8] = b"RCNTOBJ1";
const KIND: &str = "object file";

/// How an object is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Form {
    /// As it is.
    Plain,
    /// Compressed.
    Packed,
    /// In a file outside the store.
    Linked,
    /// As what it follows from.
    Derived,
}

/// A tensor's bytes in a file outside the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkFrame {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) head: TensorHead,
}

/// A head with what follows it, for the forms that are small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Plain,
    Packed { len: u64, width: u8, packed: u64 },
    Link(LinkFrame),
    Tensor { steps: u32, base: TensorId, path: ParamPath, patches: Vec<PatchId> },
    Manifest { steps: u32, base: ManifestId, changed: BTreeMap<ParamPath, TensorId> },
}

impl Frame {
    /// The form of a link.
    pub(super) const LINK: u8 = 2;
    /// Bytes before a plain object.
    pub(super) const PLAIN_LEN: usize = MAGIC.len() + 1;
    /// Bytes before the blocks of a packed object.
    pub(super) const PACKED_LEN: usize = MAGIC.len() + 1 + 8 + 1 + 8;

    /// A tensor this many steps from stored bytes is stored as bytes itself, which bounds what a checkout of it
    /// costs: about a second for a matrix of ten million numbers.
    pub(super) const TENSOR_STEPS: u32 = 128;
    /// The same for manifests, which cost one small file a step.
    pub(super) const MANIFEST_STEPS: u32 = 64;

    /// What a derived object is made from, and in how many steps; `None` for the other forms.
    pub(crate) fn base(&self) -> Option<(ObjectId, u32)> {
        match self {
            Self::Tensor { base, patches, .. } => {
                Some(((*base).into(), u32::try_from(patches.len()).unwrap_or(u32::MAX)))
            }
            Self::Manifest { base, .. } => Some(((*base).into(), 1)),
            _ => None,
        }
    }

    /// The steps that a derived object claims.
    pub(crate) fn claimed(&self) -> Option<u32> {
        match self {
            Self::Tensor { steps, .. } | Self::Manifest { steps, .. } => Some(*steps),
            _ => None,
        }
    }

    /// The same with other steps, if it has any.
    pub(super) fn with_steps(mut self, counted: u32) -> Self {
        if let Self::Tensor { steps, .. } | Self::Manifest { steps, .. } = &mut self {
            *steps = counted;
        }
        self
    }

    pub(crate) fn form(&self) -> Form {
        match self {
            Self::Plain => Form::Plain,
            Self::Packed { .. } => Form::Packed,
            Self::Link(_) => Form::Linked,
            Self::Tensor { .. } | Self::Manifest { .. } => Form::Derived,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        match self {
            Self::Plain => out.u8(0),
            Self::Packed { len, width, packed } => {
                out.u8(1);
                out.u64(*len);
                out.u8(*width);
                out.u64(*packed);
            }
            Self::Link(LinkFrame { path, offset, head }) => {
                out.u8(2);
                out.bytes(path.as_os_str().as_encoded_bytes());
                out.u64(*offset);
                out.bytes(&head.encode());
            }
            Self::Tensor { steps, base, path, patches } => {
                out.u8(3);
                out.count(*steps as usize);
                out.id(*base);
                out.text(path.as_str());
                out.ids(patches.iter().copied());
            }
            Self::Manifest { steps, base, changed } => {
                out.u8(4);
                out.count(*steps as usize);
                out.id(*base);
                out.count(changed.len());
                for (path, &id) in changed {
                    out.text(path.as_str());
                    out.id(id);
                }
            }
        }
        out.finish()
    }

    /// Reads a head; of the plain and packed forms `bytes` needs to hold the head alone.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(KIND, MAGIC, bytes)?;
        let frame = match input.u8()? {
            0 => return Ok(Self::Plain),
            1 => {
                let (len, width, packed) = (input.u64()?, input.u8()?, input.u64()?);
                if !matches!(width, 1 | 2 | 4 | 8) {
                    return Err(input.tag("the width", width));
                }
                return Ok(Self::Packed { len, width, packed });
            }
            2 => {
                let path = PathBuf::from(input.text()?);
                let offset = input.u64()?;
                let head = input.bytes()?;
                let (decoded, len) = TensorHead::decode(head)?;
                if len != head.len() {
                    return Err(input.inconsistent("bytes follow the head of the linked tensor"));
                }
                Self::Link(LinkFrame { path, offset, head: decoded })
            }
            3 => {
                let steps = u32::try_from(input.count()?).unwrap_or(u32::MAX);
                let base = TensorId::from_bytes(input.digest()?);
                let path = input.path()?;
                let n_patches = input.count()?;
                if n_patches == 0 || (steps as usize) < n_patches {
                    return Err(input.inconsistent("it counts fewer steps than it has patches"));
                }
                if steps > Self::TENSOR_STEPS {
                    return Err(input.inconsistent(format!("it claims {steps} steps")));
                }
                let mut patches = Vec::new();
                for _ in 0..n_patches {
                    patches.push(PatchId::from_bytes(input.digest()?));
                }
                Self::Tensor { steps, base, path, patches }
            }
            4 => {
                let steps = u32::try_from(input.count()?).unwrap_or(u32::MAX);
                let base = ManifestId::from_bytes(input.digest()?);
                let mut changed = BTreeMap::new();
                for _ in 0..input.count()? {
                    let path = input.path()?;
                    input.ascends(changed.last_key_value().map(|(last, _)| last), &path, &path)?;
                    changed.insert(path, TensorId::from_bytes(input.digest()?));
                }
                if !(1..=Self::MANIFEST_STEPS).contains(&steps) {
                    return Err(input.inconsistent(format!("it claims {steps} steps")));
                }
                Self::Manifest { steps, base, changed }
            }
            tag => return Err(input.tag("the form", tag)),
        };
        input.finish()?;
        Ok(frame)
    }
}
