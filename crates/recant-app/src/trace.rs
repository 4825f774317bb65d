//! Causal traces, of one fact or of those of a data set that the model knows.

use std::ops::ControlFlow;
use std::path::PathBuf;

use recant_eval::{Dataset, DatasetError, Probe, ScoreError, score_probes};
use recant_methods::causal::{CausalAverage, CausalError, CausalSettings, CausalTrace, Question, trace};
use recant_model::Model;
use serde::Serialize;

use crate::observer::{Observer, Progress, Unit, Watching};

/// Facts cannot be traced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceFailure {
    /// A data set cannot be read or used.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The model cannot be asked.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// A fact cannot be traced.
    #[error(transparent)]
    Causal(#[from] CausalError),
    /// A case of a data set cannot be traced.
    #[error("case {case}: {source}")]
    Case {
        /// The data set's number.
        case: u64,
        /// What is wrong.
        source: CausalError,
    },
    /// The model answers none of the cases as the data set says.
    #[error(
        "of {cases} cases the model answers none as the data set says; what it does not know cannot be traced"
    )]
    Unknown {
        /// How many there are.
        cases: usize,
    },
}

/// Traces one fact.
///
/// # Errors
/// [`TraceFailure::Causal`].
pub fn trace_fact(
    model: &Model,
    question: &Question,
    settings: CausalSettings,
    observer: &dyn Observer,
) -> Result<CausalTrace, TraceFailure> {
    let traced = trace(model, question, settings, &mut |done, of| {
        let (done, of) = (done as u64, of as u64);
        observer.progress(Progress { work: "trace", detail: "", done, of, unit: Unit::Passes });
        Watching(observer).goes_on()
    });
    observer.idle();
    Ok(traced?)
}

/// Which cases are traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceRequest {
    /// The data set.
    pub data: PathBuf,
    /// Only the first so many cases.
    pub limit: Option<usize>,
    /// Leave out cases that cannot be used, instead of refusing the file.
    pub skip_bad: bool,
}

/// A case that was traced.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TracedCase {
    /// The data set's number.
    pub case_id: u64,
    /// The prompt with its subject.
    pub prompt: String,
    /// The answer whose probability was followed.
    pub target: String,
    /// Its probability.
    pub clean: f64,
    /// The same with the subject corrupted.
    pub corrupted: f64,
}

/// What a data set's traces say together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TracedCases {
    /// Cases that were looked at.
    pub cases: usize,
    /// Those that the model does not answer as the data set says, which were not traced.
    pub unknown: usize,
    /// Those that were traced.
    pub facts: Vec<TracedCase>,
    /// Their average.
    pub average: CausalAverage,
}

impl TraceRequest {
    /// Reads the data set, before minutes of work.
    ///
    /// # Errors
    /// [`TraceFailure::Dataset`].
    pub fn read(&self) -> Result<Dataset, TraceFailure> {
        Ok(Dataset::read(&self.data, self.limit)?.usable(self.skip_bad)?)
    }
}

/// Traces the cases that `model` answers as the data set says, and averages them by the role of the token. A case whose
/// former answer the data set does not give is traced with the model's own.
///
/// # Errors
/// [`TraceFailure`].
pub fn trace_cases(
    request: &TraceRequest,
    mut data: Dataset,
    model: &Model,
    settings: CausalSettings,
    observer: &dyn Observer,
) -> Result<TracedCases, TraceFailure> {
    data.check(model);
    let data = data.usable(request.skip_bad)?;
    let mut known = Vec::new();
    for case in &data.cases {
        let Some(target) = &case.target_true else {
            known.push(case);
            continue;
        };
        let probe = Probe { prompt: case.fact.text(), target: target.clone(), literal: false };
        if score_probes(model, std::slice::from_ref(&probe))?.get(&probe).is_some_and(|score| score.holds()) {
            known.push(case);
        }
    }
    let unknown = data.cases.len() - known.len();
    let (mut facts, mut traces) = (Vec::new(), Vec::new());
    for case in &known {
        let told = |detail: &str, done: usize| {
            let (done, of) = (done as u64, known.len() as u64);
            observer.progress(Progress { work: "trace", detail, done, of, unit: Unit::Cases });
        };
        told(&case.fact.subject, traces.len());
        let question = Question {
            subject: case.fact.subject.clone(),
            prompt: case.fact.prompt.clone(),
            target: case.target_true.clone(),
        };
        let goes_on = &mut |_, _| -> ControlFlow<()> { Watching(observer).goes_on() };
        let traced = trace(model, &question, settings, goes_on).map_err(|source| match source {
            CausalError::Cancelled => TraceFailure::Causal(CausalError::Cancelled),
            source => TraceFailure::Case { case: case.id, source },
        });
        let traced = traced.inspect_err(|_| observer.idle())?;
        facts.push(TracedCase {
            case_id: case.id,
            prompt: question.text(),
            target: traced.target.clone(),
            clean: traced.clean,
            corrupted: traced.corrupted,
        });
        traces.push(traced);
    }
    observer.idle();
    let average = CausalAverage::of(&traces).ok_or(TraceFailure::Unknown { cases: data.cases.len() })?;
    Ok(TracedCases { cases: data.cases.len(), unknown, facts, average })
}
