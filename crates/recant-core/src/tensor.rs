//! A tensor as a checkpoint holds it: element type, shape and little-endian bytes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use half::{bf16, f16};

use crate::{Dtype, TensorId};

/// A tensor on the host. Cloning shares the bytes; the bytes are never changed in place, so the content id is
/// computed once and shared as well.
#[derive(Clone)]
pub struct HostTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Bytes,
    id: Arc<OnceLock<TensorId>>,
}

impl PartialEq for HostTensor {
    fn eq(&self, other: &Self) -> bool {
        // The id follows from the rest.
        (self.dtype, &self.shape, &self.bytes) == (other.dtype, &other.shape, &other.bytes)
    }
}

impl Eq for HostTensor {}

/// Bytes and a shape do not make a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The shape asks for more elements than can be counted.
    #[error("shape {shape:?} has more elements than this machine can count")]
    Overflow {
        /// The shape.
        shape: Vec<usize>,
    },
    /// The byte count differs from what dtype and shape ask for.
    #[error("{found} bytes do not fill a {dtype} tensor of shape {shape:?}, which has {expected}")]
    Length {
        /// Element type.
        dtype: Dtype,
        /// The shape.
        shape: Vec<usize>,
        /// Bytes asked for.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The tensor has another number of sides than its use asks for.
    #[error("a tensor of shape {shape:?} stands where one with {expected} sides is expected")]
    Rank {
        /// The shape.
        shape: Vec<usize>,
        /// Sides expected.
        expected: usize,
    },
    /// Numbers were to be stored in an integer type.
    #[error("{dtype} does not hold real numbers")]
    NotFloat {
        /// Element type.
        dtype: Dtype,
    },
}

impl HostTensor {
    /// A tensor from its little-endian bytes.
    ///
    /// # Errors
    /// [`TensorError::Overflow`] and [`TensorError::Length`] when bytes and shape disagree.
    pub fn new(dtype: Dtype, shape: Vec<usize>, bytes: Bytes) -> Result<Self, TensorError> {
        let count = shape.iter().try_fold(dtype.size(), |product, &side| product.checked_mul(side));
        let Some(expected) = count else {
            return Err(TensorError::Overflow { shape });
        };
        if bytes.len() != expected {
            return Err(TensorError::Length { dtype, shape, expected, found: bytes.len() });
        }
        Ok(Self { dtype, shape, bytes, id: Arc::default() })
    }

    /// A tensor from numbers, each rounded once (to nearest, ties to even) to `dtype`.
    ///
    /// # Errors
    /// [`TensorError::NotFloat`] for an integer type, otherwise as [`HostTensor::new`].
    pub fn from_f32(dtype: Dtype, shape: Vec<usize>, numbers: &[f32]) -> Result<Self, TensorError> {
        let numbers: Vec<f64> = numbers.iter().map(|&x| f64::from(x)).collect();
        Self::from_f64(dtype, shape, &numbers)
    }

