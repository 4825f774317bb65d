//! Edits from request to outcome, of a model and at the head of a store, and how they are broken off.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::Cell;
use std::path::{Path, PathBuf};

use recant_app::{
    CommitNote, Dialogue, DialogueError, EditFailure, EditOutcome, EditPlace, EditRequest, EditSource,
    MethodSources, ModelName, Observer, Progress, ResourceError, Silent, edit, ties,
};
use recant_backend::{Device, DeviceSpec};
use recant_core::OnConflict;
use recant_edit::{EditError, Fact};
use recant_methods::{Setting, Wishes};
use recant_model::{AskError, Model};
use recant_store::{Import, Name, Stamp, Store};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name)
}

fn device() -> Device {
    Device::open(DeviceSpec::Flex).unwrap()
}

fn model() -> Model {
    ModelName::from(fixture("gpt2-tiny")).find(&Silent).unwrap().open(&device(), &Silent).unwrap()
}

fn sources(settings: &[&str]) -> MethodSources {
    let settings = settings.iter().map(|text| Setting::parse(text).unwrap()).collect();
    MethodSources { wishes: Wishes { settings, ..Wishes::default() }, ..MethodSources::default() }
}

fn fact(subject: &str, target: &str) -> Fact {
    Fact::new(subject, "{} is", target).unwrap()
}

fn request(method: &str, facts: &[Fact]) -> EditRequest {
    let sources = sources(&["mom2_adjustment=false", "v_num_grad_steps=5"]);
    EditRequest { method: method.to_owned(), sources, ..EditRequest::new(facts.to_vec()) }
}

/// Breaks off at the first step of some work, or at the first of any.
struct Stops<'a> {
    at: &'a str,
    stopped: Cell<bool>,
}

impl<'a> Stops<'a> {
    fn at(at: &'a str) -> Self {
        Self { at, stopped: Cell::new(false) }
    }
}

impl Observer for Stops<'_> {
    fn note(&self, _: &str) {}

    fn progress(&self, progress: Progress<'_>) {
        self.stopped.set(self.stopped.get() || progress.work == self.at);
    }

    fn idle(&self) {}

    fn cancelled(&self) -> bool {
        self.stopped.get()
    }
}

#[test]
fn one_fact_and_many_go_one_way() {
    let place = EditPlace::from(model());
    let facts = [fact("The sea", "cold"), fact("The sun", "old")];
    for (method, facts) in [("r-rome", &facts[..1]), ("memit", &facts), ("ledger", &facts)] {
        let outcome = edit(&place, request(method, facts), &Silent).unwrap();
        assert_eq!(outcome.before.digest(), place.model.digest(), "{method}");
        assert_ne!(outcome.after.digest(), place.model.digest(), "{method}");
        assert_eq!(outcome.judged().len(), facts.len(), "{method}");
        assert_eq!(outcome.answers.is_some(), facts.len() == 1, "{method}");
        assert_eq!(outcome.ledger.map(|ledger| ledger.len()), (method == "ledger").then_some(2), "{method}");
    }
    let error = edit(&place, request("r-rome", &facts), &Silent).err().unwrap();
    assert!(matches!(error, EditFailure::Edit(EditError::FactCount { count: 2, .. })), "{error}");
}

