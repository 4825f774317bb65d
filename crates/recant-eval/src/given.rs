//! A model that something else edited, judged as it is.

use recant_model::Model;

use crate::free::free_scores;
use crate::memory;
use crate::report::Run;
use crate::runner::{Event, metrics, result, score};
use crate::scenario::{Exam, share_answered};
use crate::score::ScoreError;

/// Scores a model on every case beside the unedited one. Nothing is edited, so nothing is taken back, and there is no time
/// of an edit: the facts of all cases are asked of one model.
///
/// # Errors
/// [`ScoreError`] names the retained fact that cannot be asked.
pub fn judge_given(
    model: &Model,
    name: &str,
    exam: Exam<'_>,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Run, ScoreError> {
    memory::restart_peak();
    let Exam { cases, retained, base, options } = exam;
    let (mut results, mut failures) = (Vec::with_capacity(cases.len()), Vec::new());
    for (at, case) in cases.iter().enumerate() {
        let after = score(model, case, base.scores(at), &mut failures);
        results.push(result(case, base.scores(at), &after, None, None, options));
        on_event(Event::Case { method: name, done: at + 1, of: cases.len() });
    }
    let free = free_scores(model, cases);
    let notes = free.as_ref().err().map(|error| format!("free generation is not scored: {error}"));
    Ok(Run {
        method: name.to_owned(),
        scenario: "given".to_owned(),
        device: model.device().spec().to_string(),
        cases: cases.len(),
        settings: [("digest".to_owned(), model.digest().to_string())].into(),
        notes: notes.into_iter().collect(),
        metrics: metrics(&results),
        seconds_per_edit: None,
        peak_rss_bytes: memory::peak_rss_bytes(),
        rollback_exact: None,
        free: free.ok(),
        failures,
        contexts: Vec::new(),
        step: None,
        retained: share_answered(model, retained)?,
        immediate: None,
        curve: Vec::new(),
        state_bytes: None,
        results,
    })
}