    /// As [`HostTensor::from_f32`], from f64: still one rounding.
    ///
    /// # Errors
    /// As [`HostTensor::from_f32`].
    pub fn from_f64(dtype: Dtype, shape: Vec<usize>, numbers: &[f64]) -> Result<Self, TensorError> {
        if !dtype.is_float() {
            return Err(TensorError::NotFloat { dtype });
        }
        let mut bytes = vec![0; numbers.len() * dtype.size()];
        encode(dtype, numbers, &mut bytes);
        Self::new(dtype, shape, bytes.into())
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Sides, slowest first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Little-endian bytes in row order.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Content id: BLAKE3 over `"recant tensor 1"`, the dtype tag (1 byte), the rank (u64 LE), each side
    /// (u64 LE) and the bytes. The bytes are read at the first call; clones share what it found.
    #[must_use]
    pub fn id(&self) -> TensorId {
        *self.id.get_or_init(|| self.hash())
    }

    /// Whether [`HostTensor::id`] is known already, here or by a clone.
    #[must_use]
    pub fn has_id(&self) -> bool {
        self.id.get().is_some()
    }

    fn hash(&self) -> TensorId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"recant tensor 1");
        hasher.update(&[self.dtype.tag()]);
        hasher.update(&(self.shape.len() as u64).to_le_bytes());
        for &side in &self.shape {
            hasher.update(&(side as u64).to_le_bytes());
        }
        hasher.update(&self.bytes);
        TensorId::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The elements as f64, exactly; empty for integer types.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        let mut numbers = vec![0.0; if self.dtype.is_float() { self.len() } else { 0 }];
        decode(self.dtype, &self.bytes, &mut numbers);
        numbers
    }

    /// The elements as f32 (exact but for F64); empty for integer types.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        let bytes = &self.bytes;
        match self.dtype {
            #[expect(clippy::cast_possible_truncation, reason = "documented: F64 is rounded")]
            Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
            _ => Vec::new(),
        }
    }

    /// Index of the first element that is NaN or infinite.
    #[must_use]
    pub fn first_non_finite(&self) -> Option<usize> {
        // On the raw bits, so that a whole checkpoint is scanned without allocating. A block is looked at as a whole first,
        // without a branch for each number.
        fn at<const N: usize>(bytes: &[u8], is_finite: impl Fn([u8; N]) -> bool) -> Option<usize> {
            const BLOCK: usize = 4096;
            let mut blocks = bytes.as_chunks().0.chunks(BLOCK).enumerate();
            blocks.find_map(|(block, numbers)| {
                let clean = numbers.iter().fold(true, |clean, &b| clean & is_finite(b));
                let first = || numbers.iter().position(|&b| !is_finite(b)).map(|at| block * BLOCK + at);
                if clean { None } else { first() }
            })
        }
        let bytes = &self.bytes;
        match self.dtype {
            Dtype::F64 => at(bytes, |b| f64::from_le_bytes(b).is_finite()),
            Dtype::F32 => at(bytes, |b| f32::from_le_bytes(b).is_finite()),
            Dtype::F16 => at(bytes, |b| u16::from_le_bytes(b) & 0x7c00 != 0x7c00),
            Dtype::BF16 => at(bytes, |b| u16::from_le_bytes(b) & 0x7f80 != 0x7f80),
            _ => None,
        }
    }
}

impl std::fmt::Debug for HostTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostTensor({} {:?}, {})", self.dtype, self.shape, self.id().short())
    }
}

