//! One bad record, or one bad edit, loses nothing but itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;

use recant_backend::{Device, DeviceSpec};
use recant_core::{Addend, Matrix};
use recant_edit::{Carry, EditError, Editor, Fact, Plan, Watch, WeightSequence, Work};
use recant_eval::scores::{EM, ES, NS, PS};
use recant_eval::{
    Case, Dataset, Event, Exam, Neighbour, Probe, Run, RunOptions, Scenario, Stage, check_retained, evaluate,
    evaluate_lifelong, read_retained, score_probes, unedited,
};
use recant_model::{Model, Slot};

fn model() -> Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures/gpt2-tiny");
    Model::open(&dir, &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

/// Writes nothing that is right: refuses one subject, and ruins the model for another.
struct Clumsy;

impl Editor for Clumsy {
    fn name(&self) -> &str {
        "clumsy"
    }

    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        _: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError> {
        watch.tell(Work::Values, 0, facts.len())?;
        let scale = match facts[0].subject.as_str() {
            "cat" => return Err(EditError::NonFinite { step: 3, loss: f32::NAN }),
            "dog" => 3e38,
            _ => 1e-3,
        };
        let spec = model.spec();
        let (u, v) = (Matrix::column(vec![scale; spec.d_model]), Matrix::column(vec![1.0; spec.d_mlp]));
        let patch = model.express(Slot::MlpDown(0), Addend::low_rank(u, v).unwrap()).unwrap();
        Ok(Plan::new(patch))
    }

    fn settings(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

fn cases() -> Vec<Case> {
    let case = |(id, subject): (usize, &str)| Case {
        id: id as u64,
        fact: Fact::new(subject, "the {} is", "cold").unwrap(),
        target_true: Some("old".into()),
        paraphrases: vec![format!("see, the {subject} was")],
        neighbours: vec![Neighbour { prompt: "the wind is".into(), truth: Some("old".into()) }],
        consequences: vec![],
    };
    ["sea", "cat", "dog", "sun"].into_iter().enumerate().map(case).collect()
}

fn failed(run: &Run) -> Vec<(u64, &str)> {
    run.failures.iter().map(|failure| (failure.case_id, failure.error.as_str())).collect()
}

#[test]
fn what_fails_in_the_middle_is_a_failure_of_its_case() {
    let (mut model, cases) = (model(), cases());
    let quiet = &mut |_: Event<'_>| ();
    let (base, _) = unedited(&model, &cases, &[], RunOptions::default(), quiet).unwrap();
    let options = RunOptions { keep_prompts: true, ..RunOptions::default() };
    let exam = Exam { cases: &cases, retained: &[], base: &base, options };
    let run = evaluate(&mut model, &Clumsy, exam, quiet);
    let failures = failed(&run);
    assert_eq!(failures.iter().map(|failure| failure.0).collect::<Vec<_>>(), [1, 2], "{failures:?}");
    assert!(
        failures[0].1.contains("at step 3") && failures[1].1.contains("no finite answer"),
        "{failures:?}"
    );
    assert_eq!((run.results.len(), run.rollback_exact), (4, Some(true)));
    let ruined = &run.results[2].scores;
    assert_eq!([ES, EM, PS, NS].map(|score| ruined.get(&score)), [Some(0.0); 4]);
    // What is written can be read: no number of it is NaN.
    let text = serde_json::to_string(&run).unwrap();
    let again: Run = serde_json::from_str(&text).unwrap();
    // Compared as JSON: reading a decimal number may end one bit beside the number that was written.
    assert_eq!(
        serde_json::to_value(&again).unwrap(),
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    );

    let exam = Exam { cases: &cases, retained: &[], base: &base, options: RunOptions::default() };
    let mut learner = WeightSequence::new(model.clone(), Box::new(Clumsy));
    let run = evaluate_lifelong(&mut learner, Scenario::Sequential(1), exam, quiet).unwrap();
    // The ruin of the third case is the ruin of all that are scored afterwards.
    let failures = failed(&run);
    assert!(failures[0].0 == 1 && failures[0].1.contains("at step 3"), "{failures:?}");
    let ruined =
        |id| failures.iter().any(|failure| failure.0 == id && failure.1.contains("no finite answer"));
    assert!((0..4).all(ruined), "{failures:?}");
    assert_eq!((run.results.len(), run.rollback_exact), (4, Some(true)));
}

/// However many cases are edited at the same time, the run is the same, failures included, and whoever listens hears of the
/// cases in their order.
#[test]
fn cases_side_by_side_are_heard_in_order() {
    let (mut model, cases) = (model(), cases());
    let (base, _) = unedited(&model, &cases, &[], RunOptions::default(), &mut |_| ()).unwrap();
    let mut with = |jobs| {
        let options = RunOptions { jobs, ..RunOptions::default() };
        let exam = Exam { cases: &cases, retained: &[], base: &base, options };
        let mut heard = Vec::new();
        let mut run = evaluate(&mut model, &Clumsy, exam, &mut |event| match event {
            Event::Single { single, .. } => heard.push((single.result.case_id, 0)),
            Event::Case { done, of, .. } => heard.push((done as u64, of)),
            _ => {}
        });
        (run.seconds_per_edit, run.peak_rss_bytes) = (None, None);
        run.results.iter_mut().for_each(|result| result.seconds = None);
        (serde_json::to_value(&run).unwrap(), heard)
    };
    let alone = with(1);
    assert_eq!(alone.1, [(0, 0), (1, 4), (1, 0), (2, 4), (2, 0), (3, 4), (3, 0), (4, 4)]);
    assert_eq!(alone.0["failures"].as_array().unwrap().len(), 2);
    for jobs in [0, 2, 3, 4, 9] {
        assert_eq!(with(jobs), alone, "{jobs} at a time");
    }
}

/// What a case or a step waits for is heard of before it is done: the edit, the scores, and what the model writes.
#[test]
fn what_takes_long_is_heard_of() {
    let (mut model, cases) = (model(), &cases()[..1]);
    let (base, _) = unedited(&model, cases, &[], RunOptions::default(), &mut |_| ()).unwrap();
    let exam = Exam { cases, retained: &[], base: &base, options: RunOptions::default() };
    let heard = |heard: &mut Vec<String>, event: Event<'_>| match event {
        Event::Underway { method: "clumsy", stage, done: 0, of: 1 } => heard.push(format!("{stage:?}")),
        Event::Underway { .. } => panic!("{event:?}"),
        Event::Case { .. } => heard.push("done".to_owned()),
        _ => {}
    };
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    evaluate(&mut model, &Clumsy, exam, &mut |event| heard(&mut alone, event));
    let edit = format!("{:?}", Stage::Edit(Work::Values));
    assert_eq!(alone, [edit.as_str(), "done"]);
    let mut learner = WeightSequence::new(model, Box::new(Clumsy));
    let batch = Scenario::Batch(1);
    evaluate_lifelong(&mut learner, batch, exam, &mut |event| heard(&mut together, event)).unwrap();
    assert_eq!(together, [edit.as_str(), "done", "Write", "Score"]);
}

/// The text that is named is the text that cannot be scored, wherever it stands among the others.
#[test]
fn the_text_that_fails_is_named() {
    let model = model();
    let probe = |prompt: &str, target: &str| Probe {
        prompt: prompt.to_owned(),
        target: target.to_owned(),
        literal: false,
    };
    let long = "cold and old ".repeat(30);
    let good = probe("the sea is", "cold");
    for (bad, expected) in [
        (probe(&long, "cold"), "cold and old cold"),
        (probe("the cat is", &long), "\"the cat is\": the text has"),
        (probe("", "cold"), "\"\": there are no tokens"),
    ] {
        let told = score_probes(&model, &[good.clone(), bad, good.clone()]).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_data_set_is_checked_against_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cases.json");
    let long = "cold and old ".repeat(30);
    let entry = |key: &str, value: &str| {
        let mut entry = serde_json::json!({
            "subject": "sea", "prompt": "the sea is", "target_new": "cold", "ground_truth": "old",
            "rephrase_prompt": "see, the sea is", "locality_prompt": "the sun is",
            "locality_ground_truth": "old",
        });
        entry[key] = value.into();
        entry
    };
    let keys = ["subject", "rephrase_prompt", "locality_ground_truth", "ground_truth", "prompt"];
    let mut entries: Vec<_> = keys.into_iter().skip(1).map(|key| entry(key, &format!("{long}sea"))).collect();
    entries.insert(
        0,
        entry("case_id", "")
            .as_object_mut()
            .map(|entry| {
                entry.remove("case_id");
                entry.clone().into()
            })
            .unwrap(),
    );
    std::fs::write(&path, serde_json::to_string_pretty(&entries).unwrap()).unwrap();
    let mut set = Dataset::read(&path, None).unwrap().all_usable().unwrap();
    set.check(&model());
    assert_eq!(set.cases.len(), 1);
    let told: Vec<String> = set.unusable.iter().map(ToString::to_string).collect();
    for (at, field) in [(0, "rephrase_prompt"), (1, "locality_prompt"), (2, "prompt"), (3, "prompt")] {
        let line = 2 + 9 * (at + 1);
        let expected = format!("entry {} (line {line}), `{field}`", at + 1);
        assert!(
            told[at].starts_with(&expected) && told[at].contains("at most 48"),
            "{expected}: {}",
            told[at]
        );
    }
    let told = set.all_usable().unwrap_err().to_string();
    assert!(
        told.contains("cases.json, entry 1") && told.ends_with("3 more entries cannot be used"),
        "{told}"
    );

    std::fs::write(
        &path,
        format!("[{{\"prompt\": \"a\", \"answer\": \"b\"}}, {{\"prompt\": \"{long}\", \"answer\": \"b\"}}]"),
    )
    .unwrap();
    let told = check_retained(&path, &read_retained(&path).unwrap(), &model()).unwrap_err().to_string();
    assert!(told.contains("cases.json, entry 1, `prompt`"), "{told}");
}
