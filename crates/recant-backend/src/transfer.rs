//! Bytes up, numbers down.

use burn::tensor::{AllocationProperty, Bool, Bytes, DType, Int, Tensor, TensorData};
use recant_core::{Dtype, HostTensor, TensorError};

use crate::Device;

/// A checkpoint tensor as f32 on the device, with the checkpoint's shape.
///
/// On `flex` an aligned f32 tensor is not copied: it lies on the same bytes as `tensor`, a memory map
/// included, and Burn copies it if an operation ever writes to it. Narrower types are widened, which is
/// exact.
///
/// # Errors
/// [`TensorError::NotFloat`] when the tensor holds integers, [`TensorError::Rank`] when its rank is not
/// `D`.
pub fn upload<const D: usize>(tensor: &HostTensor, device: &Device) -> Result<Tensor<D>, TensorError> {
    if !tensor.dtype().is_float() {
        return Err(TensorError::NotFloat { dtype: tensor.dtype() });
    }
    let Ok(shape) = <[usize; D]>::try_from(tensor.shape()) else {
        return Err(TensorError::Rank { shape: tensor.shape().to_vec(), expected: D });
    };
    let aligned = tensor.bytes().as_ptr().align_offset(align_of::<f32>()) == 0;
    let data = if tensor.dtype() == Dtype::F32 && aligned && device.borrows_host_bytes() {
        let shared = Bytes::from_shared(tensor.bytes().clone(), AllocationProperty::File);
        TensorData::from_bytes(shared, shape, DType::F32)
    } else {
        TensorData::new(tensor.to_f32(), shape)
    };
    Ok(Tensor::from_data(data, device.tensors()))
}

/// Numbers as a device tensor.
///
/// # Panics
/// When the count of numbers is not the product of `shape`; callers compute both from one place.
#[must_use]
pub fn upload_f32<const D: usize>(numbers: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), device.tensors())
}

/// Indices as a device tensor.
///
/// # Panics
/// As [`upload_f32`].
#[must_use]
pub fn upload_ints<const D: usize>(numbers: Vec<i32>, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(numbers, shape), device.tensors())
}

/// Truth values as a device tensor.
///
/// # Panics
/// As [`upload_f32`].
#[must_use]
pub fn upload_bools<const D: usize>(
    truths: Vec<bool>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D, Bool> {
    Tensor::from_data(TensorData::new(truths, shape), device.tensors())
}

/// The numbers of a float tensor, copied now.
///
/// Tensors that track gradients are read without their graph.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one reader: it looks at the bytes at once")]
pub fn host<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    let plain = if tensor.is_autodiff() { tensor.clone().inner() } else { tensor.clone() };
    let data = plain.to_data();
    // `try_to_vec_as` converts from whatever float type the device holds and so touches every byte.
    data.try_to_vec_as::<f32>().unwrap_or_default()
}

/// The numbers of an integer tensor, copied now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one reader of integers")]
pub fn host_ints<const D: usize>(tensor: &Tensor<D, Int>) -> Vec<i64> {
    tensor.to_data().try_to_vec_as::<i64>().unwrap_or_default()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::DeviceSpec;

    #[test]
    fn a_snapshot_survives_an_operation_in_place() {
        for spec in DeviceSpec::compiled_in() {
            let Ok(device) = Device::open(spec) else { continue };
            let tensor: Tensor<1> = upload_f32(vec![1.0, 2.0, 3.0], [3], &device);
            let snapshot = host(&tensor);
            let overwritten = tensor * 0.0 - 5.0;
            assert_eq!(host(&overwritten), [-5.0; 3], "{spec}");
            assert_eq!(snapshot, [1.0, 2.0, 3.0], "{spec}");
        }
    }

    #[test]
    fn f32_weights_are_borrowed_and_never_written_through() {
        let device = Device::open(DeviceSpec::Flex).unwrap();
        let weights = HostTensor::from_f32(Dtype::F32, vec![2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        let id = weights.id();
        let tensor: Tensor<2> = upload(&weights, &device).unwrap();
        let doubled = tensor * 2.0;
        assert_eq!(host(&doubled), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(weights.id(), id);
    }

    #[test]
    fn every_float_type_comes_up_exactly() {
        let device = Device::open(DeviceSpec::Flex).unwrap();
        for dtype in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16] {
            let stored = HostTensor::from_f32(dtype, vec![3], &[0.1, -2.0, 3.5]).unwrap();
            assert_eq!(host(&upload::<1>(&stored, &device).unwrap()), stored.to_f32());
        }
        let integers = HostTensor::new(Dtype::U8, vec![1], vec![1].into()).unwrap();
        assert!(upload::<1>(&integers, &device).is_err());
    }
}
