//! Many facts in one model: a batch at once, or one batch after the other.

use std::time::Instant;

use recant_edit::{Fact, Lifelong, Watch};
use recant_model::Model;
use serde::{Deserialize, Serialize};

use crate::dataset::{Case, Retained};
use crate::event::{Event, Listening, Stage};
use crate::free::FreeScores;
use crate::memory;
use crate::probe::{ScoreError, answered};
use crate::report::{CaseResult, CurvePoint, Failure, Run};
use crate::runner::{
    Answers, RunOptions, Scores, Single, Unedited, each_alone, free_or_note, free_score, metrics, note_once,
    result, run_of, score, singles_run,
};
use crate::scores::{CaseScores, Metrics};

/// How facts are put into a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scenario {
    /// Each fact alone: edited, scored, taken back.
    Single,
    /// The first N facts in one step.
    Batch(usize),
    /// All facts in steps of N.
    Sequential(usize),
}

/// Points of a retention curve, the last one included.
const POINTS: usize = 4;

/// How far a sequence has come: what its report needs, and its learner does not hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Cases so far.
    pub cases: usize,
    /// Steps of the learner so far; a step that failed is none.
    pub steps: usize,
    /// Seconds of learning so far.
    pub seconds: f64,
    /// What each case scored right after its step.
    pub immediate: Vec<CaseScores>,
    /// The retention curve so far.
    pub curve: Vec<CurvePoint>,
    /// What the steps told.
    pub notes: Vec<String>,
    /// Cases that could not be edited or scored.
    pub failures: Vec<Failure>,
}

/// What a learner is examined in.
#[derive(Debug, Clone, Copy)]
pub struct Exam<'a> {
    /// The cases, in order.
    pub cases: &'a [Case],
    /// Facts that no edit is about.
    pub retained: &'a [Retained],
    /// The unedited model's scores.
    pub base: &'a Unedited,
    /// What the report keeps.
    pub options: RunOptions,
}

/// Teaches `learner` the cases as one step ([`Scenario::Batch`]) or as many, scores every case right after its
/// step and again at the end, and goes back to the base, which must be there to the byte.
///
/// A step that fails is recorded as a failure of each of its cases, which then count as not written.
/// [`Scenario::Single`] teaches each case alone, scores it and takes it back.
///
/// # Errors
/// [`ScoreError`] names the retained fact that cannot be asked.
pub fn evaluate_lifelong(
    learner: &mut dyn Lifelong,
    scenario: Scenario,
    exam: Exam<'_>,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Run, ScoreError> {
    match scenario {
        Scenario::Single => Ok(teach_alone(learner, exam, Vec::new(), on_event)),
        _ => go_on(learner, scenario, exam, Progress::default(), on_event),
    }
}

