//! Compression of numbers: byte planes, then deflate, in blocks of 1 MiB.
//!
//! The bytes of a block are sorted by their place in an element (all first bytes, then all second bytes, and
//! so on), because a float's sign and exponent repeat from element to element and its mantissa does not. A
//! block whose length is no multiple of the width keeps its last bytes as they are.
//!
//! Deflate can claim a thousand bytes for one. What is written here never claims more than [`MAX_GAIN`], and
//! what claims more is refused before anything is allocated, so a file cannot make a reader take more than
//! `MAX_GAIN` times its own length.

use std::io::{self, Read, Write};

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

/// Bytes of a block before packing.
pub(super) const BLOCK: usize = 1 << 20;
/// Greatest believed ratio of unpacked to packed bytes.
pub(super) const MAX_GAIN: u64 = 64;
/// Deflate's fast end: the gain on weights is all in the exponent bytes, which any level finds.
const LEVEL: u8 = 2;

/// Packs what `input` gives.
pub(super) fn pack(input: &mut dyn Read, width: u8, output: &mut dyn Write) -> io::Result<u64> {
    let mut written = 0;
    loop {
        let mut block = Vec::new();
        input.take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(written);
        }
        let packed = compress_to_vec(&split(&block, usize::from(width)), LEVEL);
        let len = u32::try_from(packed.len()).map_err(|_| io::Error::other("a packed block of 4 GiB"))?;
        output.write_all(&len.to_le_bytes())?;
        output.write_all(&packed)?;
        written += 4 + packed.len() as u64;
    }
}

/// Unpacks `len` bytes, block by block, into `output`. The caller has checked `len` against [`MAX_GAIN`].
pub(super) fn unpack(
    input: &mut dyn Read,
    len: u64,
    width: u8,
    mut output: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let bad = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut left = len;
    while left > 0 {
        let mut prefix = [0; 4];
        input.read_exact(&mut prefix)?;
        let packed_len = u64::from(u32::from_le_bytes(prefix));
        // Deflate stores what it cannot shrink with five bytes for each 65535.
        if packed_len > BLOCK as u64 + 1024 {
            return Err(bad(format!("a packed block claims {packed_len} bytes")));
        }
        let mut packed = Vec::new();
        input.take(packed_len).read_to_end(&mut packed)?;
        let expected = left.min(BLOCK as u64) as usize;
        let block = decompress_to_vec_with_limit(&packed, expected)
            .map_err(|error| bad(format!("a packed block does not unpack: {:?}", error.status)))?;
        if block.len() != expected {
            return Err(bad(format!("a packed block has {} bytes instead of {expected}", block.len())));
        }
        output(&join(&block, usize::from(width)))?;
        left -= expected as u64;
    }
    match input.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(bad("bytes follow the last packed block".to_owned())),
    }
}

fn split(block: &[u8], width: usize) -> Vec<u8> {
    let whole = block.len() / width * width;
    let mut out = Vec::with_capacity(block.len());
    for place in 0..width {
        out.extend(block[..whole].iter().skip(place).step_by(width));
    }
    out.extend_from_slice(&block[whole..]);
    out
}

fn join(planes: &[u8], width: usize) -> Vec<u8> {
    let n_elements = planes.len() / width;
    let mut out = planes.to_vec();
    for place in 0..width {
        let plane = &planes[place * n_elements..(place + 1) * n_elements];
        for (byte, &from) in out.iter_mut().skip(place).step_by(width).zip(plane) {
            *byte = from;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks() {
        for width in [1, 2, 4, 8] {
            for len in [0, 1, 7, 1000, BLOCK, BLOCK + 3, 2 * BLOCK] {
                let bytes: Vec<u8> = (0..len).map(|i| (i * i % 251) as u8).collect();
                let mut packed = Vec::new();
                pack(&mut &bytes[..], width, &mut packed).unwrap();
                let mut out = Vec::new();
                unpack(&mut &packed[..], len as u64, width, |block| {
                    out.extend_from_slice(block);
                    Ok(())
                })
                .unwrap();
                assert!(out == bytes, "{width} {len}");
            }
        }
    }

    #[test]
    fn planes_stand_one_after_another() {
        assert_eq!(split(&[1, 2, 3, 4, 5], 2), [1, 3, 2, 4, 5]);
        assert_eq!(join(&[1, 3, 2, 4, 5], 2), [1, 2, 3, 4, 5]);
    }
}
