//! The end that every format of ours has: BLAKE3 of all bytes before it.
//!
//! ```text
//! magic    8   "RCNTSUM1"
//! payload      bytes that begin with their own magic and version
//! digest   32  BLAKE3 of everything before
//! ```
//!
//! Payloads that are safetensors are not wrapped, so that other tools read them: their last tensor, `blake3`, is the
//! same 32 bytes at the same place (`sheet` in this crate's source).

/// How a sealed file begins. It differs in more than a bit from every payload's own magic.
pub const MAGIC: &[u8; 8] = b"RCNTSUM1";
/// Length of the digest at the end.
pub const DIGEST: usize = 32;

/// A payload, and whether a checksum vouched for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealed<'a> {
    /// The payload.
    pub payload: &'a [u8],
    /// Whether it stood in a seal; bytes without one are taken for a file of a version before there were any.
    pub checked: bool,
}

/// The bytes do not have the checksum that stands at their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged or cut: its bytes do not have the checksum that stands at its end")]
pub struct Damaged;

/// A payload in its seal.
#[must_use]
pub fn seal(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + payload.len() + DIGEST);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&recant_core::bytes_digest(&bytes));
    bytes
}

/// The payload of a sealed file; a file that does not begin as one is its own payload.
///
/// # Errors
/// [`Damaged`].
pub fn unseal(bytes: &[u8]) -> Result<Unsealed<'_>, Damaged> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Ok(Unsealed { payload: bytes, checked: false });
    };
    let (payload, _) = rest.split_last_chunk::<DIGEST>().ok_or(Damaged)?;
    if ends_with_digest(bytes) { Ok(Unsealed { payload, checked: true }) } else { Err(Damaged) }
}

/// Whether the payload of a file that begins with `head` begins with `magic`, sealed or not. Nothing is checked.
#[must_use]
pub fn begins(head: &[u8], magic: &[u8]) -> bool {
    head.strip_prefix(MAGIC).unwrap_or(head).starts_with(magic)
}

/// Whether the header in `head` names a format of this family of safetensors. Nothing else is checked.
#[must_use]
pub fn sheet_begins(head: &[u8], family: &str) -> bool {
    let header = safetensors::SafeTensors::read_metadata(head).ok();
    let metadata = header.and_then(|(_, header)| header.metadata().clone());
    metadata.and_then(|fields| fields.get("format").map(|format| format.starts_with(family))).unwrap_or(false)
}

/// Whether the last 32 bytes are the digest of those before them.
pub(crate) fn ends_with_digest(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<DIGEST>().is_some_and(|(all, digest)| recant_core::bytes_digest(all) == *digest)
}

/// The same bytes with the digest at their end made right, for fuzzers: what lies behind a checksum is tried too.
/// Shorter bytes than a digest stay as they are.
pub fn mend(bytes: &mut [u8]) {
    if let Some((all, digest)) = bytes.split_last_chunk_mut::<DIGEST>() {
        *digest = recant_core::bytes_digest(all);
    }
}
