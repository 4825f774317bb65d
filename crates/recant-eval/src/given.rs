//! A model that something else edited, judged as it is.

use recant_model::Model;

use crate::event::{Event, Listening};
use crate::memory;
use crate::probe::ScoreError;
use crate::report::Run;
use crate::runner::{Answers, free_or_note, result, run_of, score};
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
    let (mut results, mut failures, mut notes) = (Vec::with_capacity(cases.len()), Vec::new(), Vec::new());
    let free = free_or_note(model, cases, &mut notes, &Listening::to(name, on_event));
    for (at, case) in cases.iter().enumerate() {
        let before = base.scores(at);
        let after = score(model, case, before, &mut failures);
        let answers = Answers { before, after: &after, free: free.get(at).copied() };
        results.push(result(case, answers, None, None, options));
        on_event(Event::Case { method: name, done: at + 1, of: cases.len() });
    }
    Ok(Run {
        settings: [("digest".to_owned(), model.digest().to_string())].into(),
        notes,
        failures,
        retained: share_answered(model, retained)?,
        ..run_of(name, "given", model, results)
    })
}