/// The elements of a float type as f64, exactly; as many as `numbers` has room for.
pub(crate) fn decode(dtype: Dtype, bytes: &[u8], numbers: &mut [f64]) {
    fn each<const N: usize>(bytes: &[u8], numbers: &mut [f64], read: impl Fn([u8; N]) -> f64) {
        bytes.as_chunks().0.iter().zip(numbers).for_each(|(&b, x)| *x = read(b));
    }
    match dtype {
        Dtype::F64 => each(bytes, numbers, f64::from_le_bytes),
        Dtype::F32 => each(bytes, numbers, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F16 => each(bytes, numbers, |b| f16::from_le_bytes(b).to_f64()),
        Dtype::BF16 => each(bytes, numbers, |b| bf16::from_le_bytes(b).to_f64()),
        _ => {}
    }
}

/// Writes numbers as elements of a float type, each rounded once.
pub(crate) fn encode(dtype: Dtype, numbers: &[f64], bytes: &mut [u8]) {
    fn each<const N: usize>(numbers: &[f64], bytes: &mut [u8], write: impl Fn(f64) -> [u8; N]) {
        bytes.as_chunks_mut().0.iter_mut().zip(numbers).for_each(|(b, &x)| *b = write(x));
    }
    match dtype {
        Dtype::F64 => each(numbers, bytes, f64::to_le_bytes),
        #[expect(clippy::cast_possible_truncation, reason = "this is the one rounding")]
        Dtype::F32 => each(numbers, bytes, |x| (x as f32).to_le_bytes()),
        Dtype::F16 => each(numbers, bytes, |x| round_f16(x).to_le_bytes()),
        Dtype::BF16 => each(numbers, bytes, |x| round_bf16(x).to_le_bytes()),
        _ => {}
    }
}

/// Rounds numbers to what a dtype holds, once each; integer types leave them as they are.
pub(crate) fn round_all(dtype: Dtype, numbers: &mut [f64]) {
    match dtype {
        #[expect(clippy::cast_possible_truncation, reason = "this is the rounding")]
        Dtype::F32 => numbers.iter_mut().for_each(|x| *x = f64::from(*x as f32)),
        Dtype::F16 => numbers.iter_mut().for_each(|x| *x = round_f16(*x).to_f64()),
        Dtype::BF16 => numbers.iter_mut().for_each(|x| *x = round_bf16(*x).to_f64()),
        _ => {}
    }
}

/// f64 to f16 with one rounding. `half`'s own conversion goes through hardware f32 on some CPUs and then
/// rounds twice, which would make the bytes of an edit depend on the machine.
fn round_f16(x: f64) -> f16 {
    f16::from_f32(to_odd_f32(x))
}

/// f64 to bf16 with one rounding; see [`round_f16`].
fn round_bf16(x: f64) -> bf16 {
    bf16::from_f32(to_odd_f32(x))
}

/// f64 to f32 by round-to-odd: a following rounding to a format at least two bits narrower then equals the
/// direct one (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using
/// rounding to odd", 2008).
#[expect(clippy::cast_possible_truncation, reason = "the rounding is mended below")]
fn to_odd_f32(x: f64) -> f32 {
    let nearest = x as f32;
    if !nearest.is_finite() || f64::from(nearest) == x {
        return nearest;
    }
    let bits = nearest.to_bits();
    if bits & 1 == 1 {
        return nearest;
    }
    // `nearest` is inexact and even: the odd neighbour on x's side is one step away.
    let away_from_zero = x.abs() > f64::from(nearest).abs();
    f32::from_bits(if away_from_zero { bits + 1 } else { bits - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn length_and_overflow_are_refused() {
        let short = HostTensor::new(Dtype::F32, vec![2], Bytes::from_static(&[0; 4]));
        assert!(matches!(short, Err(TensorError::Length { expected: 8, found: 4, .. })));
        let huge = HostTensor::new(Dtype::F32, vec![usize::MAX, 2], Bytes::new());
        assert!(matches!(huge, Err(TensorError::Overflow { .. })));
        assert!(HostTensor::from_f32(Dtype::I64, vec![1], &[1.0]).is_err());
    }

    #[test]
    fn the_id_names_dtype_shape_and_bytes() {
        let row = HostTensor::from_f32(Dtype::F32, vec![1, 2], &[1.0, 2.0]).unwrap();
        let column = HostTensor::from_f32(Dtype::F32, vec![2, 1], &[1.0, 2.0]).unwrap();
        assert_ne!(row.id(), column.id());
    }

    #[test]
    fn an_id_is_computed_once_and_shared_by_clones() {
        let tensor = HostTensor::from_f32(Dtype::F32, vec![1, 2], &[1.0, 2.0]).unwrap();
        let clone = tensor.clone();
        assert!(!clone.has_id());
        let id = tensor.id();
        assert!(clone.has_id());
        let again = HostTensor::new(Dtype::F32, vec![1, 2], tensor.bytes().clone()).unwrap();
        assert!(!again.has_id() && again == tensor);
        assert_eq!((clone.id(), again.id()), (id, id));
    }

    #[test]
    fn a_value_between_two_halves_is_rounded_once() {
        // 1 + 2^-11 is a tie for f16; the tiny addend must push it up, which double rounding would lose.
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(round_f16(x).to_f64(), 1.0 + 2f64.powi(-10));
        let y = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
        assert_eq!(round_bf16(y).to_f64(), 1.0 + 2f64.powi(-7));
    }

    #[test]
    fn nan_and_infinity_are_found() {
        for dtype in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16] {
            let clean = HostTensor::from_f32(dtype, vec![3], &[0.0, 1.0, -2.0]).unwrap();
            assert_eq!(clean.first_non_finite(), None);
            let dirty = HostTensor::from_f32(dtype, vec![3], &[0.0, f32::NAN, f32::INFINITY]).unwrap();
            assert_eq!(dirty.first_non_finite(), Some(1));
        }
    }

    proptest! {
        #[test]
        fn half_precision_rounds_to_nearest(x in -70000.0f64..70000.0) {
            let rounded = round_f16(x);
            if rounded.is_finite() {
                let bits = rounded.to_bits();
                for neighbour in [bits.wrapping_sub(1), bits + 1].map(f16::from_bits) {
                    if neighbour.is_finite() && (neighbour.to_f64() >= 0.0) == (x >= 0.0) {
                        prop_assert!((rounded.to_f64() - x).abs() <= (neighbour.to_f64() - x).abs());
                    }
                }
            }
        }

        #[test]
        fn stored_numbers_read_back(x in proptest::num::f32::NORMAL) {
            let stored = HostTensor::from_f32(Dtype::F32, vec![1], &[x]).unwrap();
            prop_assert_eq!(stored.to_f32()[0].to_bits(), x.to_bits());
        }
    }
}
