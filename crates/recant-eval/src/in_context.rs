//! What an edit has to beat: the unedited model, told the fact in the prompt.

use recant_model::Model;

use crate::dataset::Case;
use crate::event::Event;
use crate::free::free_scores_behind;
use crate::memory;
use crate::probe::{Probe, ScoreError, probes, score_probes};
use crate::report::{Failure, IN_CONTEXT, Run};
use crate::runner::{Answers, Scores, note_free, result, run_of};
use crate::scenario::Exam;

/// What stands before a case's prompts: its fact as a sentence, on a line of its own.
fn told(case: &Case) -> String {
    format!("{} {}.\n", case.fact.text(), case.fact.target)
}

/// Scores the unedited model on every case with the case's own fact before each prompt, neighbours included. Nothing is
/// edited, so nothing is taken back; a case whose prompts do not fit behind its fact counts as one in which nothing was
/// written.
pub fn judge_in_context(model: &Model, exam: Exam<'_>, on_event: &mut dyn FnMut(Event<'_>)) -> Run {
    memory::restart_peak();
    let Exam { cases, base, options, .. } = exam;
    let (mut results, mut failures, mut notes) = (Vec::with_capacity(cases.len()), Vec::new(), Vec::new());
    for (at, case) in cases.iter().enumerate() {
        let before = base.scores(at);
        let after = scores(model, case).unwrap_or_else(|error| {
            failures.push(Failure { case_id: case.id, error: error.to_string() });
            before.clone()
        });
        let free = free_scores_behind(model, std::slice::from_ref(case), told);
        let free = note_free(free, &mut notes).pop();
        results.push(result(case, Answers { before, after: &after, free }, None, None, options));
        on_event(Event::Case { method: IN_CONTEXT, done: at + 1, of: cases.len() });
    }
    Run { notes, failures, ..run_of(IN_CONTEXT, "single", model, results) }
}

/// The scores of a case's probes, asked behind its fact.
fn scores(model: &Model, case: &Case) -> Result<Scores, ScoreError> {
    let told = told(case);
    let behind = |probe: &Probe| Probe { prompt: format!("{told}{}", probe.prompt), ..probe.clone() };
    let asked = probes(case);
    let scores = score_probes(model, &asked.iter().map(behind).collect::<Vec<_>>())?;
    let of = |probe: Probe| scores.get(&behind(&probe)).cloned().map(|score| (probe, score));
    Ok(asked.into_iter().filter_map(of).collect())
}
