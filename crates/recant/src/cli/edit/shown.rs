//! What `recant edit` says.

use recant_app::{Breach, EditOutcome};
use recant_core::{Addend, CommitId, Delta, WeightPatch};
use recant_methods::ledger::Ledger;
use recant_methods::ledger::conflict::{ConflictReport, DISTURBED};
use recant_model::Answer;
use serde_json::{Value, json};

use super::EditArgs;
use crate::cli::ask::AnswerJson;
use crate::cli::error::CliError;

/// Prints an outcome, for a person or as JSON.
pub(super) fn show(args: &EditArgs, outcome: &EditOutcome, commit: Option<CommitId>) -> Result<(), CliError> {
    if args.json {
        let out = args.out.as_ref().map(|out| out.display().to_string());
        return print_json(outcome, commit, json!({ "out": out, "gate": outcome.gated }));
    }
    print(args, outcome);
    written(args, commit);
    Ok(())
}

/// Prints an outcome that no file holds.
pub(super) fn refused(args: &EditArgs, outcome: &EditOutcome, breach: &Breach) -> Result<(), CliError> {
    if args.json {
        return print_json(outcome, None, json!({ "out": null, "gate": breach.broken, "refused": true }));
    }
    print(args, outcome);
    Ok(())
}

fn print(args: &EditArgs, outcome: &EditOutcome) {
    let judged = outcome.judged();
    if let ([fact], Some(answers)) = (&outcome.facts[..], &outcome.answers) {
        crate::cli::out::lines(&fact.text());
        crate::cli::side_by_side::print(["before", "after"], answers);
    }
    outcome.conflicts.iter().for_each(print_conflicts);
    let (method, layers) = (outcome.method.name, outcome.layers());
    let layers = format!("layer{} {layers}", if layers.contains(',') { "s" } else { "" });
    let (held, seconds) = (judged.held(), outcome.seconds);
    match judged.len() {
        0 | 1 => say!("{method} at {layers}, {seconds:.2} s"),
        count => say!("{method} at {layers}: {held} of {count} facts hold, {seconds:.2} s"),
    }
    crate::cli::verdict::print(judged);
    outcome.side_effects.iter().for_each(super::check::print);
    super::check::print_gated(&outcome.gated);
    describe(&outcome.plan.patch).iter().for_each(|line| say!("changed {line}"));
    outcome.plan.notes.iter().for_each(|note| say!("note: {note}"));
    let place = args.ledger.clone().or_else(|| args.store());
    if let (Some(ledger), Some(place)) = (&outcome.ledger, place) {
        say!("facts in the ledger of {}: {}", place.display(), ledger.len());
    }
}

/// Says what was written.
fn written(args: &EditArgs, commit: Option<CommitId>) {
    commit.iter().for_each(|commit| say!("commit {commit}"));
    let files = [("patch", &args.patch), ("dump", &args.dump), ("verdicts", &args.verdicts)];
    for (what, file) in files.into_iter().filter_map(|(what, file)| Some((what, file.as_ref()?))) {
        say!("{what} written to {}", file.display());
    }
    match &args.out {
        Some(out) => say!("model written to {}", out.display()),
        None if commit.is_some() => {}
        None => say!("no model was written; pass --out DIR to keep the edited one"),
    }
}

/// One object for one fact and for many; a single fact's own keys come on top.
/// `written` has what became of the outcome.
fn print_json(outcome: &EditOutcome, commit: Option<CommitId>, written: Value) -> Result<(), CliError> {
    let (judged, plan) = (outcome.judged(), &outcome.plan);
    let [before, after] = [&outcome.before, &outcome.after].map(|model| model.digest().to_string());
    let edited: Vec<usize> = outcome.layers().split(',').filter_map(|layer| layer.parse().ok()).collect();
    let mut object = json!({
        "method": outcome.method.name, "layer": edited.last(), "layers": edited, "settings": outcome.settings,
        "contexts": outcome.contexts(), "seconds": outcome.seconds, "facts": judged.json(),
        "answered": judged.held(), "holds": judged.held() == judged.len(), "model_before": before,
        "model_after": after, "patch": plan.patch.id().to_string(), "changed": describe(&plan.patch),
        "notes": plan.notes, "losses": plan.traces.first().map(|trace| &trace.losses),
        "commit": commit.map(|id| id.to_string()), "conflicts": outcome.conflicts,
        "ledger": outcome.ledger.as_ref().map(Ledger::len), "side_effects": outcome.side_effects,
    });
    if let (Some(object), Value::Object(written)) = (object.as_object_mut(), written) {
        object.extend(written);
    }
    if let ([fact], Some([before, after]), Some(object)) =
        (&outcome.facts[..], &outcome.answers, object.as_object_mut())
    {
        let answers = |answers: &[Answer]| answers.iter().map(AnswerJson::from).collect::<Vec<_>>();
        object.insert("fact".to_owned(), json!(fact));
        object.insert("text".to_owned(), json!(fact.text()));
        object.insert("before".to_owned(), json!(answers(before)));
        object.insert("after".to_owned(), json!(answers(after)));
    }
    crate::cli::print_json(&object)
}

fn describe(patch: &WeightPatch) -> Vec<String> {
    let one = |addend: &Addend| {
        let [rows, cols] = addend.shape();
        let rank = addend.rank().map_or("full rank".to_owned(), |rank| format!("rank {rank}"));
        format!("{rows} x {cols}, {rank}, norm {:.3}", addend.norm())
    };
    let changes = patch.changes().iter();
    let line = |(path, change): (&recant_core::ParamPath, &recant_core::Change)| match &change.delta {
        Delta::Add(addend) => format!("{path} ({})", one(addend)),
        Delta::Swap { after } => format!("{path} (replaced by {})", after.short()),
    };
    changes.map(line).collect()
}

/// How many lines of each kind a person sees; JSON has all.
const SHOWN: usize = 5;

fn print_conflicts(report: &ConflictReport) {
    for contradiction in &report.contradictions {
        let (new, held) = (&contradiction.new, &contradiction.held);
        say!("contradiction: {} {:?}, but the ledger says {:?}", new.text(), new.target, held.target);
    }
    for overlap in report.overlaps.iter().take(SHOWN) {
        let (new, other) = (overlap.new.text(), overlap.other.text());
        say!("overlap {:.2} at layer {}: {new:?} and {other:?}", overlap.cosine, report.layer);
    }
    for disturbed in report.disturbed.iter().take(SHOWN).filter(|disturbed| disturbed.change > DISTURBED) {
        say!("disturbed by {:.0} %: {:?}", 100.0 * disturbed.change, disturbed.fact.text());
    }
    match report.flagged().len() {
        0 => {}
        n_facts => say!("{n_facts} facts that were in the ledger may have changed"),
    }
    let weak = report.leverage.iter().filter(|leverage| leverage.leverage < 0.5).count();
    if weak > 0 {
        say!("{weak} new facts get less than half of their value at layer {}", report.layer);
    }
}
