//! A model that something else edited, judged as it is.

use recant_model::Model;

use crate::free::free_scores;
use crate::memory;
use crate::probe::ScoreError;
use crate::report::Run;
use crate::runner::{Event, result, run_of, score};
use crate::scenario::{Exam, share_answered};

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
        settings: [("digest".to_owned(), model.digest().to_string())].into(),
        notes: notes.into_iter().collect(),
        free: free.ok(),
        failures,
        retained: share_answered(model, retained)?,
        ..run_of(name, "given", model, results)
    })
}
