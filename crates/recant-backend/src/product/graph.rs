//! The product as an operation of a graph.

// The generated dispatch takes its arguments by value.
#![allow(clippy::needless_pass_by_value, reason = "the signature is the tensor library's")]

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
#[cfg(feature = "flex")]
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Tensor;

use super::StoredMatrix;

pub(super) fn product(x: Tensor<2>, matrix: &StoredMatrix) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as StoredProduct>::stored_product(x.into_dispatch(), matrix.clone()))
}

/// A backend that multiplies by matrices in host memory.
#[cfg_attr(not(feature = "flex"), allow(unused_variables, reason = "no backend of this build is asked"))]
#[backend_extension(Flex: cfg(feature = "flex"), Autodiff)]
trait StoredProduct: Backend {
    /// `x` `[rows, inputs]` times `matrix`: `[rows, outputs]`.
    fn stored_product(x: FloatTensor<Self>, matrix: StoredMatrix) -> FloatTensor<Self>;
}

#[cfg(feature = "flex")]
impl StoredProduct for Flex {
    fn stored_product(x: FloatTensor<Self>, matrix: StoredMatrix) -> FloatTensor<Self> {
        let rows = x.shape()[0];
        let outputs = matrix.sides()[1];
        let numbers = x.into_data().try_to_vec::<f32>().unwrap_or_default();
        let made = super::kernel::product(&numbers, rows, &matrix);
        FloatTensor::<Self>::from_data(burn::tensor::TensorData::new(made, [rows, outputs]))
    }
}

impl<B: StoredProduct, C: CheckpointStrategy> StoredProduct for Autodiff<B, C> {
    fn stored_product(x: FloatTensor<Self>, matrix: StoredMatrix) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Product;

        impl<B: StoredProduct> Backward<B, 1> for Product {
            type State = StoredMatrix;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let matrix = ops.state;
                unary::<B, _>(ops.parents, ops.node, grads, |grad| {
                    B::stored_product(grad, matrix.transposed())
                });
            }
        }

        match Product.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                prep.finish(matrix.clone(), B::stored_product(x.into_primitive(), matrix))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::stored_product(x.into_primitive(), matrix)),
        }
    }
}
