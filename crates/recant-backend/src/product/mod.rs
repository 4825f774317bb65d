//! Products of some rows with a matrix that does not change.
//!
//! While a value is searched, the same weights are multiplied again and again by a few dozen rows. A general matrix
//! kernel copies the weights into an order of its own each time, which costs as much as the product; and it takes f32
//! weights alone. These products read a matrix where it lies, in the type in which a checkpoint stores it
//! ([`StoredMatrix`]), so that a bf16 model needs no memory beside its file and half of the memory traffic. On the way
//! back the gradient of the rows is the product with the transposed matrix; the matrix itself has none.
//!
//! Two loops do it ([`kernel`]): along the rows of the matrix as stored (layout `[out, in]`), and across them (`[in, out]`). Each number of the result
//! is summed in one order, which neither the number of rows nor the number of threads changes.

mod graph;
#[cfg(feature = "flex")]
mod kernel;
mod stored;

use burn::tensor::Tensor;

pub use stored::{Layout, StoredMatrix};

/// `x` `[rows, inputs]` times a stored matrix: `[rows, outputs]`. A graph goes through it to `x`.
///
/// # Panics
/// When `x` is not on the device `flex`, which alone reads host memory ([`crate::Device::reads_stored`]), or when its width
/// is not the matrix's.
#[must_use]
pub fn product(x: Tensor<2>, matrix: &StoredMatrix) -> Tensor<2> {
    graph::product(x, matrix)
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use proptest::prelude::*;
    use recant_core::{Dtype, HostTensor};

    use super::*;
    use crate::{Device, DeviceSpec, host, upload_f32};

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).max(1);
        let next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    /// A stored matrix, whose numbers begin where an f32 must not if `odd`.
    fn stored(dtype: Dtype, [rows, columns]: [usize; 2], layout: Layout, odd: bool) -> StoredMatrix {
        let tensor = HostTensor::from_f32(dtype, vec![rows, columns], &numbers(rows * columns, 7)).unwrap();
        let moved = |bytes: &[u8]| {
            let bytes = bytes::Bytes::from([&[0; 3][..], bytes].concat());
            HostTensor::new(dtype, vec![rows, columns], bytes.slice(3..)).unwrap()
        };
        let tensor = if odd { moved(tensor.bytes()) } else { tensor };
        StoredMatrix::new(&tensor, layout).unwrap()
    }

    fn exact(x: &[f32], matrix: &StoredMatrix) -> Vec<f64> {
        let ([inputs, outputs], [_, columns]) = (matrix.sides(), matrix.shape());
        let w = matrix.tensor().to_f64();
        let at = |input: usize, output: usize| match matrix.layout() {
            Layout::OutIn => w[output * columns + input],
            Layout::InOut => w[input * columns + output],
        };
        let number = |row: &[f32], output| (0..inputs).map(|i| f64::from(row[i]) * at(i, output)).sum();
        x.chunks_exact(inputs).flat_map(|row| (0..outputs).map(move |output| number(row, output))).collect()
    }

    fn computed(x: &[f32], matrix: &StoredMatrix) -> Vec<f32> {
        let device = Device::open(DeviceSpec::Flex).unwrap();
        let inputs = matrix.sides()[0];
        host(&product(upload_f32(x.to_vec(), [x.len() / inputs, inputs], &device), matrix))
    }

    proptest! {
        #[test]
        fn a_product_is_what_f64_says(
            (rows, side, other) in (1usize..150, 1usize..90, 1usize..70),
            (dtype, out_in, odd) in (0usize..3, any::<bool>(), any::<bool>()),
            deep in any::<bool>(),
        ) {
            let dtype = [Dtype::F32, Dtype::F16, Dtype::BF16][dtype];
            let layout = if out_in { Layout::OutIn } else { Layout::InOut };
            let side = if deep { side + 1100 } else { side };
            let shape = if out_in { [other, side] } else { [side, other] };
            let matrix = stored(dtype, shape, layout, odd);
            let x = numbers(rows * side, 3);
            let bound = 1e-6 * side as f64;
            for (is, should) in computed(&x, &matrix).into_iter().zip(exact(&x, &matrix)) {
                prop_assert!((f64::from(is) - should).abs() <= bound, "{is} for {should}");
            }
        }
    }

    /// A row's numbers are the same bits in whatever company, and with however many threads.
    #[test]
    fn neither_rows_nor_threads_change_a_number() {
        for layout in [Layout::OutIn, Layout::InOut] {
            let matrix = stored(Dtype::BF16, [700, 700], layout, false);
            let x = numbers(131 * 700, 5);
            let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let all = pool(1).install(|| computed(&x, &matrix));
            assert_eq!(pool(3).install(|| computed(&x, &matrix)), all, "{layout:?}");
            for row in [0, 64, 130] {
                let alone = computed(&x[row * 700..][..700], &matrix);
                assert_eq!(alone, all[row * 700..][..700], "{layout:?}, row {row}");
            }
        }
    }

    #[test]
    fn a_gradient_goes_through_to_the_rows() {
        let device = Device::open(DeviceSpec::Flex).unwrap();
        for layout in [Layout::OutIn, Layout::InOut] {
            let matrix = stored(Dtype::F16, [40, 40], layout, false);
            let x = || upload_f32::<2>(numbers(3 * 40, 9), [3, 40], &device).autodiff().require_grad();
            let weight = upload_f32::<2>(matrix.tensor().to_f32(), [40, 40], &device);
            let weight = if layout == Layout::OutIn { weight.transpose() } else { weight };
            let gradient = |leaf: Tensor<2>, y: Tensor<2>| {
                let grads = (y.clone() * y).sum().backward();
                host(&leaf.grad(&grads).unwrap())
            };
            let (ours, general) = (x(), x());
            let (ours, general) = (
                gradient(ours.clone(), product(ours, &matrix)),
                gradient(general.clone(), general.matmul(weight)),
            );
            assert!(ours.iter().zip(&general).all(|(a, b)| (a - b).abs() < 1e-4), "{layout:?}");
        }
    }

    #[test]
    fn a_product_of_no_rows_has_none() {
        for layout in [Layout::OutIn, Layout::InOut] {
            assert!(computed(&[], &stored(Dtype::BF16, [4, 4], layout, false)).is_empty(), "{layout:?}");
        }
    }

    #[test]
    fn rows_are_gathered_widened() {
        let matrix = stored(Dtype::BF16, [4, 3], Layout::InOut, true);
        let all = matrix.tensor().to_f32();
        assert_eq!(matrix.gather(&[2, 0, 9]), [&all[6..9], &all[..3], &[0.0; 3]].concat());
    }
}