/// What the model says already is told, and not edited unless that is asked for.
#[test]
fn what_is_so_already_is_left_alone() {
    let demo = ModelName::from(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/model"));
    let place = EditPlace::from(demo.find(&Silent).unwrap().open(&device(), &Silent).unwrap());
    let said = |target: &str| Fact::new("Adrusk Rikkaquav", "{} counts and dreams in", target).unwrap();
    let made = |facts: &[Fact], again| {
        let request = EditRequest { again, ..request("memit", facts) };
        edit(&place, request, &Silent).map(|outcome| outcome.verdicts.len())
    };
    let refused = made(&[said("Veltish")], false).unwrap_err();
    assert!(matches!(&refused, EditFailure::AlreadySo { others: 0, .. }), "{refused}");
    let told = refused.to_string();
    assert!(
        told.contains(
            "already so: the model says \"Veltish\" after \"Adrusk Rikkaquav counts and dreams in\""
        ),
        "{told}"
    );
    assert_eq!(made(&[said("Veltish")], true).unwrap(), 1);
    // One fact that is not so is a reason to edit.
    assert_eq!(made(&[said("Tashic")], false).unwrap(), 1);
}

#[test]
fn a_ledger_takes_facts_in_and_out() {
    let place = EditPlace::from(model());
    let (sea, sun) = (fact("The sea", "cold"), fact("The sun", "old"));
    let ledger = |of: EditOutcome| of.ledger.unwrap();
    let both = ledger(edit(&place, request("ledger", &[sea.clone(), sun.clone()]), &Silent).unwrap());
    let other = fact("The sea", "warm");
    let contradicting = EditRequest { ledger: Some(both.clone()), ..request("ledger", &[other]) };
    let error = edit(&place, contradicting, &Silent).err().unwrap();
    assert!(matches!(error, EditFailure::Contradiction { held, .. } if held.target == "cold"));
    for (policy, target) in [(OnConflict::Ours, "cold"), (OnConflict::Theirs, "warm")] {
        let deciding = EditRequest {
            ledger: Some(both.clone()),
            on_conflict: Some(policy),
            ..request("ledger", &[fact("The sea", "warm")])
        };
        let decided = ledger(edit(&place, deciding, &Silent).unwrap());
        let said = |fact: &&Fact| fact.subject == "The sea";
        let targets: Vec<&str> = decided.facts().filter(said).map(|fact| fact.target.as_str()).collect();
        assert_eq!(targets, [target], "{policy:?}");
    }
    let removing = EditRequest { ledger: Some(both), remove: vec![sea], ..request("ledger", &[]) };
    let left = edit(&place, removing, &Silent).unwrap();
    let alone = edit(&place, request("ledger", &[sun]), &Silent).unwrap();
    assert_eq!(left.after.digest(), alone.after.digest());
    assert_eq!(ledger(left).encode(), ledger(alone).encode());
}

#[test]
fn an_edit_is_committed_at_the_head_that_it_was_made_at() {
    let dir = tempfile::tempdir().unwrap();
    let stamp = || Stamp { time: 0, author: "Ada".to_owned() };
    Store::init(dir.path(), Name::new("main").unwrap(), &stamp()).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let source = ModelName::from(fixture("gpt2-tiny")).find(&Silent).unwrap().source().unwrap();
    let import = Import {
        link: false,
        pack: false,
        ties: ties(&*source).unwrap(),
        branch: None,
        message: String::new(),
        tool: "a test".to_owned(),
    };
    store.import_source(&*source, &import, &stamp(), None).unwrap();
    let wanted = request("r-rome", &[fact("The sea", "cold")]);
    let place = EditSource::Store(&store).open(wanted.check().unwrap(), &device(), &Silent).unwrap();
    let outcome = edit(&place, wanted, &Silent).unwrap();
    let head = place.head.unwrap();
    let note = CommitNote { message: None, tool: "a test".to_owned(), stamp: stamp(), sign: None };
    let id = head.commit(&outcome, &note).unwrap();
    assert_eq!(store.model_digest(id).unwrap(), outcome.after.digest());
    assert_eq!(store.odb().commit(id).unwrap().message, "The sea is -> cold");
    // The head is another one now.
    assert!(head.commit(&outcome, &note).is_err());
}

#[test]
fn an_observer_breaks_an_edit_off() {
    let place = EditPlace::from(model());
    let digest = place.model.digest();
    let works = [("r-rome", "search"), ("ft-m", "search"), ("memit", "values"), ("ledger", "joint values")];
    for (method, work) in works {
        let sources = if method == "ft-m" { MethodSources::default() } else { request(method, &[]).sources };
        let wanted = EditRequest { sources, ..request(method, &[fact("The sea", "cold")]) };
        let error = edit(&place, wanted, &Stops::at(work)).err().unwrap();
        assert!(matches!(error, EditFailure::Edit(EditError::Cancelled)), "{method}: {error}");
    }
    let error = edit(&place, request("r-rome", &[fact("The sea", "cold")]), &Stops::at("contexts"));
    assert!(matches!(error.err().unwrap(), EditFailure::Resources(ResourceError::Cancelled)));
    let text = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(text.path(), "The sea is cold and the sun is old.\n".repeat(400)).unwrap();
    let measured = MethodSources { corpus: vec![text.path().to_owned()], ..MethodSources::default() };
    let wanted = EditRequest { sources: measured, ..request("r-rome", &[fact("The sea", "cold")]) };
    let error = edit(&place, wanted, &Stops::at("second moments")).err().unwrap();
    assert!(matches!(error, EditFailure::Resources(ResourceError::Cancelled)), "{error}");
    assert_eq!(place.model.digest(), digest);
}

#[test]
fn an_answer_and_an_edit_of_a_dialogue_are_broken_off() {
    let base = model();
    let mut dialogue = Dialogue::new(base.clone(), "r-rome", request("r-rome", &[]).sources).unwrap();
    let stopped = dialogue.edit(fact("The sea", "cold"), &Stops::at("search"));
    assert!(matches!(stopped, Err(DialogueError::Edit(EditError::Cancelled))));
    assert_eq!((dialogue.edits().len(), dialogue.model().digest()), (0, base.digest()));
    let mut pieces = 0;
    let stopped = dialogue.say("The sea is", 20, &mut |_| {
        pieces += 1;
        std::ops::ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(DialogueError::Ask(AskError::Cancelled))));
    assert_eq!(pieces, 1);
    assert!(dialogue.edit(fact("The sea", "cold"), &Silent).is_ok());
}
