//! Reading golden files.

use std::collections::BTreeMap;
use std::path::Path;

use recant::core::{Dtype, HostTensor};
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// The f32 tensors of a safetensors file.
pub(super) struct Tensors(BTreeMap<String, Vec<f32>>);

impl Tensors {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(Error::read(path))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let floats = file.tensors().into_iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::F32);
        let numbers = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
            let tensor = HostTensor::new(Dtype::F32, view.shape().to_vec(), view.data().to_vec().into())?;
            Ok((name, tensor.to_f32()))
        };
        floats.map(numbers).collect::<Result<_, Error>>().map(Self)
    }

    pub(super) fn get(&self, name: &str) -> Result<&[f32], Error> {
        let found = self.0.get(name).map(Vec::as_slice);
        found.ok_or_else(|| Error::Failed(format!("the goldens have no tensor `{name}`")))
    }
}

pub(super) fn json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = std::fs::read(path).map_err(Error::read(path))?;
    Ok(serde_json::from_slice(&bytes)?)
}
