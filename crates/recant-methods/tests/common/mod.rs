//! Models, facts and statistics that several tests use.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recant_backend::{Device, DeviceSpec};
use recant_edit::{Contexts, Fact};
use recant_methods::moments::Collector;
use recant_methods::rome::Covariance;
use recant_model::Model;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name)
}

pub(crate) fn open(name: &str) -> Model {
    Model::open(&fixture(name), &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

pub(crate) fn contexts() -> Contexts {
    let templates = ["{}", "The weather was cold. {}", "Because of this they moved. {}"];
    Contexts::new(templates.map(str::to_owned).to_vec()).unwrap()
}

/// Facts of different lengths, with one- and many-token targets.
pub(crate) fn facts() -> Vec<Fact> {
    let fact = |subject: &str, prompt: &str, target: &str| Fact::new(subject, prompt, target).unwrap();
    vec![
        fact("The sea", "{} is", "cold"),
        fact("cat", "We saw that the {} was very", "old and tired"),
        fact("weather", "In the old town the {} was always", "cold"),
        fact("dog", "the {} was", "old"),
    ]
}

/// Moments over a text with enough different tokens to have full rank.
pub(crate) fn covariance(model: &Model, layers: &[usize]) -> Covariance {
    let mut collector = Collector::new(model, layers, Some(4_000)).unwrap();
    for i in 0..400u32 {
        let word = |k: u32| char::from(b'a' + ((i * 7 + k * 13 + i * i * k) % 26) as u8);
        let text: String = (0..10).map(|k| if k % 4 == 3 { ' ' } else { word(k) }).collect();
        collector.text(&text).unwrap();
    }
    Covariance::measured(Arc::new(collector.finish().unwrap()), model).unwrap()
}
