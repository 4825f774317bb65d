//! Opaque bytes with a type.
//!
//! ```text
//! magic  8   "RCNTBLB1"
//! type   u32 length, then a name such as `file`, `grace`, `statistics`
//! bytes      to the end
//! ```

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::name::Name;

pub(super) const MAGIC: &[u8] = b"RCNTBLB1";

/// Opaque bytes with a type: an adapter's state, statistics, a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// What the bytes are, for whoever reads them.
    pub kind: Name,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        out.text(self.kind.as_str());
        out.raw(&self.bytes);
        out.finish()
    }

    /// Reads a blob back.
    ///
    /// # Errors
    /// [`DecodeError`] on anything that [`Blob::encode`] would not have written.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new("blob", MAGIC, payload)?;
        let kind = Name::new(input.text()?)?;
        Ok(Self { kind, bytes: input.rest().to_vec() })
    }
}
