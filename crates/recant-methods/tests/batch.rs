//! MEMIT, EMMET and AlphaEdit, and the search for many facts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{contexts, covariance, facts, open};
use recant_core::{Blobs, Delta};
use recant_edit::{EditError, Editor, Lifelong, StatisticsError, WeightSequence};
use recant_linalg::Rows;
use recant_methods::batch::{BatchSettings, Metric, Prepared};
use recant_methods::emmet;
use recant_methods::lookup::{FactRows, rows_of};
use recant_methods::memit::Memit;
use recant_methods::rome::{KeyRule, Rome, RomeSettings};
use recant_methods::search::many::{Inject, search_many};
use recant_methods::search::{Base, Found, Reading, SearchSettings, search, tail::Tail};
use recant_methods::{MethodInputs, Setting, method};
use recant_model::{Model, Slot};

const SETTINGS: SearchSettings = SearchSettings {
    v_lr: 0.1,
    v_num_grad_steps: 6,
    v_weight_decay: 0.5,
    clamp_norm_factor: 4.0,
    kl_factor: 0.0625,
    name_factor: 0.0,
    early_stop: 0.0,
};

fn laid_out(model: &Model) -> Vec<FactRows> {
    facts().iter().map(|fact| rows_of(model, fact, &contexts()).unwrap()).collect()
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

fn many(model: &Model, rows: &[FactRows], settings: SearchSettings, cap: usize) -> Vec<Found> {
    search_many(settings, model, 1, rows, Inject::MlpOut, cap, &()).unwrap()
}

/// Together they find what each finds alone by the search for one fact.
#[test]
fn the_search_for_many_is_the_search_for_one() {
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        let model = open(name);
        let rows = laid_out(&model);
        for settings in [
            SETTINGS,
            SearchSettings { early_stop: 5.0, ..SETTINGS },
            SearchSettings { clamp_norm_factor: 0.1, ..SETTINGS },
        ] {
            let together = many(&model, &rows, settings, usize::MAX);
            for (fact, found) in rows.iter().zip(&together) {
                let base = Base::observe(&model, 1, fact).unwrap();
                let tail = Tail::new(&model, &base, fact);
                let (init, device) = (&base.outputs[0], model.device());
                let reading = Reading::new(settings, fact, init, &tail, device);
                let alone = search(settings, init, &[reading], device, &()).unwrap();
                assert_eq!(alone.losses.len(), found.losses.len(), "{name}");
                for (a, b) in alone.losses.iter().zip(&found.losses) {
                    assert!((a[0] - b[0]).abs() <= 1e-4 * a[0].abs(), "{name}: {a:?} and {b:?}");
                }
                let off: Vec<f32> = alone.delta.iter().zip(&found.delta).map(|(a, b)| a - b).collect();
                assert!(norm(&off) <= 1e-3 * norm(&alone.delta).max(1e-6), "{name}: {:e}", norm(&off));
            }
        }
    }
}

/// On `flex` the company in which a fact is searched does not change one bit of what is found.
#[test]
fn company_does_not_matter() {
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        let model = open(name);
        let rows = laid_out(&model);
        let all = many(&model, &rows, SETTINGS, usize::MAX);
        assert_eq!(all, many(&model, &rows, SETTINGS, 1), "{name}: one fact a graph");
        let mut turned = rows.clone();
        turned.reverse();
        let mut back = many(&model, &turned, SETTINGS, usize::MAX);
        back.reverse();
        assert_eq!(all, back, "{name}: another order");
        assert_eq!(all[1..2], many(&model, &rows[1..2], SETTINGS, usize::MAX), "{name}: alone");
    }
}

