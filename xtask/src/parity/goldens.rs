//! Reading golden files.

use std::collections::BTreeMap;
use std::path::Path;

use recant::core::{Dtype, HostTensor};
use recant::methods::search::SearchSettings;
use safetensors::SafeTensors;
use serde::Deserialize;
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

/// The hyper-parameters of the search for a value, by the reference's names.
#[derive(Deserialize)]
pub(super) struct SearchHparams {
    v_num_grad_steps: usize,
    v_lr: f64,
    v_weight_decay: f64,
    clamp_norm_factor: f64,
    kl_factor: f64,
}

impl SearchHparams {
    /// The same in our terms; the reference stops where we do.
    pub(super) fn settings(&self) -> SearchSettings {
        SearchSettings {
            v_num_grad_steps: self.v_num_grad_steps,
            v_lr: self.v_lr,
            v_weight_decay: self.v_weight_decay,
            clamp_norm_factor: self.clamp_norm_factor,
            kl_factor: self.kl_factor,
            ..SearchSettings::published()
        }
    }
}

/// What the golden run found after an edit.
#[derive(Deserialize)]
pub(super) struct After {
    pub(super) prompt: Probabilities,
}

/// Probabilities of a prompt's answers.
#[derive(Deserialize)]
pub(super) struct Probabilities {
    pub(super) new: f64,
}
