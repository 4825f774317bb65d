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
    sheet_note(head, "format").is_some_and(|format| format.starts_with(family))
}

/// A note of the safetensors file that begins with `head`, which holds the header and need not hold more.
/// Nothing else is checked.
#[must_use]
pub fn sheet_note(head: &[u8], key: &str) -> Option<String> {
    // Not by `SafeTensors::read_metadata`: it refuses bytes that are not the whole file.
    let (length, rest) = head.split_first_chunk::<8>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header: serde_json::Value = serde_json::from_slice(header).ok()?;
    header.get("__metadata__")?.get(key)?.as_str().map(str::to_owned)
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

#[cfg(test)]
mod tests {
    use super::sheet_begins;

    /// A sheet is larger than what is read of it to know its kind.
    #[test]
    fn the_head_of_a_long_sheet_tells_its_family() {
        let header = br#"{"__metadata__":{"format":"recant-factors-2"},"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}"#;
        let mut head = (header.len() as u64).to_le_bytes().to_vec();
        head.extend(header);
        assert!(sheet_begins(&head, "recant-factors-"));
        head.push(0);
        assert!(sheet_begins(&head, "recant-factors-"));
        assert!(!sheet_begins(&head, "recant-moments-"));
        assert!(!sheet_begins(&head[..40], "recant-factors-"));
        assert!(!sheet_begins(&[255; 20], "recant-factors-"));
    }
}
