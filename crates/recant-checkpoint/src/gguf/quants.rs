//! How tensors of a GGUF file are stored: in blocks of small integers with scales, as ggml defines them.
//!
//! Each number is computed as ggml does, with the same roundings to f32 in the same order.

use half::f16;
use recant_core::Dtype;

/// How a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "these are ggml's names")]
pub(super) enum Quant {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// Elements of a small block.
const SMALL: usize = 32;
/// Elements of a large block, which ggml calls QK_K.
const LARGE: usize = 256;

impl Quant {
    /// Each kind with its number in the file, its name, elements of a block, and bytes of a block.
    const ALL: [(Self, u32, &'static str, usize, usize); 11] = [
        (Self::F32, 0, "F32", 1, 4),
        (Self::F16, 1, "F16", 1, 2),
        (Self::Q4_0, 2, "Q4_0", SMALL, 18),
        (Self::Q4_1, 3, "Q4_1", SMALL, 20),
        (Self::Q5_0, 6, "Q5_0", SMALL, 22),
        (Self::Q5_1, 7, "Q5_1", SMALL, 24),
        (Self::Q8_0, 8, "Q8_0", SMALL, 34),
        (Self::Q4_K, 12, "Q4_K", LARGE, 144),
        (Self::Q5_K, 13, "Q5_K", LARGE, 176),
        (Self::Q6_K, 14, "Q6_K", LARGE, 210),
        (Self::BF16, 30, "BF16", 1, 2),
    ];

    /// The kinds of ggml that are not read.
    const OTHERS: [(u32, &'static str); 28] = [
        (4, "Q4_2"),
        (5, "Q4_3"),
        (9, "Q8_1"),
        (10, "Q2_K"),
        (11, "Q3_K"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (25, "I16"),
        (26, "I32"),
        (27, "I64"),
        (28, "F64"),
        (29, "IQ1_M"),
        (31, "Q4_0_4_4"),
        (32, "Q4_0_4_8"),
        (33, "Q4_0_8_8"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
        (39, "MXFP4"),
        (40, "NVFP4"),
        (41, "Q1_0"),
    ];

    /// The kind with this number; otherwise what to call it.
    pub(super) fn from_tag(tag: u32) -> Result<Self, String> {
        if let Some((quant, ..)) = Self::ALL.iter().find(|(_, known, ..)| *known == tag) {
            return Ok(*quant);
        }
        let other = Self::OTHERS.iter().find(|(known, _)| *known == tag);
        Err(other.map_or_else(|| format!("ggml type {tag}"), |(_, name)| (*name).to_owned()))
    }

    fn row(self) -> &'static (Self, u32, &'static str, usize, usize) {
        // Every kind is in the table.
        Self::ALL.iter().find(|(quant, ..)| *quant == self).unwrap_or(&Self::ALL[0])
    }

    /// ggml's name.
    pub(super) fn name(self) -> &'static str {
        self.row().2
    }

    /// Elements and bytes of a block.
    pub(super) fn block(self) -> (usize, usize) {
        (self.row().3, self.row().4)
    }

    /// The type of the tensor that is made of it.
    pub(super) fn dtype(self) -> Dtype {
        match self {
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
            _ => Dtype::F32,
        }
    }

    /// Whether the bytes of the file are those of the tensor.
    pub(super) fn is_plain(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Little-endian f32 from whole blocks; what [`Quant::is_plain`] is copied.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => bytes.to_vec(),
            Self::Q4_0 => each(bytes, q4_0),
            Self::Q4_1 => each(bytes, q4_1),
            Self::Q5_0 => each(bytes, q5_0),
            Self::Q5_1 => each(bytes, q5_1),
            Self::Q8_0 => each(bytes, q8_0),
            Self::Q4_K => each(bytes, q4_k),
            Self::Q5_K => each(bytes, q5_k),
            Self::Q6_K => each(bytes, q6_k),
        }
    }
}

/// Decodes blocks of `BYTES` bytes to `COUNT` numbers each.
fn each<const BYTES: usize, const COUNT: usize>(
    bytes: &[u8],
    decode: fn(&[u8; BYTES]) -> [f32; COUNT],
) -> Vec<u8> {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let mut out = vec![0; blocks.len() * COUNT * 4];
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(COUNT * 4)) {
        for (number, out) in decode(block).iter().zip(out.as_chunks_mut().0) {
            *out = number.to_le_bytes();
        }
    }
    out
}

/// A scale at a place of a block.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The `i`-th integer of 32 whose lower four bits are in 16 bytes: first all lower halves, then all upper ones.
fn nibble(low: &[u8], i: usize) -> u8 {
    if i < 16 { low[i] & 15 } else { low[i - 16] >> 4 }
}

/// The same with a fifth bit from four further bytes.
fn five_bits(low: &[u8], high: &[u8], i: usize) -> u8 {
    nibble(low, i) | (high[i / 8] >> (i % 8) & 1) << 4
}

fn q4_0(block: &[u8; 18]) -> [f32; SMALL] {
    let scale = half_at(block, 0);
    std::array::from_fn(|i| scale * (f32::from(nibble(&block[2..], i)) - 8.0))
}

fn q4_1(block: &[u8; 20]) -> [f32; SMALL] {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    std::array::from_fn(|i| scale * f32::from(nibble(&block[4..], i)) + least)
}

fn q5_0(block: &[u8; 22]) -> [f32; SMALL] {
    let scale = half_at(block, 0);
    std::array::from_fn(|i| scale * (f32::from(five_bits(&block[6..], &block[2..6], i)) - 16.0))
}

fn q5_1(block: &[u8; 24]) -> [f32; SMALL] {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    std::array::from_fn(|i| scale * f32::from(five_bits(&block[8..], &block[4..8], i)) + least)
}

fn q8_0(block: &[u8; 34]) -> [f32; SMALL] {
    let scale = half_at(block, 0);
    std::array::from_fn(|i| f32::from(block[2 + i].cast_signed()) * scale)
}

/// Scale and minimum, of six bits each, of the eight groups of 32 in a block; 12 bytes hold them.
fn six_bits(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (packed[group] & 63, packed[group + 4] & 63);
    }
    let rest = packed[group + 4];
    (rest & 15 | packed[group - 4] >> 6 << 4, rest >> 4 | packed[group] >> 6 << 4)
}

