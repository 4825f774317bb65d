//! The plan of a ledger that is changed, or of one that lives for an edit.

use recant_core::OnConflict;
use recant_edit::{Editor as _, Plan};
use recant_methods::ledger::conflict::{self, ConflictReport, Contradiction};
use recant_methods::ledger::{Gram, Ledger, LedgerEditor};
use recant_methods::{MethodInputs, make_ledger};
use recant_model::Model;

use super::{EditFailure, EditPlace, EditRequest, Planned};
use crate::observer::{Observer, Watching};

/// Plans the ledger of the store or of the request, changed; or one that is begun.
pub(super) fn planned(
    EditPlace { model, head }: &EditPlace,
    request: &EditRequest,
    inputs: &MethodInputs,
    observer: &dyn Observer,
) -> Result<Planned, EditFailure> {
    let editor = make_ledger(inputs)?;
    let mut ledger = match (head, &request.ledger) {
        (Some(head), _) => head.ledger(&editor, model)?,
        (None, Some(ledger)) => ledger.clone(),
        (None, None) => Ledger::new(editor.ground(model)),
    };
    request.remove.iter().try_for_each(|fact| ledger.remove(fact).map(drop))?;
    let mut grams = Vec::new();
    let conflicts = taken_in(&editor, model, request, &mut ledger, &mut grams, observer)?;
    let (patch, trace) = editor.materialise(model, &ledger, &mut grams, &Watching(observer))?;
    observer.idle();
    let mut plan = Plan::new(patch);
    plan.traces.push(trace);
    plan.notes.extend(editor.metric().notes());
    Ok(Planned { plan, settings: editor.settings(), conflicts, ledger: Some(ledger) })
}

/// Puts the facts that are new into the ledger, and says what they meet there.
fn taken_in(
    editor: &LedgerEditor,
    model: &Model,
    request: &EditRequest,
    ledger: &mut Ledger,
    grams: &mut Vec<Gram>,
    observer: &dyn Observer,
) -> Result<Option<ConflictReport>, EditFailure> {
    let fresh: Vec<_> = request.facts.iter().filter(|fact| !ledger.holds(fact)).cloned().collect();
    if fresh.is_empty() {
        return Ok(None);
    }
    let entries = editor.entries(model, &fresh, &Watching(observer))?;
    observer.idle();
    let report = conflict::report(editor, model, ledger, &entries, grams)?;
    let policy = request.on_conflict.unwrap_or_else(|| editor.on_conflict());
    if let (OnConflict::Refuse, Some(Contradiction { new, held })) = (policy, report.contradictions.first()) {
        return Err(EditFailure::Contradiction { new: new.clone().into(), held: held.clone().into() });
    }
    for (fact, entry) in entries {
        match policy {
            OnConflict::Theirs => ledger.replace(fact, entry).map(drop)?,
            OnConflict::Ours if ledger.contradicting(&fact).next().is_some() => {}
            _ => ledger.add(fact, entry)?,
        }
    }
    Ok(Some(report))
}
