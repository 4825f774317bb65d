//! WISE as a value: shards by their masks' places, everything else from the facts and the settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use recant_core::{AdapterState, Matrix, ParamPath};
use recant_edit::{Contexts, EditError, Lifelong, StoredStateError};
use recant_model::Model;

use super::{Wise, WiseSettings};
use crate::lifelong::{Lessons, check_state, read_contexts, settings_of};

/// The settings' name of the context templates.
pub(super) const CONTEXTS: &str = "contexts";

fn name_of(shard: usize) -> String {
    format!("shards.{shard}")
}

pub(super) fn state(wise: &Wise) -> Result<AdapterState, EditError> {
    let mut tensors = BTreeMap::new();
    for (shard, packed) in wise.shards.iter().enumerate() {
        let name = ParamPath::new(name_of(shard)).map_err(StoredStateError::from)?;
        let matrix = Matrix::new(1, packed.len(), packed.to_vec()).map_err(StoredStateError::from)?;
        tensors.insert(name, matrix);
    }
    let layer = u32::try_from(wise.settings.layer).unwrap_or(u32::MAX);
    let facts = wise.lessons.stored();
    Ok(AdapterState::new(wise.name(), wise.base.digest(), layer, wise.settings(), facts, tensors)?)
}

pub(super) fn open(base: Model, state: &AdapterState) -> Result<Wise, EditError> {
    check_state(state, "wise", &base)?;
    let mut settings = WiseSettings::new(state.layer());
    let mut contexts = Contexts::bare();
    for setting in settings_of(state) {
        match setting.key.as_str() {
            CONTEXTS => contexts = read_contexts(&setting)?,
            _ => settings.set(&setting)?,
        }
    }
    let mut wise = Wise::begin(base, settings, contexts)?;
    wise.lessons = Lessons::from_stored(state.facts())?;
    for shard in 0..wise.lessons.facts().len().div_ceil(settings.save_freq) {
        let name = name_of(shard);
        let packed = state.tensor(&name).ok_or_else(|| StoredStateError::NoTensor { name: name.clone() })?;
        let expected = wise.places(shard).len();
        if packed.data().len() != expected {
            let found = packed.data().len();
            return Err(StoredStateError::Mask { name, expected, found }.into());
        }
        wise.shards.push(Arc::new(packed.data().to_vec()));
    }
    wise.see()?;
    wise.rebuild();
    Ok(wise)
}
