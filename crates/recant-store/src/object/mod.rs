//! The values that the store holds, as plain data with canonical encodings.
//!
//! Every encoding begins with bytes that name its kind, and an object's id is BLAKE3 of its encoding, so ids
//! of different kinds cannot meet. The layouts stand here and, gathered, in `docs/format.md`.

mod blob;
mod commit;
mod facts;
pub(crate) mod files;
mod manifest;
mod operation;
mod tensor;

pub use blob::Blob;
pub use commit::{Commit, Deed, FactRecord, Ledger, Record, Signature};
pub use facts::{FactSet, Union};
pub use files::FilesError;
pub(crate) use manifest::model_digest;
pub use manifest::{Apart, Manifest, Part, Way};
pub use operation::{Head, Operation, Step, View};
pub use tensor::{decode_tensor, encode_tensor};

pub(crate) use tensor::{MAGIC as TENSOR_MAGIC, TensorHead};

use recant_core::{ObjectId, WeightPatch};

use crate::codec::DecodeError;

/// The kind of an object, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A tensor.
    Tensor,
    /// A manifest: parameter path to tensor id.
    Manifest,
    /// A weight patch.
    Patch,
    /// A commit.
    Commit,
    /// An operation: one line of the store's own history.
    Operation,
    /// A set of facts with their payloads: an edit ledger.
    Facts,
    /// Opaque bytes with a type: an adapter's state, statistics, a tokenizer file.
    Blob,
}

impl Kind {
    const ALL: [(Self, &'static [u8], &'static str); 7] = [
        (Self::Tensor, TENSOR_MAGIC, "tensor"),
        (Self::Manifest, manifest::MAGIC, "manifest"),
        (Self::Patch, b"RCNTPAT1", "patch"),
        (Self::Commit, commit::MAGIC, "commit"),
        (Self::Operation, operation::MAGIC, "operation"),
        (Self::Facts, facts::MAGIC, "fact set"),
        (Self::Blob, blob::MAGIC, "blob"),
    ];

    /// The kind of an encoding; `None` when it begins like none of them.
    #[must_use]
    pub fn of(payload: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(_, magic, _)| payload.starts_with(magic)).map(|(kind, ..)| *kind)
    }

    /// The kind's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or("object", |(.., name)| name)
    }
}

/// The id of an encoding: BLAKE3 of it.
#[must_use]
pub fn object_id(payload: &[u8]) -> ObjectId {
    ObjectId::from_bytes(recant_core::bytes_digest(payload))
}

/// What an object refers to, and the kind that has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The other object.
    pub id: ObjectId,
    /// Its kind.
    pub kind: Kind,
}

impl Kind {
    /// A reference to an object of this kind.
    pub(crate) fn at(self, id: impl Into<ObjectId>) -> Reference {
        Reference { id: id.into(), kind: self }
    }
}

/// What an object refers to, after checking that its bytes are the one encoding of a value. Tensors are told
/// by their head alone.
///
/// # Errors
/// [`DecodeError`] on anything that the encoder of its kind would not have written.
pub fn references(payload: &[u8]) -> Result<(Kind, Vec<Reference>), DecodeError> {
    let kind = Kind::of(payload).ok_or(DecodeError::Magic { kind: "object" })?;
    let references = match kind {
        Kind::Tensor => {
            decode_tensor(payload.to_vec().into())?;
            Vec::new()
        }
        Kind::Manifest => Manifest::decode(payload)?.references(),
        Kind::Patch => patch_references(&WeightPatch::decode(payload)?),
        Kind::Commit => Commit::decode(payload)?.references(),
        Kind::Operation => Operation::decode(payload)?.references(),
        Kind::Facts => {
            FactSet::decode(payload)?;
            Vec::new()
        }
        Kind::Blob => {
            Blob::decode(payload)?;
            Vec::new()
        }
    };
    Ok((kind, references))
}

/// A swap needs its tensor; the base of an addition is only a condition.
fn patch_references(patch: &WeightPatch) -> Vec<Reference> {
    let after = |change: &recant_core::Change| match change.delta {
        recant_core::Delta::Swap { after } => Some(Kind::Tensor.at(after)),
        recant_core::Delta::Add(_) => None,
    };
    patch.changes().values().filter_map(after).collect()
}