/// EMMET with one fact and no ridge is ROME: the same ΔW from the same key and value.
#[test]
fn emmet_with_one_fact_is_rome() {
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        let model = open(name);
        let covariance = covariance(&model, &[1]);
        let rome = Rome::new(RomeSettings::new(1, KeyRule::Mean), contexts(), covariance.clone());
        let plan = rome.plan(&model, &facts()[..1]).unwrap();
        let traced = |name: &str| plan.traces[0].tensors[name].1.clone();
        let residual: Vec<f32> =
            traced("v_star").iter().zip(traced("cur_output")).map(|(v, wk)| v - wk).collect();
        let metric = Metric { covariance: &covariance, weight: 3.0, norm: 0.0 };
        let (k, r) = (Rows::of(&[traced("k_star")]).unwrap(), Rows::of(&[residual]).unwrap());
        let form = emmet::delta(metric, 1, &k, &r, 0.0).unwrap();
        let step = recant_methods::batch::express(&model, 1, &form).unwrap();
        let dense = |patch: &recant_core::WeightPatch| match &patch.changes().values().next().unwrap().delta {
            Delta::Add(addend) => addend.to_dense(),
            Delta::Swap { .. } => panic!("an addition"),
        };
        let (ours, theirs) = (dense(&step), dense(&plan.patch));
        let size = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let off: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a - b).collect();
        assert!(size(&off) <= 1e-5 * size(&theirs), "{name}: {:e}", size(&off) / size(&theirs));
    }
}

fn inputs(model: &Model, layers: &[usize], settings: &[&str]) -> MethodInputs {
    MethodInputs {
        layer: 1,
        layers: layers.to_vec(),
        contexts: contexts(),
        covariance: Some(covariance(model, layers)),
        settings: settings.iter().map(|text| Setting::parse(text).unwrap()).collect(),
        seed: 0,
    }
}

/// EMMET without a ridge is exact: on the edited model the block's output at every subject is the z that was
/// searched for it.
#[test]
fn emmet_gives_every_subject_its_z() {
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        let model = open(name);
        let given = ["bare_weight=1", "emmet_lambda=0", "v_num_grad_steps=5", "v_lr=0.02"];
        let editor = method("emmet", &inputs(&model, &[1], &given)).unwrap();
        let plan = editor.plan(&model, &facts()).unwrap();
        let (edited, _) = model.apply(&plan.patch, &Blobs::new()).unwrap();
        let prepared = Prepared::new(&model, &facts(), &contexts()).unwrap();
        let mut settings = BatchSettings::new(vec![1]);
        settings.bare_weight = 1.0;
        let now = prepared.see(&edited, 1, 1, &settings).unwrap().hidden;
        let before = prepared.see(&model, 1, 1, &settings).unwrap().hidden;
        for ((trace, now), before) in plan.traces.iter().zip(now.iter()).zip(before.iter()) {
            let z = &trace.tensors["layers.1.z"].1;
            let distance = |h: &[f64]| h.iter().zip(z).map(|(h, &z)| (h - f64::from(z)).powi(2)).sum::<f64>();
            assert!(
                distance(now) <= 1e-6 * distance(before),
                "{name}: {} {}",
                distance(now),
                distance(before)
            );
        }
    }
}

/// Every method of the family and every option changes the layers it was given, each time alike, and leaves the
/// model it planned on alone.
#[test]
fn a_batch_changes_its_layers_and_nothing_else() {
    let short = ["v_num_grad_steps=3"];
    let cases: [(&str, &[&str], usize); 7] = [
        ("memit", &[], 2),
        ("memit", &["blue=true"], 2),
        ("memit", &["consistent_keys=true"], 2),
        ("memit", &["norm_weight=0.0001"], 2),
        ("emmet", &["layers=0,1", "emmet_lambda=0.001"], 2),
        ("alphaedit", &["nullspace_threshold=10", "L2=0.001"], 2),
        ("ledger", &["values=independent"], 2),
    ];
    let model = open("gpt2-tiny");
    let digest = model.digest();
    for (name, options, changed) in cases {
        let settings: Vec<&str> = short.iter().chain(options).copied().collect();
        let editor = method(name, &inputs(&model, &[0, 1], &settings)).unwrap();
        let plan = editor.plan(&model, &facts()).unwrap();
        assert_eq!(plan.patch.changes().len(), changed, "{name} {options:?}");
        let (edited, applied) = model.apply(&plan.patch, &Blobs::new()).unwrap();
        assert_ne!(edited.digest(), digest, "{name} {options:?}");
        assert_eq!(edited.undo(&applied).unwrap().digest(), digest);
        let again = editor.plan(&model, &facts()).unwrap();
        assert_eq!(plan.patch.id(), again.patch.id(), "{name} {options:?} is deterministic");
        let slots = [0, 1].map(|layer| model.slot(Slot::MlpDown(layer)).unwrap().0);
        assert!(plan.patch.changes().keys().all(|path| slots.contains(path)));
    }
}

