//! An edit that is broken off in the middle of its search: an error, and everything as it was.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;

use recant_backend::{Device, DeviceSpec};
use recant_edit::{Carry, Contexts, EditError, Fact, Watch, Work};
use recant_methods::{MethodInputs, MethodSpec, Setting, lifelong, method};
use recant_model::Model;

fn model() -> Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures/gpt2-tiny");
    Model::open(&dir, &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

fn inputs(spec: &MethodSpec) -> MethodInputs {
    // Long searches, which nothing but the watch ends early.
    let wished = [
        ("mom2_adjustment", "false"),
        ("neutral", "true"),
        ("v_num_grad_steps", "20"),
        ("num_steps", "20"),
        ("epochs", "20"),
        ("n_iter", "20"),
        ("joint_steps", "20"),
    ];
    let known = wished.into_iter().filter(|(key, _)| spec.param(key).is_some());
    let setting = |(key, value): (&str, &str)| Setting { key: key.to_owned(), value: value.to_owned() };
    MethodInputs {
        layer: 1,
        layers: vec![0, 1],
        contexts: Contexts::new(vec!["{}".to_owned(), "So. {}".to_owned()]).unwrap(),
        covariance: None,
        settings: known.map(setting).collect(),
        seed: 0,
    }
}

/// Breaks off at the `at`th step of one kind of work, and counts what it hears.
struct Stops {
    work: Option<Work>,
    at: usize,
    heard: Cell<usize>,
    over: Cell<bool>,
}

impl Stops {
    fn at(work: Option<Work>, at: usize) -> Self {
        Self { work, at, heard: Cell::new(0), over: Cell::new(false) }
    }
}

impl Watch for Stops {
    fn step(&self, work: Work, done: usize, of: usize) -> ControlFlow<()> {
        assert!(done <= of, "{work:?}: {done} of {of}");
        assert!(!self.over.get(), "the work went on after it was broken off");
        if self.work.is_none_or(|wanted| wanted == work) {
            self.heard.set(self.heard.get() + 1);
        }
        self.over.set(self.heard.get() == self.at);
        if self.over.get() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn facts(many: bool) -> Vec<Fact> {
    let fact = |subject: &str, target: &str| Fact::new(subject, "{} is", target).unwrap();
    let all = [fact("The sea", "cold"), fact("The sun", "old")];
    all[..if many { 2 } else { 1 }].to_vec()
}

#[test]
fn a_plan_that_is_broken_off_is_an_error_and_the_model_untouched() {
    let model = model();
    let digest = model.digest();
    for spec in MethodSpec::all().filter(|spec| !spec.is_memory()) {
        let (inputs, facts) = (inputs(spec), facts(spec.many));
        let editor = method(spec.name, &inputs).unwrap();
        let carry = Carry::default();
        for at in [1, 3] {
            let stops = Stops::at(None, at);
            let stopped = editor.plan_watched(&model, &facts, &carry, &stops);
            assert!(matches!(stopped, Err(EditError::Cancelled)), "{} at {at}", spec.name);
            assert_eq!(stops.heard.get(), at, "{}", spec.name);
        }
        assert_eq!(model.digest(), digest, "{}", spec.name);
        // Being watched changes nothing.
        let watched = editor.plan_watched(&model, &facts, &carry, &Stops::at(None, 0)).unwrap();
        assert_eq!(watched, editor.plan_after(&model, &facts, &carry).unwrap(), "{}", spec.name);
    }
}

#[test]
fn a_lesson_that_is_broken_off_was_never_begun() {
    let model = model();
    for spec in MethodSpec::all() {
        let (inputs, facts) = (inputs(spec), facts(false));
        let begun = || lifelong(spec.name, &inputs, model.clone()).unwrap();
        let (mut learner, mut other) = (begun(), begun());
        let stops = Stops::at(None, 3);
        let stopped = learner.learn_watched(&facts, &stops);
        assert!(matches!(stopped, Err(EditError::Cancelled)), "{}", spec.name);
        assert_eq!(learner.steps(), 0, "{}", spec.name);
        let answers = |model: &Model| model.answers("The sea is", 5).unwrap();
        assert_eq!(answers(learner.model()), answers(&model), "{}", spec.name);
        // It goes on as one that was never broken off.
        learner.learn(&facts).unwrap();
        other.learn(&facts).unwrap();
        assert_eq!(answers(learner.model()), answers(other.model()), "{}", spec.name);
        assert_eq!(learner.model().digest(), other.model().digest(), "{}", spec.name);
    }
}

#[test]
fn the_joint_search_of_a_ledger_is_broken_off_too() {
    let model = model();
    let spec = MethodSpec::find("ledger").unwrap();
    let mut learner = lifelong(spec.name, &inputs(spec), model.clone()).unwrap();
    learner.learn(&facts(false)).unwrap();
    let before = learner.model().digest();
    let other = [Fact::new("The moon", "{} is", "far").unwrap()];
    let stopped = learner.learn_watched(&other, &Stops::at(Some(Work::Joint), 4));
    assert!(matches!(stopped, Err(EditError::Cancelled)));
    assert_eq!((learner.steps(), learner.model().digest()), (1, before));
}
