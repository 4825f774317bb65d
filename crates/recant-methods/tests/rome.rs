//! ROME's closed form, on both shapes of model.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use recant_backend::{Device, DeviceSpec, host};
use recant_core::{Addend, Blobs, Delta};
use recant_edit::{Contexts, EditError, Editor, Fact, Plan, StatisticsError};
use recant_methods::moments::{Collector, Moments};
use recant_methods::rome::{Covariance, KeyRule, Rome, RomeSettings};
use recant_methods::{METHODS, MethodInputs, Setting, method};
use recant_model::{Model, Slot};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name)
}

fn open(name: &str) -> Model {
    Model::open(&fixture(name), &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

fn contexts() -> Contexts {
    let templates = ["{}", "The weather was cold. {}", "Because of this they moved. {}"];
    Contexts::new(templates.map(str::to_owned).to_vec()).unwrap()
}

fn fact() -> Fact {
    Fact::new("The sea", "{} is", "cold").unwrap()
}

/// Moments over a text with enough different tokens to have full rank.
fn covariance(model: &Model, layer: usize) -> Covariance {
    let mut collector = Collector::new(model, &[layer], Some(4_000)).unwrap();
    for i in 0..400u32 {
        let word = |k: u32| char::from(b'a' + ((i * 7 + k * 13 + i * i * k) % 26) as u8);
        let text: String = (0..10).map(|k| if k % 4 == 3 { ' ' } else { word(k) }).collect();
        collector.text(&text).unwrap();
    }
    Covariance::measured(Arc::new(collector.finish().unwrap()), model).unwrap()
}

fn plan(model: &Model, keys: KeyRule, covariance: Covariance) -> Plan {
    let settings = RomeSettings::new(1, keys);
    Rome::new(settings, contexts(), covariance).plan(model, &[fact()]).unwrap()
}

fn traced<'a>(plan: &'a Plan, name: &str) -> &'a [f32] {
    &plan.traces[0].tensors[name].1
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Ŵ k' + b = v*: the edited matrix answers v* to the key of the divisor, exactly up to rounding, and
/// changes nothing in directions C-orthogonal to k*.
fn writes_v_star(name: &str, keys: KeyRule, covariance: impl Fn(&Model) -> Covariance) {
    let model = open(name);
    let plan = plan(&model, keys, covariance(&model));
    let (edited, _) = model.apply(&plan.patch, &Blobs::new()).unwrap();
    let [d_out, d_in] = model.weight(Slot::MlpDown(1)).unwrap().dims();
    let (before, after) =
        (host(&model.weight(Slot::MlpDown(1)).unwrap()), host(&edited.weight(Slot::MlpDown(1)).unwrap()));
    let k = traced(&plan, "k_prime");
    let (v, output) = (traced(&plan, "v_star"), traced(&plan, "cur_output"));
    for i in 0..d_out {
        let row = |w: &[f32]| dot(&w[i * d_in..(i + 1) * d_in], k);
        let moved = row(&after) - row(&before);
        let wanted = f64::from(v[i] - output[i]);
        let scale = dot(v, v).sqrt();
        assert!((moved - wanted).abs() <= 1e-4 * scale, "{name}, row {i}: moved {moved}, wanted {wanted}");
    }
}

#[test]
fn r_rome_writes_v_star_at_the_mean_key() {
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        writes_v_star(name, KeyRule::Mean, |model| covariance(model, 1));
    }
}

#[test]
fn rome_writes_v_star_at_the_bare_key() {
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        writes_v_star(name, KeyRule::Bare, |_| Covariance::Identity);
    }
}