/// Goes on with a sequence that was interrupted: `learner` has learned the first `progress.cases` cases. The run is
/// that of a sequence that was not interrupted, but for its seconds and its peak of memory.
///
/// # Errors
/// As [`evaluate_lifelong`].
pub fn go_on(
    learner: &mut dyn Lifelong,
    scenario: Scenario,
    exam: Exam<'_>,
    progress: Progress,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Run, ScoreError> {
    memory::restart_peak();
    let Exam { cases, retained, base, .. } = exam;
    let (name, cases, step) = match scenario {
        Scenario::Single => ("sequential", cases, 1),
        Scenario::Batch(size) => ("batch", &cases[..size.min(cases.len())], size),
        Scenario::Sequential(size) => ("sequential", cases, size),
    };
    let step = step.clamp(1, cases.len().max(1));
    let method = learner.name().to_owned();
    let every = cases.len().div_ceil(POINTS);
    let mut so_far = progress;
    for chunk in cases[so_far.cases.min(cases.len())..].chunks(step) {
        let facts: Vec<Fact> = chunk.iter().map(|case| case.fact.clone()).collect();
        let started = Instant::now();
        let learned = learner.learn_watched(&facts, &Listening::to(&method, on_event));
        let took = started.elapsed().as_secs_f64();
        so_far.seconds += took;
        match learned {
            Ok(told) => note_once(&mut so_far.notes, told),
            Err(error) => {
                let failed = chunk.iter().map(|case| Failure { case_id: case.id, error: error.to_string() });
                so_far.failures.extend(failed);
            }
        }
        let first = so_far.cases;
        let done = first + chunk.len();
        let each = took / chunk.len() as f64;
        if step < cases.len() {
            let listening = Listening::to(&method, on_event);
            let marks = Marks { first, seconds: each, free: &[] };
            let results = scored(learner.model(), chunk, marks, exam, &mut so_far.failures, &listening);
            so_far.immediate.extend(results.into_iter().map(|result| result.scores));
            if done / every > first / every && done < cases.len() {
                so_far.curve.push(point(learner.model(), &cases[..done], step, exam, &listening)?);
            }
        }
        (so_far.cases, so_far.steps) = (done, learner.steps());
        (0..chunk.len()).for_each(|i| {
            on_event(Event::Case { method: &method, done: first + i + 1, of: cases.len() });
        });
        on_event(Event::Step { method: &method, progress: &so_far, loss: learner.loss() });
    }
    let Progress { seconds, immediate, mut curve, mut notes, mut failures, .. } = so_far;
    let each = seconds / cases.len().max(1) as f64;
    let listening = Listening::to(&method, on_event);
    let free = free_or_note(learner.model(), cases, &mut notes, &listening);
    let marks = Marks { first: 0, seconds: each, free: &free };
    let results = scored(learner.model(), cases, marks, exam, &mut failures, &listening);
    if step < cases.len() {
        curve.push(point(learner.model(), cases, step, exam, &listening)?);
    }
    let kept = share_answered(learner.model(), retained)?;
    let (settings, state_bytes) = (learner.settings(), learner.state_bytes() as u64);
    let run = run_of(&method, name, learner.model(), results);
    let back = learner.roll_back(0);
    let exact = back.is_ok() && base.is(learner.model());
    if let Err(error) = back {
        notes.push(format!("going back failed: {error}"));
    }
    let mut results = run.results;
    results.iter_mut().for_each(|result| result.rollback_exact = Some(exact));
    Ok(Run {
        settings,
        notes,
        seconds_per_edit: Some(each),
        rollback_exact: Some(exact),
        failures,
        contexts: learner.contexts().to_vec(),
        step: Some(step),
        retained: kept,
        immediate: (!immediate.is_empty()).then(|| Metrics::of(&immediate)),
        curve,
        state_bytes: Some(state_bytes),
        results,
        ..run
    })
}

/// Teaches each case that is not `done` to a learner that knows nothing, scores it, and takes it back.
pub fn teach_alone(
    learner: &mut dyn Lifelong,
    exam: Exam<'_>,
    done: Vec<Single>,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Run {
    memory::restart_peak();
    let method = learner.name().to_owned();
    let one = |case: &Case, before: &Scores, watch: &dyn Watch| {
        let (mut failures, mut notes) = (Vec::new(), Vec::new());
        let started = Instant::now();
        let learned = learner.learn_watched(std::slice::from_ref(&case.fact), watch);
        let seconds = started.elapsed().as_secs_f64();
        match learned {
            Ok(told) => note_once(&mut notes, told),
            Err(error) => failures.push(Failure { case_id: case.id, error: error.to_string() }),
        }
        let after = score(learner.model(), case, before, &mut failures);
        let free = free_score(learner.model(), case, &mut notes);
        let state_bytes = Some(learner.state_bytes() as u64);
        let back = learner.roll_back(0);
        let exact = back.is_ok() && exam.base.is(learner.model());
        let result =
            result(case, Answers { before, after: &after, free }, Some(seconds), Some(exact), exam.options);
        Single { result, failures, notes, state_bytes }
    };
    let singles = each_alone(&method, exam, done, one, on_event);
    let run = singles_run(singles, &method, learner.model(), learner.settings());
    Run { contexts: learner.contexts().to_vec(), ..run }
}

/// What is known of cases before they are scored.
#[derive(Debug, Clone, Copy)]
struct Marks<'a> {
    /// The place of the first among all.
    first: usize,
    /// Seconds that each took to put in.
    seconds: f64,
    /// What the model writes to each; empty where it was not asked to.
    free: &'a [FreeScores],
}

/// Scores of some cases on a model.
fn scored(
    model: &Model,
    cases: &[Case],
    Marks { first, seconds, free }: Marks<'_>,
    exam: Exam<'_>,
    failures: &mut Vec<Failure>,
    listening: &Listening<'_>,
) -> Vec<CaseResult> {
    let one = |(at, case): (usize, &Case)| {
        listening.tell(Stage::Score, at, cases.len());
        let before = exam.base.scores(first + at);
        let after = score(model, case, before, failures);
        let answers = Answers { before, after: &after, free: free.get(at).copied() };
        result(case, answers, Some(seconds), None, exam.options)
    };
    cases.iter().enumerate().map(one).collect()
}

/// A point of the retention curve: every edit so far, and those of the first step apart.
fn point(
    model: &Model,
    so_far: &[Case],
    step: usize,
    exam: Exam<'_>,
    listening: &Listening<'_>,
) -> Result<CurvePoint, ScoreError> {
    // What fails here was told when its step was scored, or is told at the end.
    let exam = Exam { options: RunOptions::default(), ..exam };
    let marks = Marks { first: 0, seconds: 0.0, free: &[] };
    let results = scored(model, so_far, marks, exam, &mut Vec::new(), listening);
    // The earliest facts: the first step, or a quarter of a long sequence of small steps.
    let earliest = step.max(10).min(results.len());
    Ok(CurvePoint {
        edits: so_far.len(),
        all: metrics(&results),
        earliest: metrics(&results[..earliest]),
        earliest_count: earliest,
        retained: share_answered(model, exam.retained)?,
    })
}

/// Share of facts that the model still answers, greedily; `None` of none.
///
/// # Errors
/// [`ScoreError`].
pub fn share_answered(model: &Model, retained: &[Retained]) -> Result<Option<f64>, ScoreError> {
    if retained.is_empty() {
        return Ok(None);
    }
    Ok(Some(answered(model, retained)? as f64 / retained.len() as f64))
}
