//! A matrix whose numbers stay as a checkpoint stores them.

use burn::tensor::Tensor;
use recant_core::{Dtype, HostTensor};

use crate::{Device, upload};

/// How a checkpoint stores a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[in, out]`, as GPT-2's Conv1D.
    InOut,
    /// `[out, in]`, as a linear layer.
    OutIn,
}

impl Layout {
    /// The layout of the same numbers for the product with the transposed matrix.
    #[must_use]
    pub fn transposed(self) -> Self {
        match self {
            Self::InOut => Self::OutIn,
            Self::OutIn => Self::InOut,
        }
    }
}

/// A matrix that rows are multiplied by and that nothing changes or differentiates: its numbers stay where and as they
/// are, a memory map included, and are widened while they are used.
#[derive(Debug, Clone)]
pub struct StoredMatrix {
    tensor: HostTensor,
    rows: usize,
    columns: usize,
    layout: Layout,
}

impl StoredMatrix {
    /// A matrix of f32, f16 or bf16 numbers; `None` for other tensors.
    #[must_use]
    pub fn new(tensor: &HostTensor, layout: Layout) -> Option<Self> {
        let &[rows, columns] = tensor.shape() else { return None };
        let known = matches!(tensor.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16);
        (known && rows * columns > 0).then(|| Self { tensor: tensor.clone(), rows, columns, layout })
    }

    /// The checkpoint's tensor.
    #[must_use]
    pub fn tensor(&self) -> &HostTensor {
        &self.tensor
    }

    /// `[rows, columns]`, as stored.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// How it is stored.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// `[inputs, outputs]` of a product.
    #[must_use]
    pub fn sides(&self) -> [usize; 2] {
        match self.layout {
            Layout::OutIn => [self.columns, self.rows],
            Layout::InOut => [self.rows, self.columns],
        }
    }

    /// The same numbers with inputs and outputs exchanged: the map of gradients.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self { layout: self.layout.transposed(), ..self.clone() }
    }

    /// On a device, as f32: `[inputs, outputs]`.
    #[must_use]
    pub fn uploaded(&self, device: &Device) -> Tensor<2> {
        let stored = match upload(&self.tensor, device) {
            Ok(stored) => stored,
            Err(error) => unreachable!("it is a matrix of numbers: {error}"),
        };
        match self.layout {
            Layout::InOut => stored,
            Layout::OutIn => stored.transpose(),
        }
    }

    /// Rows of the matrix as stored, one after the other: `[rows.len(), columns]`. A row that does not exist is zeros.
    #[must_use]
    pub fn gather(&self, rows: &[usize]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len() * self.columns];
        let numbers = self.numbers();
        for (out, &row) in out.chunks_exact_mut(self.columns).zip(rows).filter(|(_, row)| **row < self.rows) {
            numbers.widen(row * self.columns, out);
        }
        out
    }

    pub(super) fn numbers(&self) -> Numbers<'_> {
        let bytes = self.tensor.bytes();
        match self.tensor.dtype() {
            Dtype::F16 => Numbers::F16(bytes.as_chunks().0),
            Dtype::BF16 => Numbers::Bf16(bytes.as_chunks().0),
            _ => match bytemuck::try_cast_slice(bytes) {
                Ok(aligned) if cfg!(target_endian = "little") => Numbers::F32(aligned),
                _ => Numbers::Bytes(bytes.as_chunks().0),
            },
        }
    }
}

/// Stored numbers in row order.
#[derive(Clone, Copy)]
pub(super) enum Numbers<'a> {
    F32(&'a [f32]),
    /// f32 that begin at any address.
    Bytes(&'a [[u8; 4]]),
    F16(&'a [[u8; 2]]),
    Bf16(&'a [[u8; 2]]),
}

impl Numbers<'_> {
    /// The numbers from index `from` on, as many as `out` takes. Exact: every f16 and bf16 number is an f32 number.
    #[inline(always)]
    pub(super) fn widen(self, from: usize, out: &mut [f32]) {
        let to = from + out.len();
        match self {
            Self::F32(x) => out.copy_from_slice(&x[from..to]),
            Self::Bytes(x) => each(out, &x[from..to], f32::from_le_bytes),
            Self::Bf16(x) => {
                each(out, &x[from..to], |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))
            }
            Self::F16(x) => each(out, &x[from..to], widened_f16),
        }
    }
}

#[inline(always)]
fn each<const N: usize>(out: &mut [f32], bytes: &[[u8; N]], number: impl Fn([u8; N]) -> f32) {
    for (out, &bytes) in out.iter_mut().zip(bytes) {
        *out = number(bytes);
    }
}

/// A finite f16 number without a branch, so that many are widened at once: its bits, moved to where an f32 has exponent
/// and mantissa, are the number times 2⁻¹¹², subnormal ones included.
#[inline(always)]
fn widened_f16(bytes: [u8; 2]) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(u16::from_le_bytes(bytes));
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * SCALE;
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_f16_number_is_widened_exactly() {
        let all: Vec<[u8; 2]> = (0..=u16::MAX).map(u16::to_le_bytes).collect();
        let mut wide = vec![0.0; all.len()];
        Numbers::F16(&all).widen(0, &mut wide);
        for (bits, wide) in (0..=u16::MAX).zip(wide) {
            let exact = half::f16::from_bits(bits);
            assert!(!exact.is_finite() || wide.to_bits() == exact.to_f32().to_bits(), "{bits:#x}");
        }
    }
}
