//! UltraEdit: what it changes, what it remembers, what it refuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{facts, open};
use recant_core::{Addend, Blobs, Delta, WeightPatch};
use recant_edit::{Contexts, EditError, Editor, Fact, Lifelong, WeightSequence};
use recant_methods::{MethodInputs, Setting, method};
use recant_model::{Model, Slot};

fn editor(layers: &[usize], settings: &[&str]) -> Box<dyn Editor> {
    let inputs = MethodInputs {
        layer: 1,
        layers: layers.to_vec(),
        contexts: Contexts::bare(),
        covariance: None,
        settings: settings.iter().map(|text| Setting::parse(text).unwrap()).collect(),
        seed: 0,
    };
    method("ultraedit", &inputs).unwrap()
}

/// Mean log-probability of the facts' first target tokens.
fn log_prob(model: &Model, facts: &[Fact]) -> f64 {
    let of = |fact: &Fact| {
        let request = recant_edit::Request::new(model, fact).unwrap();
        let answers = model.answers(&fact.text(), model.spec().vocab).unwrap();
        f64::from(answers.iter().find(|answer| answer.id == request.target[0]).unwrap().logprob)
    };
    facts.iter().map(of).sum::<f64>() / facts.len() as f64
}

fn dense(patch: &WeightPatch) -> Vec<&'static str> {
    let kind = |delta: &Delta| match delta {
        Delta::Add(Addend::Dense(_)) => "full",
        Delta::Add(_) => "factors",
        Delta::Swap { .. } => "swap",
    };
    patch.changes().values().map(|change| kind(&change.delta)).collect()
}

/// Facts become more probable pass by pass, on every family alike; nothing but the layers' matrices changes, the same
/// again, and it goes back to the byte.
#[test]
fn facts_become_more_probable_pass_by_pass() {
    for name in ["gpt2-tiny", "llama-tiny-gqa", "gemma2-tiny", "qwen2-tiny"] {
        let model = open(name);
        let digest = model.digest();
        let mut before = log_prob(&model, &facts());
        for passes in ["passes=1", "passes=4", "passes=12"] {
            let editor = editor(&[0, 1], &["lr=0.1", passes]);
            let plan = editor.plan(&model, &facts()).unwrap();
            let (edited, applied) = model.apply(&plan.patch, &Blobs::new()).unwrap();
            let after = log_prob(&edited, &facts());
            assert!(after > before, "{name}, {passes}: {after} {before}");
            before = after;
            let slots = [0, 1].map(|layer| model.slot(Slot::MlpDown(layer)).unwrap().0);
            assert!(plan.patch.changes().keys().eq(slots.iter()), "{name}");
            assert_eq!(edited.undo(&applied).unwrap().digest(), digest);
            assert_eq!(editor.plan(&model, &facts()).unwrap().patch.id(), plan.patch.id(), "{name}");
            assert_eq!(plan.traces.len(), facts().len());
            let falls = |losses: &[[f32; 4]]| losses.len() < 2 || losses[losses.len() - 1][0] < losses[0][0];
            assert!(plan.traces.iter().all(|trace| falls(&trace.losses)), "{name}, {passes}");
        }
    }
}

/// Few tokens change a matrix by factors, many in full.
#[test]
fn a_patch_is_as_small_as_its_facts_allow() {
    let model = open("gpt2-tiny");
    let one = editor(&[1], &["passes=1"]).plan(&model, &facts()[..1]).unwrap();
    assert_eq!(dense(&one.patch), ["factors"]);
    let all = editor(&[1], &["passes=3"]).plan(&model, &facts()).unwrap();
    assert_eq!(dense(&all.patch), ["full"]);
}

