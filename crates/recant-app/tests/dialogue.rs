//! A dialogue with a tiny model: asked, edited, compared, taken back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use recant_app::{
    Dialogue, DialogueError, MethodSources, ModelName, ModelRefError, Observer, Progress, Silent,
};
use recant_backend::{Device, DeviceSpec};
use recant_edit::{EditError, Fact};
use recant_methods::{Setting, Wishes};
use recant_model::{Model, Strategy};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name)
}

fn model() -> Model {
    let name = ModelName::from(fixture("gpt2-tiny"));
    let source = name.find(&Silent).unwrap().source().unwrap();
    Model::from_source(source, &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

fn sources(settings: &[&str]) -> MethodSources {
    let settings = settings.iter().map(|text| Setting::parse(text).unwrap()).collect();
    MethodSources { wishes: Wishes { settings, ..Wishes::default() }, ..MethodSources::default() }
}

fn fact(target: &str) -> Fact {
    Fact::new("The sea", "{} is", target).unwrap()
}

const QUICK: [&str; 2] = ["mom2_adjustment=false", "v_num_grad_steps=3"];

#[test]
fn an_edit_is_made_compared_and_taken_back_to_the_bit() {
    for (method, settings) in [("r-rome", &QUICK[..]), ("ft-m", &[])] {
        let base = model();
        let mut dialogue = Dialogue::new(base.clone(), method, sources(settings)).unwrap();
        let digest = base.digest();
        assert!(matches!(dialogue.undo(), Err(DialogueError::NothingToUndo)), "{method}");

        let first = dialogue.edit(fact("cold"), &Silent).unwrap();
        assert!(first.verdict.probability_after > first.verdict.probability_before, "{method}");
        let after_first = dialogue.compare("The sea is", 3, 4, &Silent).unwrap();
        dialogue.edit(Fact::new("The sun", "{} is", "old").unwrap(), &Silent).unwrap();
        assert_eq!(dialogue.edits().len(), 2);

        let taken = dialogue.undo().unwrap();
        assert_eq!(taken.fact.target, "old");
        let again = dialogue.compare("The sea is", 3, 4, &Silent).unwrap();
        assert_eq!(again[1].answers, after_first[1].answers, "{method}");
        assert_eq!(again[0].answers, base.answers("The sea is", 3).unwrap(), "{method}");
        dialogue.undo().unwrap();
        assert_eq!(dialogue.model().digest(), digest, "{method}");
        assert!(dialogue.edits().is_empty());
        assert_eq!(dialogue.base().digest(), digest);
    }
}

#[test]
fn what_fails_leaves_the_dialogue_as_it_was() {
    let mut dialogue = Dialogue::new(model(), "r-rome", sources(&QUICK)).unwrap();
    dialogue.edit(fact("cold"), &Silent).unwrap();
    let digest = dialogue.model().digest();
    let long = "word ".repeat(10_000);
    assert!(matches!(dialogue.edit(fact(&long), &Silent), Err(DialogueError::Edit(_))));
    assert_eq!((dialogue.model().digest(), dialogue.edits().len()), (digest, 1));
    // What the method lacks is said by the first edit, and said again by the next.
    let mut dialogue = Dialogue::new(model(), "rome", MethodSources::default()).unwrap();
    for _ in 0..2 {
        assert!(dialogue.edit(fact("cold"), &Silent).is_err());
        assert!(dialogue.edits().is_empty());
    }
    for method in ["romee", "memory"] {
        let refused = Dialogue::new(model(), method, MethodSources::default());
        assert!(matches!(refused.err(), Some(EditError::Setting { .. })), "{method}");
    }
}

#[test]
fn an_answer_comes_in_pieces_that_are_the_whole() {
    let dialogue = Dialogue::new(model(), "r-rome", MethodSources::default()).unwrap();
    let mut pieces = Vec::new();
    let text = dialogue
        .say("The sea is", 8, &mut |piece| {
            pieces.push(piece.to_owned());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(pieces.concat(), text);
    assert!(pieces.len() > 1, "{pieces:?}");
    assert_eq!(text, model().generate("The sea is", 8, Strategy::Greedy).unwrap().text);
}

/// Keeps what it hears.
#[derive(Default)]
struct Heard(RefCell<Vec<(String, u64, u64)>>);

impl Observer for Heard {
    fn note(&self, _: &str) {}

    fn progress(&self, progress: Progress<'_>) {
        self.0.borrow_mut().push((progress.work.to_owned(), progress.done, progress.of));
    }

    fn idle(&self) {
        self.0.borrow_mut().push(("idle".to_owned(), 0, 0));
    }
}

#[test]
fn a_measurement_is_told_before_its_first_step_and_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = dir.path().join("corpus.txt");
    let text: String = (0..200).map(|i| format!("a{i} word number {} of the sea is cold\n", i * i)).collect();
    std::fs::write(&corpus, text).unwrap();
    let sources = MethodSources { corpus: vec![corpus], ..sources(&QUICK[1..]) };
    let mut dialogue = Dialogue::new(model(), "r-rome", sources).unwrap();
    let heard = Heard::default();
    dialogue.prepare(&heard).unwrap();
    let heard = heard.0.into_inner();
    let works: Vec<&str> = heard.iter().map(|(work, _, _)| work.as_str()).collect();
    assert_eq!((works[0], heard[0].1), ("second moments", 0));
    assert!(works.iter().filter(|&&work| work == "second moments").count() > 2, "{heard:?}");
    assert_eq!(works[works.len() - 2..], ["contexts", "idle"]);
    assert!(heard.iter().all(|(_, done, of)| done <= of), "{heard:?}");
}

#[test]
fn a_name_that_is_none_is_said() {
    let error = ModelName::from(PathBuf::from("no such model")).find(&Silent).map(|_| ()).unwrap_err();
    assert!(matches!(error, ModelRefError::NoModel { .. }), "{error}");
}
