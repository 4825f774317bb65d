//! A value that has a file of its own.

use std::path::Path;

use recant_core::{AdapterState, DecodeError, StateDecodeError, WeightPatch};

use crate::SheetError;
use crate::ledger::{Ledger, LedgerDecodeError};
use crate::seal::{self, Damaged, Unsealed};

/// A value read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened<T> {
    /// The value.
    pub value: T,
    /// Whether a checksum vouched for every byte. Files of earlier versions have none.
    pub checked: bool,
}

impl<T> Opened<T> {
    /// What to tell a person about a file without a checksum.
    #[must_use]
    pub fn note(&self, path: &Path) -> Option<String> {
        (!self.checked).then(|| {
            let path = path.display();
            format!("{path} was written by an earlier version and carries no checksum, so damage in it may go unseen")
        })
    }

    /// The same about another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Opened<U> {
        Opened { value: f(self.value), checked: self.checked }
    }
}

/// Bytes are not a record of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The checksum is another one.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// They begin otherwise.
    #[error("this is no {kind} of recant, or its beginning is damaged")]
    Foreign {
        /// What was expected.
        kind: &'static str,
    },
    /// A weight patch is not one.
    #[error(transparent)]
    Patch(#[from] DecodeError),
    /// A memory is not one.
    #[error(transparent)]
    State(#[from] StateDecodeError),
    /// A ledger is not one.
    #[error(transparent)]
    Ledger(#[from] LedgerDecodeError),
    /// Safetensors do not hold what they should.
    #[error(transparent)]
    Sheet(#[from] SheetError),
}

impl RecordError {
    /// Whether a checksum says that bytes changed since they were written.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Sheet(SheetError::Damaged(_)))
    }
}

/// A value with a file form whose every byte is under a checksum.
pub trait Record: Sized {
    /// What a person calls it.
    const KIND: &'static str;

    /// The file's bytes.
    fn to_file(&self) -> Vec<u8>;

    /// Reads a file of this version or an earlier one. Memory is bounded by the input, and the bytes of this version are
    /// those that [`Record::to_file`] would write.
    ///
    /// # Errors
    /// [`RecordError`].
    fn from_file(bytes: &[u8]) -> Result<Opened<Self>, RecordError>;
}

/// Opens a payload that begins with `magic`.
fn payload<T, E>(
    bytes: &[u8],
    magic: &[u8],
    kind: &'static str,
    decode: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<Opened<T>, RecordError>
where
    RecordError: From<E>,
{
    let Unsealed { payload, checked } = seal::unseal(bytes)?;
    if !payload.starts_with(magic) {
        return Err(RecordError::Foreign { kind });
    }
    Ok(Opened { value: decode(payload)?, checked })
}

const PATCH: &[u8] = b"RCNTPAT1";
const STATE: &[u8] = b"RCNTADP1";

impl Record for WeightPatch {
    const KIND: &'static str = "patch";

    fn to_file(&self) -> Vec<u8> {
        seal::seal(&self.encode())
    }

    fn from_file(bytes: &[u8]) -> Result<Opened<Self>, RecordError> {
        payload(bytes, PATCH, Self::KIND, Self::decode)
    }
}

impl Record for AdapterState {
    const KIND: &'static str = "memory";

    fn to_file(&self) -> Vec<u8> {
        seal::seal(&self.encode())
    }

    fn from_file(bytes: &[u8]) -> Result<Opened<Self>, RecordError> {
        payload(bytes, STATE, Self::KIND, Self::decode)
    }
}

impl Record for Ledger {
    const KIND: &'static str = "ledger";

    fn to_file(&self) -> Vec<u8> {
        seal::seal(&self.encode())
    }

    fn from_file(bytes: &[u8]) -> Result<Opened<Self>, RecordError> {
        payload(bytes, crate::ledger::MAGIC, Self::KIND, Self::decode)
    }
}

/// What a file holds that can hold edits.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyRecord {
    /// What a memory learned.
    Memory(AdapterState),
    /// A ledger.
    Ledger(Ledger),
    /// A change of weights.
    Patch(WeightPatch),
}

impl AnyRecord {
    /// Opens a file by how its payload begins.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn from_file(bytes: &[u8]) -> Result<Opened<Self>, RecordError> {
        match seal::unseal(bytes)?.payload {
            payload if payload.starts_with(STATE) => Ok(AdapterState::from_file(bytes)?.map(Self::Memory)),
            payload if payload.starts_with(crate::ledger::MAGIC) => {
                Ok(Ledger::from_file(bytes)?.map(Self::Ledger))
            }
            payload if payload.starts_with(PATCH) => Ok(WeightPatch::from_file(bytes)?.map(Self::Patch)),
            _ => Err(RecordError::Foreign { kind: "memory, ledger or patch" }),
        }
    }
}