/// A block of eight groups with a scale and a minimum each; `integer` gives the integers.
fn groups(block: &[u8], integer: impl Fn(usize) -> u8) -> [f32; LARGE] {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    let scales: [(f32, f32); 8] = std::array::from_fn(|group| {
        let (of_scale, of_least) = six_bits(&block[4..16], group);
        (scale * f32::from(of_scale), least * f32::from(of_least))
    });
    std::array::from_fn(|i| {
        let (scale, least) = scales[i / 32];
        scale * f32::from(integer(i)) - least
    })
}

/// The lower four bits of the `i`-th integer of 256: 32 bytes hold two groups.
fn nibble_of_groups(low: &[u8], i: usize) -> u8 {
    let byte = low[i / 64 * 32 + i % 32];
    if i % 64 < 32 { byte & 15 } else { byte >> 4 }
}

fn q4_k(block: &[u8; 144]) -> [f32; LARGE] {
    groups(block, |i| nibble_of_groups(&block[16..], i))
}

fn q5_k(block: &[u8; 176]) -> [f32; LARGE] {
    groups(block, |i| nibble_of_groups(&block[48..], i) | (block[16 + i % 32] >> (i / 32) & 1) << 4)
}

fn q6_k(block: &[u8; 210]) -> [f32; LARGE] {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half_at(block, 208);
    let scales: [f32; 16] = std::array::from_fn(|group| scale * f32::from(scales[group].cast_signed()));
    std::array::from_fn(|i| {
        // 128 integers in 64 bytes of lower and 32 bytes of upper bits.
        let (half, within) = (i / 128, i % 128);
        let byte = low[half * 64 + within % 64];
        let lower = if within < 64 { byte & 15 } else { byte >> 4 };
        let upper = high[half * 32 + within % 32] >> (within / 32 * 2) & 3;
        scales[i / 16] * (f32::from(lower | upper << 4) - 32.0)
    })
}
