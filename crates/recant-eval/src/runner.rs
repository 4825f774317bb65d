//! Editing, scoring and taking back, case by case.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use recant_core::{Blobs, ModelDigest};
use recant_edit::{Carry, Editor, Watch, scoped};
use recant_model::Model;
use serde::{Deserialize, Serialize};

use crate::dataset::{Case, Retained};
use crate::event::{Event, Listening, Stage};
use crate::free::{FreeScores, free_scores};
use crate::memory;
use crate::probe::{Probe, ProbeScore, ScoreError, probes, score_probes};
use crate::report::{CaseResult, Failure, Outcome, PromptKind, PromptResult, Run, UNEDITED};
use crate::scenario::{Exam, share_answered};
use crate::scores::{CaseScores, Judged, Metrics};

pub(crate) type Scores = BTreeMap<Probe, ProbeScore>;

/// How to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunOptions {
    /// Keep every prompt's outcome in the report.
    pub keep_prompts: bool,
    /// Cases that are edited alone at the same time, each on a fork of the model; 0 and 1: one after the other. Scores do
    /// not depend on it.
    pub jobs: usize,
}

/// The unedited model's scores, kept for comparison.
#[derive(Debug, Clone)]
pub struct Unedited {
    scores: Vec<Scores>,
    host: ModelDigest,
    device: ModelDigest,
}

impl Unedited {
    /// Scores of the case at a place.
    pub(crate) fn scores(&self, at: usize) -> &Scores {
        &self.scores[at]
    }

    /// Whether a model is the unedited one, byte for byte, on the host and on the device.
    pub(crate) fn is(&self, model: &Model) -> bool {
        model.digest() == self.host && model.device_digest() == self.device
    }
}