/// u solves C u = k*, up to its normalisation.
#[test]
fn u_is_the_whitened_key() {
    let model = open("gpt2-tiny");
    let Covariance::Measured(_) = covariance(&model, 1) else { panic!("measured") };
    let mut collector = Collector::new(&model, &[1], Some(2_000)).unwrap();
    for i in 0..300u32 {
        collector.text(&format!("a{i} word number {} of the sea", i * i)).unwrap();
    }
    let moments = Arc::new(collector.finish().unwrap());
    let measured = Covariance::measured(Arc::clone(&moments), &model);
    let plan = plan(&model, KeyRule::Mean, measured.unwrap());
    let (u, k) = (traced(&plan, "u"), traced(&plan, "k_star"));
    let c = moments.mean(1).unwrap();
    let d = u.len();
    let cu: Vec<f32> =
        (0..d).map(|i| (0..d).map(|j| c[i * d + j] * f64::from(u[j])).sum::<f64>() as f32).collect();
    let cosine = dot(&cu, k) / (dot(&cu, &cu) * dot(k, k)).sqrt();
    assert!(cosine > 1.0 - 1e-6, "C u is parallel to k*: {cosine}");
    assert!((dot(u, u) - 1.0).abs() < 1e-5);
}

/// The edit raises the target's probability, and is one rank-one change in kilobytes.
///
/// A random model's MLP adds next to nothing to the residual stream, so the bounds that are relative to its
/// output, the clamp and the weight decay, are opened; and its logits differ by less than one, so no answer
/// can become much more probable than another.
#[test]
fn an_edit_is_small_and_works() {
    for (name, keys) in
        [("gpt2-tiny", KeyRule::Mean), ("llama-tiny-gqa", KeyRule::Mean), ("gpt2-tiny", KeyRule::Bare)]
    {
        let model = open(name);
        let mut settings = RomeSettings::new(1, keys);
        settings.search.clamp_norm_factor = 1e3;
        settings.search.v_weight_decay = 0.0;
        let plan = Rome::new(settings, contexts(), covariance(&model, 1)).plan(&model, &[fact()]).unwrap();
        let (edited, _) = model.apply(&plan.patch, &Blobs::new()).unwrap();
        let target = model.tokenizer().continuation("The sea is", "cold", false).unwrap().target[0];
        let p = |model: &Model| {
            let answers = model.answers("The sea is", model.spec().vocab).unwrap();
            answers.iter().find(|answer| answer.id == target).unwrap().logprob
        };
        assert!(p(&edited) > p(&model) + 0.1, "{name}: {} to {}", p(&model), p(&edited));
        let changes: Vec<_> = plan.patch.changes().values().collect();
        assert!(
            matches!(&changes[..], [change] if matches!(&change.delta, Delta::Add(addend) if addend.rank() == Some(1)))
        );
        assert!(plan.patch.encode().len() < 2_000, "{}", plan.patch.encode().len());
    }
}

/// Equal inputs give equal bytes.
#[test]
fn planning_is_deterministic_and_reads_only() {
    let model = open("gpt2-tiny");
    let digest = (model.digest(), model.device_digest());
    let once = plan(&model, KeyRule::Mean, covariance(&model, 1));
    let again = plan(&model, KeyRule::Mean, covariance(&model, 1));
    assert_eq!(once.patch.id(), again.patch.id());
    assert_eq!((model.digest(), model.device_digest()), digest);
}

#[test]
fn an_identity_covariance_is_never_silent() {
    let model = open("gpt2-tiny");
    let inputs = |settings: &[&str]| MethodInputs {
        layer: 1,
        layers: vec![],
        contexts: contexts(),
        covariance: None,
        settings: settings.iter().map(|text| Setting::parse(text).unwrap()).collect(),
        seed: 0,
    };
    let refused = method("r-rome", &inputs(&[])).map(|_| ()).unwrap_err();
    assert!(matches!(refused, EditError::Statistics(StatisticsError::Missing)), "{refused}");
    let editor = method("r-rome", &inputs(&["mom2_adjustment=false"])).unwrap();
    let plan = editor.plan(&model, &[fact()]).unwrap();
    assert!(plan.notes.iter().any(|note| note.contains("C = I")), "{:?}", plan.notes);
    assert_eq!(editor.settings()["mom2_adjustment"], "false");
}

#[test]
fn statistics_of_another_model_are_refused_by_both_digests() {
    let (mine, other) = (open("gpt2-tiny"), open("gpt2-tiny-f16"));
    let moments = Moments::new(other.digest(), [0; 32], 1, BTreeMap::new());
    let error = Covariance::measured(Arc::new(moments), &mine).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains(&mine.digest().to_string()) && error.contains(&other.digest().to_string()),
        "{error}"
    );
}

