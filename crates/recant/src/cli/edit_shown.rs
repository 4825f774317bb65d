//! What `recant edit` says.

use recant_core::{Addend, Delta, WeightPatch};
use recant_methods::ledger::Ledger;
use recant_model::Answer;
use serde_json::json;

use super::ask::AnswerJson;
use super::edit::{EditArgs, Outcome};
use super::edit_outputs::EditOutputs;
use super::error::CliError;
use super::ledger::print_conflicts;
use super::verdict::Told;

/// Prints an outcome, for a person or as JSON.
pub(super) fn show(args: &EditArgs, outcome: &Outcome, outputs: &EditOutputs) -> Result<(), CliError> {
    if args.json {
        return print_json(args, outcome);
    }
    print(args, outcome);
    outputs.tell(outcome.commit);
    Ok(())
}

fn print(args: &EditArgs, outcome: &Outcome) {
    let told = Told::new(&outcome.facts, &outcome.verdicts);
    let plan = &outcome.planned.plan;
    if let ([fact], Some(answers)) = (&outcome.facts[..], &outcome.answers) {
        super::out::lines(&fact.text());
        super::side_by_side::print(["before", "after"], answers);
    }
    outcome.planned.conflicts.iter().for_each(print_conflicts);
    let layers = layers(outcome);
    let layers = format!("layer{} {layers}", if layers.contains(',') { "s" } else { "" });
    match told.len() {
        0 | 1 => say!("{} at {layers}, {:.2} s", args.method, outcome.seconds),
        count => say!(
            "{} at {layers}: {} of {count} facts hold, {:.2} s",
            args.method,
            told.held(),
            outcome.seconds
        ),
    }
    told.print();
    describe(&plan.patch).iter().for_each(|line| say!("changed {line}"));
    plan.notes.iter().for_each(|note| say!("note: {note}"));
    let place = args.ledger.clone().or_else(|| args.store());
    if let (Some(ledger), Some(place)) = (&outcome.planned.ledger, place) {
        say!("facts in the ledger of {}: {}", place.display(), ledger.len());
    }
}

/// The layers that were edited, as the editor says them.
fn layers(outcome: &Outcome) -> &str {
    outcome.planned.settings.get("layers").map_or("", String::as_str)
}

/// One object for one fact and for many; a single fact's own keys come on top.
fn print_json(args: &EditArgs, outcome: &Outcome) -> Result<(), CliError> {
    let told = Told::new(&outcome.facts, &outcome.verdicts);
    let (planned, [before, after]) = (&outcome.planned, &outcome.digests);
    let edited: Vec<usize> = layers(outcome).split(',').filter_map(|layer| layer.parse().ok()).collect();
    let mut object = json!({
        "method": args.method, "layer": edited.last(), "layers": edited, "settings": planned.settings,
        "contexts": outcome.contexts, "seconds": outcome.seconds, "facts": told.json(), "answered": told.held(),
        "holds": told.held() == told.len(), "model_before": before, "model_after": after,
        "patch": planned.plan.patch.id().to_string(), "changed": describe(&planned.plan.patch),
        "notes": planned.plan.notes, "losses": planned.plan.traces.first().map(|trace| &trace.losses),
        "commit": outcome.commit.map(|id| id.to_string()), "conflicts": planned.conflicts,
        "ledger": planned.ledger.as_ref().map(Ledger::len),
        "out": args.out.as_ref().map(|out| out.display().to_string()),
    });
    if let ([fact], Some([before, after]), Some(object)) =
        (&outcome.facts[..], &outcome.answers, object.as_object_mut())
    {
        let answers = |answers: &[Answer]| answers.iter().map(AnswerJson::from).collect::<Vec<_>>();
        object.insert("fact".to_owned(), json!(fact));
        object.insert("text".to_owned(), json!(fact.text()));
        object.insert("before".to_owned(), json!(answers(before)));
        object.insert("after".to_owned(), json!(answers(after)));
    }
    super::print_json(&object)
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
