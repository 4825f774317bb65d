//! Named numbers as safetensors.

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

/// A name, a shape, and the little-endian bytes of f32 numbers.
pub(crate) type SheetTensor = (String, Vec<usize>, Vec<u8>);

/// Tensors as the bytes of a file, with one line of metadata: its key and its value.
pub(crate) fn sheet(tensors: &[SheetTensor], (key, value): (&str, &str)) -> Result<Vec<u8>, SafeTensorError> {
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, SafeTensorError>>()?;
    safetensors::serialize(views, Some(HashMap::from([(key.to_owned(), value.to_owned())])))
}