/// Scores the unedited model on every case, and on facts that no edit is about.
///
/// # Errors
/// [`ScoreError`] names the prompt that cannot be asked.
pub fn unedited(
    model: &Model,
    cases: &[Case],
    retained: &[Retained],
    options: RunOptions,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<(Unedited, Run), ScoreError> {
    memory::restart_peak();
    let mut scores = Vec::with_capacity(cases.len());
    let mut results = Vec::with_capacity(cases.len());
    for (done, case) in cases.iter().enumerate() {
        let of_case = score_probes(model, &probes(case))?;
        let answers = Answers { before: &of_case, after: &of_case, free: None };
        results.push(result(case, answers, None, None, options));
        scores.push(of_case);
        on_event(Event::Case { method: UNEDITED, done: done + 1, of: cases.len() });
    }
    let retained = share_answered(model, retained)?;
    let run = Run { retained, ..run_of(UNEDITED, "single", model, results) };
    Ok((Unedited { scores, host: model.digest(), device: model.device_digest() }, run))
}

/// Edits each case alone, scores it inside the edit's scope, and checks after the scope that every weight
/// is back, on the host and on the device.
///
/// A case that cannot be edited or scored is recorded as a failure and counts as a case in which nothing was written.
/// So is one whose edit makes the model's numbers infinite, but it has lost every comparison.
pub fn evaluate(
    model: &mut Model,
    editor: &dyn Editor,
    exam: Exam<'_>,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Run {
    evaluate_rest(model, editor, exam, Vec::new(), on_event)
}

/// As [`evaluate`], going on behind the cases that were `done` before. The run is that of an evaluation that was not
/// interrupted, but for its peak of memory.
pub fn evaluate_rest(
    model: &mut Model,
    editor: &dyn Editor,
    exam: Exam<'_>,
    done: Vec<Single>,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Run {
    memory::restart_peak();
    let one = |model: &mut Model, case: &Case, before: &Scores, watch: &dyn Watch| {
        let (mut failures, mut notes) = (Vec::new(), Vec::new());
        let started = Instant::now();
        let planned = editor.plan_watched(model, std::slice::from_ref(&case.fact), &Carry::default(), watch);
        let planned = planned.map_err(|error| error.to_string()).and_then(|plan| {
            // Applying is part of an edit's time; the scope below applies it again for scoring.
            match model.apply(&plan.patch, &Blobs::new()) {
                Ok(_) => Ok(plan),
                Err(error) => Err(error.to_string()),
            }
        });
        let seconds = started.elapsed().as_secs_f64();
        let after = planned.and_then(|plan| {
            note_once(&mut notes, plan.notes.iter().cloned());
            let scored = scoped(model, &plan.patch, |edited| {
                (score(edited, case, before, &mut failures), free_score(edited, case, &mut notes))
            });
            scored.map_err(|error| error.to_string())
        });
        let (after, free) = after.unwrap_or_else(|error| {
            failures.push(Failure { case_id: case.id, error });
            (before.clone(), free_score(model, case, &mut notes))
        });
        let exact = exam.base.is(model);
        let result =
            result(case, Answers { before, after: &after, free }, Some(seconds), Some(exact), exam.options);
        Single { result, failures, notes, state_bytes: None }
    };
    let name = editor.name();
    let left = exam.cases.len().saturating_sub(done.len());
    let singles = match exam.options.jobs.min(left) {
        0 | 1 => {
            each_alone(name, exam, done, |case, before, watch| one(model, case, before, watch), on_event)
        }
        jobs => side_by_side(name, exam, done, vec![model.clone(); jobs], &one, on_event),
    };
    let run = singles_run(singles, name, model, editor.settings());
    Run { contexts: editor.contexts().to_vec(), ..run }
}

/// What came of a case that was put in alone, scored and taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Single {
    /// The scores.
    pub result: CaseResult,
    /// What went wrong.
    pub failures: Vec<Failure>,
    /// What the edit told.
    pub notes: Vec<String>,
    /// Bytes of what was learned, where it is kept beside the weights.
    pub state_bytes: Option<u64>,
}

/// Cases whose prompts are continued together.
const WRITTEN_AT_ONCE: usize = 16;

/// The scores of free generation, one a case; none at all and a note where a case cannot be asked.
pub(crate) fn free_or_note(
    model: &Model,
    cases: &[Case],
    notes: &mut Vec<String>,
    listening: &Listening<'_>,
) -> Vec<FreeScores> {
    let mut all = Vec::with_capacity(cases.len());
    for some in cases.chunks(WRITTEN_AT_ONCE) {
        listening.tell(Stage::Write, all.len(), cases.len());
        let scores = note_free(free_scores(model, some), notes);
        if scores.is_empty() {
            return scores;
        }
        all.extend(scores);
    }
    all
}

/// The same of one case.
pub(crate) fn free_score(model: &Model, case: &Case, notes: &mut Vec<String>) -> Option<FreeScores> {
    note_free(free_scores(model, std::slice::from_ref(case)), notes).pop()
}

/// Scores of free generation; a note where there are none.
pub(crate) fn note_free(
    scores: Result<Vec<FreeScores>, ScoreError>,
    notes: &mut Vec<String>,
) -> Vec<FreeScores> {
    scores.unwrap_or_else(|error| {
        note_once(notes, [format!("free generation is not scored: {error}")]);
        Vec::new()
    })
}

/// Does `one` with every case that is not `done`.
pub(crate) fn each_alone(
    method: &str,
    exam: Exam<'_>,
    mut done: Vec<Single>,
    mut one: impl FnMut(&Case, &Scores, &dyn Watch) -> Single,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Vec<Single> {
    let Exam { cases, base, .. } = exam;
    done.truncate(cases.len());
    for at in done.len()..cases.len() {
        let single = one(&cases[at], base.scores(at), &Listening::to(method, on_event));
        keep(single, method, cases.len(), &mut done, on_event);
    }
    done
}

/// Tells of a single that is done, and keeps it behind those before it.
fn keep(
    single: Single,
    method: &str,
    of: usize,
    done: &mut Vec<Single>,
    on_event: &mut dyn FnMut(Event<'_>),
) {
    on_event(Event::Single { method, single: &single });
    done.push(single);
    on_event(Event::Case { method, done: done.len(), of });
}

/// As [`each_alone`], with a thread for each of some models, which stay as they are between the cases. Events come in the
/// order of the cases, from the thread that calls.
fn side_by_side(
    method: &str,
    exam: Exam<'_>,
    mut done: Vec<Single>,
    models: Vec<Model>,
    one: &(dyn Fn(&mut Model, &Case, &Scores, &dyn Watch) -> Single + Sync),
    on_event: &mut dyn FnMut(Event<'_>),
) -> Vec<Single> {
    let Exam { cases, base, .. } = exam;
    done.truncate(cases.len());
    let next = AtomicUsize::new(done.len());
    let (sender, receiver) = mpsc::channel();
    let threads = (rayon::current_num_threads() / models.len().max(1)).max(1);
    std::thread::scope(|scope| {
        for mut model in models {
            let (sender, next) = (sender.clone(), &next);
            let mut work = move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { break };
                    let single = one(&mut model, case, base.scores(at), &());
                    if sender.send((at, single)).is_err() {
                        break;
                    }
                }
            };
            // A pool for each: products of different cases do not wait for each other.
            scope.spawn(move || match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
                Ok(pool) => pool.install(work),
                Err(_) => work(),
            });
        }
        drop(sender);
        let mut early: BTreeMap<usize, Single> = BTreeMap::new();
        for (at, single) in receiver {
            early.insert(at, single);
            while let Some(single) = early.remove(&done.len()) {
                keep(single, method, cases.len(), &mut done, on_event);
            }
        }
    });
    done
}

/// The run that cases make which were each put in alone.
pub(crate) fn singles_run(
    singles: Vec<Single>,
    method: &str,
    model: &Model,
    settings: BTreeMap<String, String>,
) -> Run {
    let (mut results, mut failures, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    let state_bytes = singles.iter().filter_map(|single| single.state_bytes).max();
    for single in singles {
        results.push(single.result);
        failures.extend(single.failures);
        note_once(&mut notes, single.notes);
    }
    let seconds: f64 = results.iter().filter_map(|result| result.seconds).sum();
    Run {
        settings,
        notes,
        seconds_per_edit: Some(seconds / results.len().max(1) as f64),
        rollback_exact: Some(results.iter().all(|result| result.rollback_exact == Some(true))),
        failures,
        state_bytes,
        ..run_of(method, "single", model, results)
    }
}

/// Scores a case on an edited model; what goes wrong is a failure of the case.
pub(crate) fn score(edited: &Model, case: &Case, before: &Scores, failures: &mut Vec<Failure>) -> Scores {
    let mut fail = |error: String| {
        let failure = Failure { case_id: case.id, error };
        if !failures.contains(&failure) {
            failures.push(failure);
        }
    };
    match score_probes(edited, &probes(case)) {
        Ok(after) => {
            if let Some((probe, _)) = after.iter().find(|(_, score)| !score.is_finite()) {
                fail(format!("the edited model has no finite answer to {:?}", probe.prompt));
            }
            after
        }
        Err(error) => {
            fail(error.to_string());
            before.clone()
        }
    }
}

/// Adds what was not noted before: a hundred edits tell the same thing once.
pub(crate) fn note_once(notes: &mut Vec<String>, told: impl IntoIterator<Item = String>) {
    for note in told {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
}

/// A run of these results, of which nothing else is known: nothing was edited, nothing had to be taken back.
pub(crate) fn run_of(method: &str, scenario: &str, model: &Model, results: Vec<CaseResult>) -> Run {
    Run {
        method: method.to_owned(),
        scenario: scenario.to_owned(),
        device: model.device().spec().to_string(),
        cases: results.len(),
        settings: BTreeMap::new(),
        notes: Vec::new(),
        metrics: metrics(&results),
        intervals: BTreeMap::new(),
        seconds_per_edit: None,
        peak_rss_bytes: memory::peak_rss_bytes(),
        rollback_exact: None,
        failures: Vec::new(),
        contexts: Vec::new(),
        step: None,
        retained: None,
        immediate: None,
        curve: Vec::new(),
        state_bytes: None,
        results,
    }
}

pub(crate) fn metrics(results: &[CaseResult]) -> Metrics {
    Metrics::of(&results.iter().map(|result| result.scores).collect::<Vec<_>>())
}

/// What the unedited and the edited model make of a case.
#[derive(Clone, Copy)]
pub(crate) struct Answers<'a> {
    pub(crate) before: &'a Scores,
    pub(crate) after: &'a Scores,
    /// What the edited one writes by itself, where it was asked to.
    pub(crate) free: Option<FreeScores>,
}

pub(crate) fn result(
    case: &Case,
    Answers { before, after, free }: Answers<'_>,
    seconds: Option<f64>,
    rollback_exact: Option<bool>,
    options: RunOptions,
) -> CaseResult {
    let own = |kind, prompt: &str| {
        prompt_result(kind, prompt, &case.fact.target, case.target_true.as_deref(), before, after)
    };
    let prompts = options.keep_prompts.then(|| {
        let rewrite = std::iter::once(own(PromptKind::Rewrite, &case.fact.text()));
        let paraphrases = case.paraphrases.iter().map(|prompt| own(PromptKind::Paraphrase, prompt));
        let neighbours = case.neighbours.iter().map(|about| {
            let truth = about.truth.as_deref();
            prompt_result(PromptKind::Neighbour, &about.prompt, &case.fact.target, truth, before, after)
        });
        let consequences = case.consequences.iter().map(|about| {
            prompt_result(PromptKind::Consequence, &about.prompt, &about.answer, None, before, after)
        });
        rewrite.chain(paraphrases).chain(neighbours).chain(consequences).collect()
    });
    CaseResult {
        case_id: case.id,
        subject: case.fact.subject.clone(),
        target_new: case.fact.target.clone(),
        target_true: case.target_true.clone(),
        scores: CaseScores::of(&Judged::of(case, before, after, free)),
        seconds,
        rollback_exact,
        prompts: prompts.unwrap_or_default(),
    }
}

fn prompt_result(
    kind: PromptKind,
    prompt: &str,
    new: &str,
    truth: Option<&str>,
    before: &Scores,
    after: &Scores,
) -> PromptResult {
    let outcome = |scores: &Scores| {
        let score = |target: &str| {
            &scores[&Probe { prompt: prompt.to_owned(), target: target.to_owned(), literal: false }]
        };
        let answers = score(new).answers.iter();
        Outcome {
            p_new: score(new).probability(),
            p_true: truth.filter(|&truth| truth != new).map(|truth| score(truth).probability()),
            top: answers.map(|answer| (answer.token.clone(), f64::from(answer.logprob).exp())).collect(),
        }
    };
    PromptResult { kind, prompt: prompt.to_owned(), before: outcome(before), after: outcome(after) }
}
