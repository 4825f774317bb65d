//! Law 7: the same edit on every device that this build has and this machine offers.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed; how far devices differ is told"
)]

use std::path::Path;

use recant_backend::{Device, DeviceSpec};
use recant_core::{Addend, Blobs, Delta};
use recant_edit::{Contexts, Editor, Fact};
use recant_methods::rome::{Covariance, KeyRule, Rome, RomeSettings};
use recant_model::Model;

/// Devices that have to be there, such as `RECANT_DEVICES=ndarray,wgpu:cpu`: where a driver is expected, its absence is no
/// test that passes.
fn required() -> Vec<DeviceSpec> {
    let named = std::env::var("RECANT_DEVICES").unwrap_or_default();
    named.split(',').filter(|name| !name.is_empty()).map(|name| name.parse().unwrap()).collect()
}

#[test]
fn the_same_edit_on_every_device() {
    for spec in required() {
        assert!(DeviceSpec::compiled_in().contains(&spec), "{spec} is not compiled in");
    }
    for name in ["gpt2-tiny", "gpt2-tiny-bf16", "llama-tiny-gqa"] {
        let mut first: Option<(Vec<f64>, String)> = None;
        for spec in DeviceSpec::compiled_in() {
            let device = match Device::open(spec) {
                Ok(device) => device,
                Err(error) if required().contains(&spec) => panic!("{error}"),
                Err(_) => continue,
            };
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name);
            let model = Model::open(&dir, &device).unwrap();
            let contexts = Contexts::new(vec!["{}".into(), "So. {}".into()]).unwrap();
            let rome = Rome::new(RomeSettings::new(1, KeyRule::Mean), contexts, Covariance::Identity);
            let plan = rome.plan(&model, &[Fact::new("The sea", "{} is", "cold").unwrap()]).unwrap();
            let (edited, applied) = model.apply(&plan.patch, &Blobs::new()).unwrap();
            let back = edited.undo(&applied).unwrap();
            assert_eq!(
                (back.digest(), back.device_digest()),
                (model.digest(), model.device_digest()),
                "{spec}"
            );
            let deltas = plan.patch.changes().values().filter_map(|change| match &change.delta {
                Delta::Add(addend) => Some(addend),
                Delta::Swap { .. } => None,
            });
            let delta: Vec<f64> = deltas.flat_map(Addend::to_dense).collect();
            let answer = edited.answers("The sea is", 1).unwrap().remove(0).token;
            let (reference, top) = first.get_or_insert((delta.clone(), answer.clone()));
            let square: f64 = delta.iter().zip(&*reference).map(|(a, b)| (a - b).powi(2)).sum();
            let relative = (square / reference.iter().map(|b| b * b).sum::<f64>()).sqrt();
            println!("{name} on {spec}: ΔW is within {relative:.1e} of the first device's");
            assert!(relative <= 1e-3, "{spec}: ΔW differs by {relative:e}");
            assert_eq!(&answer, top, "{spec}");
        }
        assert!(first.is_some(), "no device could be opened");
    }
}