/// What was seen travels with an edit, counts for the next one, and is given back with it.
#[test]
fn the_spreads_go_on_and_are_given_back() {
    let model = open("gpt2-tiny");
    let facts = facts();
    let learner = || WeightSequence::new(model.clone(), editor(&[0, 1], &["passes=2"]));
    let mut sequence = learner();
    sequence.learn(&facts[..1]).unwrap();
    let tokens = |sequence: &WeightSequence| sequence.carry().matrices["layers.0.seen"].data()[0];
    let (first, after_one) = (tokens(&sequence), sequence.model().digest());
    sequence.learn(&facts[1..3]).unwrap();
    let after_two = sequence.model().digest();
    assert!(tokens(&sequence) > first && first > 1.0);
    sequence.roll_back(1).unwrap();
    assert_eq!((sequence.model().digest(), tokens(&sequence)), (after_one, first));
    sequence.learn(&facts[1..3]).unwrap();
    assert_eq!(sequence.model().digest(), after_two);
    let mut other = learner();
    other.learn(&facts[..1]).unwrap();
    let forgetful = editor(&[0, 1], &["passes=2"]).plan(other.model(), &facts[1..3]).unwrap();
    assert_ne!(other.model().apply(&forgetful.patch, &Blobs::new()).unwrap().0.digest(), after_two);
}

/// The facts of the next turn are read on the model that the last one left, as in a sequence of such steps; what is kept
/// between two steps is rounded to f32, so that the two differ in the last digits.
#[test]
fn turns_are_the_steps_of_a_sequence() {
    let model = open("llama-tiny-gqa");
    let facts = facts();
    let plan = editor(&[1], &["passes=2", "lr=0.2", "turn=2"]).plan(&model, &facts).unwrap();
    let edited = model.apply(&plan.patch, &Blobs::new()).unwrap().0;
    let mut sequence = WeightSequence::new(model.clone(), editor(&[1], &["passes=2", "lr=0.2"]));
    sequence.learn(&facts[..2]).unwrap();
    sequence.learn(&facts[2..]).unwrap();
    for fact in &facts {
        let (one, two) = (
            log_prob(&edited, std::slice::from_ref(fact)),
            log_prob(sequence.model(), std::slice::from_ref(fact)),
        );
        assert!((one - two).abs() < 1e-3, "{one} {two}");
    }
    let at_once = editor(&[1], &["passes=2", "lr=0.2"]).plan(&model, &facts).unwrap();
    let at_once = model.apply(&at_once.patch, &Blobs::new()).unwrap().0;
    let off = |fact: &Fact| {
        let fact = std::slice::from_ref(fact);
        (log_prob(&at_once, fact) - log_prob(&edited, fact)).abs()
    };
    assert!(facts.iter().map(off).fold(0.0, f64::max) > 1e-2, "turns matter");
}

#[test]
fn what_cannot_be_edited_is_refused_by_name() {
    let model = open("gpt2-tiny");
    let fact = facts().remove(0);
    let plan = |layers: &[usize], facts: &[Fact]| editor(layers, &[]).plan(&model, facts).map(|_| ());
    let twice = plan(&[1], &[fact.clone(), fact.clone()]);
    assert!(matches!(twice, Err(EditError::GivenTwice { .. })), "{twice:?}");
    let mut other = fact.clone();
    other.target = "warm".to_owned();
    let against = plan(&[1], &[fact.clone(), other]);
    assert!(matches!(against, Err(EditError::FactsContradict { .. })), "{against:?}");
    assert!(matches!(plan(&[1], &[]), Err(EditError::FactCount { count: 0, .. })));
    assert!(matches!(plan(&[9], std::slice::from_ref(&fact)), Err(EditError::Layer { layer: 9, .. })));
    for setting in ["lr=0", "turn=0", "passes=0", "ridge=0", "steps=3"] {
        let inputs = MethodInputs {
            layer: 1,
            layers: Vec::new(),
            contexts: Contexts::bare(),
            covariance: None,
            settings: vec![Setting::parse(setting).unwrap()],
            seed: 0,
        };
        assert!(matches!(method("ultraedit", &inputs), Err(EditError::Setting { .. })), "{setting}");
    }
}