#[test]
fn every_method_edits_and_refuses_what_it_does_not_know() {
    let model = open("gpt2-tiny");
    for info in METHODS {
        let covariance = info.needs_moments.then(|| covariance(&model, 1));
        let inputs = MethodInputs {
            layer: 1,
            layers: vec![],
            contexts: contexts(),
            covariance,
            settings: vec![],
            seed: 0,
        };
        let plan = method(info.name, &inputs).unwrap().plan(&model, &[fact()]).unwrap();
        let (edited, applied) = model.apply(&plan.patch, &Blobs::new()).unwrap();
        assert_ne!(edited.digest(), model.digest(), "{}", info.name);
        let back = edited.undo(&applied).unwrap();
        assert_eq!(back.digest(), model.digest(), "{}", info.name);
        let wrong = MethodInputs { settings: vec![Setting::parse("v_speed=1").unwrap()], ..inputs };
        assert!(method(info.name, &wrong).is_err(), "{}", info.name);
    }
    let inputs = MethodInputs {
        layer: 1,
        layers: vec![],
        contexts: contexts(),
        covariance: None,
        settings: vec![],
        seed: 0,
    };
    assert!(method("rone", &inputs).is_err());
}

/// FT-L moves no weight further than its bound.
#[test]
fn ft_l_stays_within_its_norm_constraint() {
    let model = open("gpt2-tiny");
    let settings = vec![Setting::parse("norm_constraint=0.001").unwrap(), Setting::parse("lr=0.01").unwrap()];
    let inputs =
        MethodInputs { layer: 1, layers: vec![], contexts: contexts(), covariance: None, settings, seed: 0 };
    let plan = method("ft-l", &inputs).unwrap().plan(&model, &[fact()]).unwrap();
    let change = plan.patch.changes().values().next().unwrap();
    let Delta::Add(Addend::Dense(delta)) = &change.delta else { panic!("dense") };
    let largest = delta.data().iter().fold(0.0f32, |most, x| most.max(x.abs()));
    assert!(largest > 0.0005 && largest <= 0.001 + 1e-6, "{largest}");
}

/// Moments of hand-checkable keys: the mean outer product over every token, whatever the batching.
#[test]
fn moments_are_the_mean_outer_product() {
    use recant_core::{Point, Site};
    use recant_model::{ForwardInput, Observer, TokenBatch};
    let model = open("llama-tiny-gqa");
    let texts = ["The sea is cold.", "A cat", "the old cat was very tired and the sea was old"];
    let mut collector = Collector::new(&model, &[0, 2], Some(1_000)).unwrap();
    for text in texts {
        collector.text(text).unwrap();
    }
    let moments = collector.finish().unwrap();
    let d = model.spec().d_mlp;
    for layer in [0u16, 2] {
        let mut sum = vec![0.0f64; d * d];
        let mut tokens = 0;
        for text in texts {
            let ids = model.tokenizer().encode(text).unwrap();
            let batch = TokenBatch::new(std::slice::from_ref(&ids), model.spec()).unwrap();
            let site = Site::Block(layer, Point::MlpKey);
            let mut observer = Observer::up_to([site]);
            let _stopped = model.net().forward(ForwardInput::tokens(&batch, model.device()), &mut observer);
            for key in host(&observer.take(site).unwrap()).chunks(d) {
                for i in 0..d {
                    for j in 0..d {
                        sum[i * d + j] += f64::from(key[i]) * f64::from(key[j]);
                    }
                }
                tokens += 1;
            }
        }
        assert_eq!(moments.tokens, tokens);
        let largest = sum.iter().fold(0.0f64, |most, x| most.max(x.abs())) / tokens as f64;
        for (ours, sum) in moments.mean(usize::from(layer)).unwrap().iter().zip(sum) {
            assert!((ours - sum / tokens as f64).abs() <= 1e-5 * largest, "{ours} and {sum}");
        }
    }
}
