//! The scoped handle: every byte back, whatever happens inside.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use recant_backend::{Device, DeviceSpec};
use recant_core::{Addend, Matrix, WeightPatch};
use recant_edit::scoped;
use recant_model::{Model, Slot};

fn model(name: &str) -> Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name);
    Model::open(&dir, &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

fn patch(model: &Model, layer: usize, scale: f32) -> WeightPatch {
    let spec = model.spec();
    let u = (0..spec.d_model).map(|i| scale * (i as f32).sin()).collect();
    let v = (0..spec.d_mlp).map(|i| (i as f32).cos()).collect();
    model
        .express(Slot::MlpDown(layer), Addend::low_rank(Matrix::column(u), Matrix::column(v)).unwrap())
        .unwrap()
}

const FIXTURES: [&str; 4] = ["gpt2-tiny", "gpt2-tiny-f16", "llama-tiny-gqa", "llama-tiny-tied"];

#[test]
fn a_scope_restores_every_byte_also_on_panic() {
    for name in FIXTURES {
        let mut model = model(name);
        let former = (model.digest(), model.device_digest());
        let patch = patch(&model, 0, 0.5);

        let inside = scoped(&mut model, &patch, |edited| (edited.digest(), edited.device_digest())).unwrap();
        assert_ne!(inside.0, former.0, "{name}");
        assert_ne!(inside.1, former.1, "{name}");
        assert_eq!((model.digest(), model.device_digest()), former, "{name}");

        let early: Result<Result<(), &str>, _> =
            scoped(&mut model, &patch, |_| Err("the caller's own error"));
        assert!(early.unwrap().is_err());
        assert_eq!((model.digest(), model.device_digest()), former, "{name}");

        let panicked = catch_unwind(AssertUnwindSafe(|| scoped(&mut model, &patch, |_| panic!("inside"))));
        assert!(panicked.is_err());
        assert_eq!((model.digest(), model.device_digest()), former, "{name}");
    }
}

#[test]
fn scopes_nest() {
    let mut model = model("gpt2-tiny");
    let former = model.digest();
    let first = patch(&model, 0, 0.5);
    let second = patch(&model, 1, 0.25);
    let inner = scoped(&mut model, &first, |edited| {
        let mut again = edited.clone();
        let outer = again.digest();
        let inner = scoped(&mut again, &second, Model::digest).unwrap();
        assert_eq!(again.digest(), outer);
        inner
    });
    assert_ne!(inner.unwrap(), former);
    assert_eq!(model.digest(), former);
}

#[test]
fn a_patch_that_does_not_fit_runs_nothing() {
    let mut model = model("gpt2-tiny");
    let former = model.digest();
    let foreign = patch(&self::model("gpt2-tiny-f16"), 0, 0.5);
    let mut ran = false;
    assert!(scoped(&mut model, &foreign, |_| ran = true).is_err());
    assert!(!ran);
    assert_eq!(model.digest(), former);
}

/// Two forks of one model do not see each other, on the host or on the device.
#[test]
fn forks_do_not_see_each_other() {
    let parent = model("llama-tiny-gqa");
    let (left, _) = parent.apply(&patch(&parent, 0, 0.5), &Default::default()).unwrap();
    let (right, _) = parent.apply(&patch(&parent, 1, 0.5), &Default::default()).unwrap();
    let answers = |model: &Model| model.answers("The sea", 5).unwrap();
    let (before, of_left) = (answers(&parent), answers(&left));
    assert_ne!(before, of_left);
    drop(right);
    assert_eq!(answers(&parent), before);
    assert_eq!(answers(&left), of_left);
}