/// AlphaEdit remembers the keys of what it wrote, goes on from them, and forgets them with the edit.
#[test]
fn alphaedit_carries_its_keys_and_gives_them_back() {
    let model = open("gpt2-tiny");
    let settings = ["nullspace_threshold=10", "v_num_grad_steps=3"];
    let learner = || {
        WeightSequence::new(model.clone(), method("alphaedit", &inputs(&model, &[0, 1], &settings)).unwrap())
    };
    let mut sequence = learner();
    let facts = facts();
    sequence.learn(&facts[..1]).unwrap();
    assert_eq!(sequence.carry().matrices["layers.0.keys"].rows(), 1);
    let after_one = sequence.model().digest();
    sequence.learn(&facts[1..3]).unwrap();
    assert_eq!(sequence.carry().matrices["layers.1.keys"].rows(), 3);
    let after_two = sequence.model().digest();
    sequence.roll_back(1).unwrap();
    assert_eq!(
        (sequence.model().digest(), sequence.carry().matrices["layers.0.keys"].rows()),
        (after_one, 1)
    );
    sequence.learn(&facts[1..3]).unwrap();
    assert_eq!(sequence.model().digest(), after_two);
    // The carry matters: without it the second step is another one.
    let editor = method("alphaedit", &inputs(&model, &[0, 1], &settings)).unwrap();
    let mut first = learner();
    first.learn(&facts[..1]).unwrap();
    let forgetful = editor.plan(first.model(), &facts[1..3]).unwrap();
    let other = first.model().apply(&forgetful.patch, &Blobs::new()).unwrap().0;
    assert_ne!(other.digest(), after_two);
}

#[test]
fn a_batch_is_checked_before_the_work() {
    let model = open("gpt2-tiny");
    let contexts = contexts();
    let memit = Memit::new(BatchSettings::new(vec![0, 1]), contexts, covariance(&model, &[0, 1]));
    let fact = facts().remove(0);
    let twice = memit.plan(&model, &[fact.clone(), fact.clone()]).unwrap_err();
    assert!(matches!(&twice, EditError::GivenTwice { fact: text, .. } if *text == fact.text()), "{twice}");
    let mut other = fact.clone();
    other.target = "warm".to_owned();
    let against = memit.plan(&model, &[fact, other]).unwrap_err();
    let told = matches!(&against, EditError::FactsContradict { target, other, .. } if target == "warm" && other == "cold");
    assert!(told && against.to_string().contains("\"cold\""), "{against}");
    assert!(matches!(memit.plan(&model, &[]), Err(EditError::FactCount { count: 0, .. })));
    let far = method("memit", &inputs(&model, &[1], &["layers=1,99"])).unwrap();
    assert!(matches!(far.plan(&model, &facts()), Err(EditError::Layer { layer: 99, .. })));
    let unmeasured = method("memit", &inputs(&model, &[1], &["layers=0,1"])).unwrap();
    let refused = unmeasured.plan(&model, &facts()).unwrap_err();
    let told = matches!(&refused, EditError::Statistics(StatisticsError::Layer { layer: 0, known }) if *known == [1]);
    assert!(told, "{refused}");
}
