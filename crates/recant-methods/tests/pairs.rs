//! GRACE and the retrieval memory on a model: learning, storing, going back, forgetting.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use recant_backend::{Device, DeviceSpec};
use recant_core::AdapterState;
use recant_edit::{Contexts, EditError, Fact, Lifelong, Memory, Request};
use recant_methods::grace::{Grace, GraceSettings};
use recant_methods::lifelong::{Pairs, StateFileError, load_state, save_state};
use recant_methods::retrieval::{Retrieval, RetrievalSettings};
use recant_methods::search::Base;
use recant_model::{Model, Strategy};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name)
}

fn open(name: &str) -> Model {
    Model::open(&fixture(name), &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

fn facts() -> Vec<Fact> {
    let fact = |subject, prompt, target| Fact::new(subject, prompt, target).unwrap();
    vec![
        fact("The sea", "{} is", "cold"),
        fact("cat", "We saw that the {} was very", "old and tired"),
        fact("The road", "{} was closed for", "music"),
        fact("dog", "the {} came", "home"),
    ]
}

fn grace(model: &Model) -> Pairs {
    Grace::begin(model.clone(), GraceSettings { eps: 0.05, ..GraceSettings::new(0) }).unwrap()
}

fn memory(model: &Model) -> Pairs {
    let settings = RetrievalSettings { gamma: 0.9, ..RetrievalSettings::new(0) };
    let contexts = Contexts::new(vec!["{}".into(), "So. {}".into()]).unwrap();
    Retrieval::begin(model.clone(), settings, contexts).unwrap()
}

fn reopen(name: &str, model: &Model, state: &AdapterState) -> Result<Pairs, EditError> {
    if name == "grace" { Grace::open(model.clone(), state) } else { Retrieval::open(model.clone(), state) }
}

/// Digest of the bits of all log-probabilities behind every fact's prompt.
fn logits(model: &Model) -> [u8; 32] {
    let vocab = model.spec().vocab;
    let ask = |fact: &Fact| {
        let mut answers = model.answers(&fact.text(), vocab).unwrap();
        answers.sort_by_key(|answer| answer.id);
        answers.into_iter().flat_map(|answer| answer.logprob.to_le_bytes()).collect::<Vec<u8>>()
    };
    recant_core::bytes_digest(&facts().iter().flat_map(ask).collect::<Vec<u8>>())
}

#[test]
fn grace_says_the_targets_and_leaves_other_prompts_alone() {
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        let model = open(name);
        let mut grace = grace(&model);
        for fact in facts() {
            grace.learn(&[fact]).unwrap();
        }
        for fact in facts() {
            let tokens = Request::new(&model, &fact).unwrap().target;
            let ids = model.tokenizer().encode(&fact.text()).unwrap();
            let written = grace.model().generate_ids(ids.clone(), 1, Strategy::Greedy, false).unwrap();
            assert_eq!(written.ids[ids.len()], tokens[0], "{name}: {:?}", fact.text());
        }
        for prompt in ["It rained", "The sea was", "We saw the"] {
            let (a, b) = (model.answers(prompt, 20).unwrap(), grace.model().answers(prompt, 20).unwrap());
            assert_eq!(a, b, "{name}: {prompt:?} is out of every ball");
        }
        assert_eq!(grace.model().digest(), model.digest(), "no weight moves");
    }
}

#[test]
fn what_is_stored_comes_back_bit_for_bit_and_goes_on_learning() {
    let model = open("gpt2-tiny");
    for make in [grace as fn(&Model) -> Pairs, memory] {
        let mut whole = make(&model);
        for fact in facts() {
            whole.learn(&[fact]).unwrap();
        }
        let mut half = make(&model);
        for fact in &facts()[..2] {
            half.learn(std::slice::from_ref(fact)).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        save_state(&half.state().unwrap(), &path).unwrap();
        let mut back = reopen(half.name(), &open("gpt2-tiny"), &load_state(&path).unwrap().value).unwrap();
        assert_eq!(logits(back.model()), logits(half.model()), "{}", half.name());
        assert_eq!(back.steps(), 2);
        for fact in &facts()[2..] {
            back.learn(std::slice::from_ref(fact)).unwrap();
        }
        assert_eq!(back.state().unwrap().id(), whole.state().unwrap().id(), "{}", half.name());
        assert_eq!(logits(back.model()), logits(whole.model()));
        assert_ne!(logits(whole.model()), logits(&model), "{} changes something", half.name());
    }
}

#[test]
fn an_edit_taken_out_was_never_there() {
    let model = open("gpt2-tiny");
    for make in [grace as fn(&Model) -> Pairs, memory] {
        // Every order of taking all four out.
        for order in [[0usize, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut left = facts();
            let mut all = make(&model);
            for fact in &left {
                all.learn(std::slice::from_ref(fact)).unwrap();
            }
            for gone in order {
                let index = left.iter().position(|fact| *fact == facts()[gone]).unwrap();
                left.remove(index);
                all.forget(index).unwrap();
                let mut never = make(&model);
                for fact in &left {
                    never.learn(std::slice::from_ref(fact)).unwrap();
                }
                assert_eq!(all.facts(), never.facts());
                assert_eq!(all.pairs(), never.pairs());
                assert_eq!(logits(all.model()), logits(never.model()), "{}: without {gone}", all.name());
            }
            assert!(all.model().adapters().is_empty());
        }
        let missing = make(&model).forget(0);
        assert!(matches!(missing, Err(EditError::NoEdit { index: 0, count: 0 })));
    }
}

#[test]
fn going_back_is_exact_and_a_refused_fact_changes_nothing() {
    let model = open("gpt2-tiny");
    for make in [grace as fn(&Model) -> Pairs, memory] {
        let mut pairs = make(&model);
        let mut points = vec![logits(pairs.model())];
        for fact in facts() {
            pairs.learn(&[fact]).unwrap();
            points.push(logits(pairs.model()));
        }
        let before = pairs.state().unwrap();
        let long = Fact::new("cat", format!("{}{{}} is", "so ".repeat(200)), "old").unwrap();
        assert!(pairs.learn(&[facts().remove(0), long]).is_err());
        assert_eq!(pairs.state().unwrap(), before, "all of a step or nothing");
        for steps in (0..=4).rev() {
            pairs.roll_back(steps).unwrap();
            assert_eq!((pairs.steps(), logits(pairs.model())), (steps, points[steps]));
        }
    }
}

#[test]
fn a_pair_moves_in_without_a_search() {
    let model = open("gpt2-tiny");
    let mut first = memory(&model);
    first.learn(&facts()[..1]).unwrap();
    let mut second = memory(&model);
    second.insert(&facts()[0], first.pairs()[0].clone()).unwrap();
    assert_eq!(first.state().unwrap(), second.state().unwrap());
    let mut short = first.pairs()[0].clone();
    short.key.pop();
    assert!(matches!(second.insert(&facts()[0], short), Err(EditError::State { .. })));
}

#[test]
fn a_state_of_something_else_is_refused() {
    let model = open("gpt2-tiny");
    let mut grace = grace(&model);
    grace.learn(&facts()[..1]).unwrap();
    let state = grace.state().unwrap();
    let message = |result: Result<Pairs, EditError>| result.err().unwrap().to_string();
    assert!(message(Grace::open(open("gpt2-tiny-f16"), &state)).contains("made for model"));
    assert!(message(Retrieval::open(model.clone(), &state)).contains("has no such setting"));
    let parts = |layer: u32, tensors| {
        AdapterState::new(
            "grace",
            state.base(),
            layer,
            state.settings().clone(),
            state.facts().to_vec(),
            tensors,
        )
    };
    let empty = parts(0, Default::default()).unwrap();
    assert!(message(Grace::open(model.clone(), &empty)).contains("no tensor `keys`"));
    let far = parts(99, state.tensors().clone()).unwrap();
    assert!(matches!(Grace::open(model.clone(), &far), Err(EditError::Layer { layer: 99, .. })));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    save_state(&state, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = load_state(&path).unwrap_err();
    assert!(matches!(error, StateFileError::Format { .. }) && error.to_string().contains("damaged or cut"));
    assert!(matches!(load_state(&dir.path().join("none")), Err(StateFileError::Read { .. })));
}

/// A fact answers its own prompt whatever the gate: where the mean key is too far from the bare prompt's, the key is nearer to it.
#[test]
fn a_fact_opens_its_own_gate() {
    let cosine = |a: &[f32], b: &[f32]| {
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let templates = ["{}", "The weather was cold. {}", "Because of this they moved. {}", "So. {}"];
    let contexts = Contexts::new(templates.map(str::to_owned).to_vec()).unwrap();
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        let model = open(name);
        // Its subject begins the text.
        let fact = Fact::new("The", "{} sea is", "cold").unwrap();
        let rows = recant_methods::lookup::rows_of(&model, &fact, &contexts).unwrap();
        for gamma in [-1.0, 0.3, 0.65, 0.9, 0.99, 0.999_9] {
            let settings = RetrievalSettings { gamma, ..RetrievalSettings::new(1) };
            let mut pairs = Retrieval::begin(model.clone(), settings, contexts.clone()).unwrap();
            pairs.learn(std::slice::from_ref(&fact)).unwrap();
            let seen = Base::observe(&model, 1, &rows).unwrap();
            let (key, bare) = (&pairs.pairs()[0].key, &seen.keys[0]);
            assert!(cosine(key, bare) > gamma, "{name}, {gamma}: {}", cosine(key, bare));
            let answer = |model: &Model| model.answers(&fact.text(), 5).unwrap();
            assert_ne!(answer(pairs.model()), answer(&model), "{name}, {gamma}");
            // The published mean where any key opens, the bare prompt's own where no other is near enough.
            assert!((gamma > -1.0 || key != bare) && (gamma < 0.999 || key == bare), "{name}, {gamma}");
        }
    }
}
