//! The primitives of every canonical encoding: little-endian numbers, length-prefixed texts.
//!
//! Decoding believes no length before it has seen the bytes, so memory is bounded by the input, and refuses
//! whatever [`Encoder`] would not have written, so that an id is a function of a value.

use std::str;

use recant_core::{ObjectId, ParamPath, ParamPathError};

use crate::name::NameError;

/// Bytes are not an object of the expected kind.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes do not begin as this kind of object does.
    #[error("not a {kind} of a version that this recant knows")]
    Magic {
        /// The kind that was expected.
        kind: &'static str,
    },
    /// The bytes end early.
    #[error("the {kind} ends at byte {at}, where {wanted} more bytes were expected")]
    Truncated {
        /// The kind that was expected.
        kind: &'static str,
        /// Offset at which more was expected.
        at: usize,
        /// Bytes expected there.
        wanted: usize,
    },
    /// There are bytes behind the end.
    #[error("{count} bytes follow the end of the {kind}")]
    Trailing {
        /// The kind that was expected.
        kind: &'static str,
        /// How many.
        count: usize,
    },
    /// A text is not UTF-8.
    #[error("a text of the {kind} is not UTF-8")]
    Utf8 {
        /// The kind that was expected.
        kind: &'static str,
    },
    /// A list that must ascend does not.
    #[error("`{key}` stands out of order or twice in the {kind}")]
    Order {
        /// The kind that was expected.
        kind: &'static str,
        /// The key that does not follow its predecessor.
        key: String,
    },
    /// A byte that chooses between forms has no meaning.
    #[error("{what} of the {kind} is {tag}, which means nothing")]
    Tag {
        /// The kind that was expected.
        kind: &'static str,
        /// What the byte chooses.
        what: &'static str,
        /// The byte.
        tag: u8,
    },
    /// A number is NaN or infinite.
    #[error("`{key}` of the {kind} is not a finite number")]
    NonFinite {
        /// The kind that was expected.
        kind: &'static str,
        /// The number's name.
        key: String,
    },
    /// The parts contradict each other.
    #[error("the {kind} contradicts itself: {reason}")]
    Inconsistent {
        /// The kind that was expected.
        kind: &'static str,
        /// What contradicts what.
        reason: String,
    },
    /// A parameter's name is not acceptable.
    #[error(transparent)]
    Path(#[from] ParamPathError),
    /// A branch's, tag's or file's name is not acceptable.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A patch is not one.
    #[error(transparent)]
    Patch(#[from] recant_core::DecodeError),
}

/// Writes a canonical encoding.
pub(crate) struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(magic: &[u8]) -> Self {
        Self { out: magic.to_vec() }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Ends with a BLAKE3 of everything before, for a file that has no name to hold it to.
    pub(crate) fn sealed(mut self) -> Vec<u8> {
        let digest = blake3::hash(&self.out);
        self.raw(digest.as_bytes());
        self.out
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn u8(&mut self, number: u8) {
        self.out.push(number);
    }

    pub(crate) fn u64(&mut self, number: u64) {
        self.raw(&number.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, number: i64) {
        self.raw(&number.to_le_bytes());
    }

    /// A count, as u32.
    pub(crate) fn count(&mut self, count: usize) {
        self.raw(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    }

    /// Length as u32, then the bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn id(&mut self, id: impl Into<ObjectId>) {
        self.raw(id.into().as_bytes());
    }

    /// 0, or 1 and the id.
    pub(crate) fn maybe_id(&mut self, id: Option<impl Into<ObjectId>>) {
        match id {
            None => self.u8(0),
            Some(id) => {
                self.u8(1);
                self.id(id);
            }
        }
    }

    pub(crate) fn ids<I: Into<ObjectId> + Copy>(&mut self, ids: impl ExactSizeIterator<Item = I>) {
        self.count(ids.len());
        ids.for_each(|id| self.id(id));
    }
}

/// Reads a canonical encoding.
pub(crate) struct Decoder<'a> {
    kind: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Begins behind the magic bytes.
    pub(crate) fn new(kind: &'static str, magic: &[u8], bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if !bytes.starts_with(magic) {
            return Err(DecodeError::Magic { kind });
        }
        Ok(Self { kind, bytes, at: magic.len() })
    }

    /// As [`Decoder::new`], of what [`Encoder::sealed`] ended.
    pub(crate) fn sealed(kind: &'static str, magic: &[u8], bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (body, digest) = bytes.split_at(bytes.len().saturating_sub(32));
        let input = Self::new(kind, magic, body)?;
        if blake3::hash(body).as_bytes()[..] != *digest {
            return Err(input.inconsistent("its digest is another"));
        }
        Ok(input)
    }

    /// Refuses bytes behind the end.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { kind: self.kind, count }),
        }
    }

    /// Bytes from here to the end, which is reached.
    pub(crate) fn rest(self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn raw(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        if rest.len() < len {
            let (kind, at, wanted) = (self.kind, self.bytes.len(), len - rest.len());
            return Err(DecodeError::Truncated { kind, at, wanted });
        }
        self.at += len;
        Ok(&rest[..len])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.raw(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn f64(&mut self, key: &str) -> Result<f64, DecodeError> {
        let number = f64::from_le_bytes(self.array()?);
        // One zero, so that equal values have equal bytes.
        if !number.is_finite() || number.to_bits() == (-0.0f64).to_bits() {
            return Err(DecodeError::NonFinite { kind: self.kind, key: key.to_owned() });
        }
        Ok(number)
    }

    pub(crate) fn count(&mut self) -> Result<usize, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.count()?;
        self.raw(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        str::from_utf8(self.bytes()?).map_err(|_| DecodeError::Utf8 { kind: self.kind })
    }

    pub(crate) fn digest(&mut self) -> Result<[u8; 32], DecodeError> {
        self.array()
    }

    pub(crate) fn array64(&mut self) -> Result<[u8; 64], DecodeError> {
        self.array()
    }

    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(self.tag(what, tag)),
        }
    }

    pub(crate) fn maybe_digest(&mut self, what: &'static str) -> Result<Option<[u8; 32]>, DecodeError> {
        if self.flag(what)? { Ok(Some(self.digest()?)) } else { Ok(None) }
    }

    pub(crate) fn path(&mut self) -> Result<ParamPath, DecodeError> {
        Ok(ParamPath::new(self.text()?)?)
    }

    /// Checks that a list ascends.
    pub(crate) fn ascends<T: Ord>(
        &self,
        last: Option<&T>,
        next: &T,
        key: impl ToString,
    ) -> Result<(), DecodeError> {
        match last {
            Some(last) if last >= next => Err(DecodeError::Order { kind: self.kind, key: key.to_string() }),
            _ => Ok(()),
        }
    }

    pub(crate) fn tag(&self, what: &'static str, tag: u8) -> DecodeError {
        DecodeError::Tag { kind: self.kind, what, tag }
    }

    pub(crate) fn inconsistent(&self, reason: impl Into<String>) -> DecodeError {
        DecodeError::Inconsistent { kind: self.kind, reason: reason.into() }
    }
}
