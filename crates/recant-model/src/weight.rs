//! A weight that rows are multiplied by, wherever its numbers are.

use burn::tensor::{Int, Tensor, module};
use recant_backend::{Device, Layout, StoredMatrix, host_ints, product, upload_f32};

/// A matrix of a forward pass.
#[derive(Debug, Clone)]
pub(crate) enum Weight {
    /// On the device, `[inputs, outputs]`; it may track gradients.
    Device(Tensor<2>),
    /// In host memory, as the checkpoint stores it.
    Stored(StoredMatrix),
}

impl Weight {
    /// `[inputs, outputs]`.
    pub(crate) fn sides(&self) -> [usize; 2] {
        match self {
            Self::Device(matrix) => matrix.dims(),
            Self::Stored(matrix) => matrix.sides(),
        }
    }

    /// On the device: f32, `[inputs, outputs]`.
    pub(crate) fn on(&self, device: &Device) -> Tensor<2> {
        match self {
            Self::Device(matrix) => matrix.clone(),
            Self::Stored(matrix) => matrix.uploaded(device),
        }
    }

    /// `x` `[rows, inputs]` times the weight: `[rows, outputs]`.
    pub(crate) fn product(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Device(matrix) => x.matmul(matrix.clone()),
            Self::Stored(matrix) => product(x, matrix),
        }
    }

    /// The same numbers with inputs and outputs exchanged.
    pub(crate) fn transposed(&self) -> Self {
        match self {
            Self::Device(matrix) => Self::Device(matrix.clone().transpose()),
            Self::Stored(matrix) => Self::Stored(matrix.transposed()),
        }
    }

    /// For token ids `[batch, tokens]`, the rows of a table `[vocab, width]` that is read as stored:
    /// `[batch, tokens, width]`.
    pub(crate) fn embedded(&self, ids: Tensor<2, Int>, device: &Device) -> Tensor<3> {
        match self {
            Self::Device(table) => module::embedding(table.clone(), ids),
            Self::Stored(table) => {
                debug_assert_eq!(table.layout(), Layout::InOut);
                let [batch, tokens] = ids.dims();
                let rows: Vec<usize> =
                    host_ints(&ids).into_iter().map(|id| usize::try_from(id).unwrap_or(usize::MAX)).collect();
                upload_f32(table.gather(&rows), [batch, tokens, table.shape()[1]], device)
            }
        }
    }
}
