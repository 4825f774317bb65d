//! Content ids. Each kind of object has its own type, so that a tensor's id never meets a patch's.

use std::fmt;
use std::str::FromStr;

/// BLAKE3 of raw bytes, for files that have no structure of their own (a corpus, a statistics file).
#[must_use]
pub fn bytes_digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Bytes in lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A string is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a content id: 64 lower-case hexadecimal digits are expected")]
pub struct DigestParseError {
    /// What was given.
    pub text: String,
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex(text: &str) -> Result<[u8; 32], DigestParseError> {
    let refuse = || DigestParseError { text: text.to_owned() };
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(refuse());
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(refuse()),
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(bytes)
}

macro_rules! id_type {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// An id from its 32 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first twelve hexadecimal digits, for a person's eyes.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string()[..12].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = DigestParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text).map(Self)
            }
        }
    };
}

id_type! {
    /// Content id of one tensor: BLAKE3 over its dtype tag, rank, dimensions and bytes
    /// (the exact layout stands at [`HostTensor::id`](crate::HostTensor::id)).
    TensorId
}
id_type! {
    /// Content id of all weights of a model: BLAKE3 over its parameter paths and tensor ids in path order
    /// (the exact layout stands at [`Weights::digest`](crate::Weights::digest)).
    ModelDigest
}
id_type! {
    /// Content id of a weight patch: BLAKE3 of its canonical encoding.
    PatchId
}
id_type! {
    /// Content id of what an adapter learned: BLAKE3 of its canonical encoding.
    AdapterId
}
id_type! {
    /// Content id of any stored object: BLAKE3 of its canonical bytes, which begin by naming its kind. The
    /// typed ids of stored objects turn into it.
    ObjectId
}
id_type! {
    /// Content id of a manifest (parameter path to tensor id): BLAKE3 of its canonical encoding.
    ManifestId
}
id_type! {
    /// Content id of a commit: BLAKE3 of its canonical encoding.
    CommitId
}
id_type! {
    /// Content id of an operation: BLAKE3 of its canonical encoding.
    OperationId
}

macro_rules! is_object {
    ($($name:ident),*) => {$(
        impl From<$name> for ObjectId {
            fn from(id: $name) -> Self {
                Self(id.0)
            }
        }
    )*};
}

is_object!(TensorId, PatchId, ManifestId, CommitId, OperationId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips() {
        let id = TensorId::from_bytes(bytes_digest(b"x"));
        assert_eq!(id.to_string().parse::<TensorId>(), Ok(id));
        assert_eq!(id.short().len(), 12);
    }

    #[test]
    fn only_canonical_hex_parses() {
        for text in ["", "00", &"A".repeat(64), &"g".repeat(64), &"é".repeat(32)] {
            assert!(text.parse::<TensorId>().is_err(), "{text}");
        }
    }
}
