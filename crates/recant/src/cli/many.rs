//! `recant edit` with many facts, or with a ledger.

use std::time::Instant;

use recant_backend::Device;
use recant_core::Blobs;
use recant_edit::{EditError, Editor, Fact, Plan, Request};
use recant_methods::ledger::conflict::{self, ConflictReport};
use recant_methods::ledger::{Ledger, LedgerEditor, OnConflict};
use recant_methods::{make_ledger, method};
use recant_model::Model;
use recant_records::Record;
use serde_json::json;

use super::edit::{EditArgs, describe};
use super::edit_outputs::EditOutputs;
use super::error::CliError;
use super::facts;
use super::resources::Resources;
use super::session::Session;
use super::store::{Account, LedgerEdit, scores};

/// What came of it.
struct Outcome {
    plan: Plan,
    conflicts: Option<ConflictReport>,
    /// The ledger afterwards.
    ledger: Option<Ledger>,
}

pub(crate) fn run(args: &EditArgs, session: &Session, mut wanted: Vec<Fact>) -> Result<(), CliError> {
    check(args)?;
    let outputs = EditOutputs::decide(args, session)?;
    let by_ledger = args.method == "ledger";
    if let Some(path) = &args.facts {
        wanted.extend(facts::read(path)?);
    }
    let gone = args.forget.as_deref().map(facts::read).transpose()?.unwrap_or_default();
    if let Some(path) = args.ledger.as_ref().filter(|path| wanted.is_empty() && !path.exists()) {
        let reason = "there is none, and no fact was given to begin one".to_owned();
        return Err(CliError::Read { path: path.clone(), reason });
    }
    let device = Device::open(args.device)?;
    let (target, model) = args.open(&device, session)?;
    let carry = target.as_ref().map(|target| target.carry.clone()).unwrap_or_default();
    let kept = match &target {
        Some(target) if by_ledger => target.kept(&args.with)?,
        _ => None,
    };
    let (inputs, statistics, notes) = match kept {
        Some((inputs, statistics)) => (inputs, statistics, Vec::new()),
        None => {
            let base = target.as_ref().map_or_else(|| model.digest(), |target| target.base);
            let methods = std::slice::from_ref(&args.method);
            let resources = Resources::gather_over(&args.with, methods, &model, base)?;
            (resources.inputs(&args.method), resources.statistics(), resources.notes(&model))
        }
    };
    let started = Instant::now();
    let (mut outcome, mut settings) = if by_ledger {
        let editor = make_ledger(&inputs)?;
        let held = target.as_ref().map(|target| target.ledger(&editor, &model)).transpose()?;
        (with_ledger(args, &editor, &model, held, wanted.clone(), &gone)?, editor.settings())
    } else {
        let editor = method(&args.method, &inputs)?;
        let plan = editor.plan_after(&model, &wanted, &carry)?;
        (Outcome { plan, conflicts: None, ledger: None }, editor.settings())
    };
    outcome.plan.notes.extend(notes);
    settings.extend(statistics.map(|text| ("statistics".to_owned(), text)));
    let Plan { patch, notes, .. } = &outcome.plan;
    let (model, edited) = match &target {
        // Planned on the base, committed behind whatever else is live at the head.
        Some(target) if by_ledger => (target.at_head(&model)?, target.with_patch(&model, patch)?),
        _ => (model.clone(), model.apply(patch, &Blobs::new())?.0),
    };
    let seconds = started.elapsed().as_secs_f64();
    let mut written = Vec::with_capacity(wanted.len());
    for fact in &wanted {
        let answer = edited.answers(&fact.text(), 1)?.pop();
        let wanted = Request::new(&model, fact).map_err(EditError::about(fact))?.target[0];
        let right = answer.as_ref().is_some_and(|answer| answer.id == wanted);
        written.push((fact, right, answer.map(|answer| answer.token).unwrap_or_default()));
    }
    outputs.write(&outcome.plan, &edited, outcome.ledger.as_ref())?;
    let held = outcome.ledger.as_ref().map(Ledger::len);
    let commit = match &target {
        None => None,
        Some(target) => {
            let scores = scores(&wanted, &model, &edited)?;
            let account = Account { method: &args.method, settings, facts: &wanted, scores };
            Some(match &outcome.ledger {
                Some(ledger) => {
                    let edit = LedgerEdit { ledger, patch, inputs: &inputs, gone: &gone };
                    target.commit_ledger(&args.to, account, &edit)?
                }
                None => target.commit(&args.to, account, &outcome.plan)?,
            })
        }
    };
    let right = written.iter().filter(|(_, right, _)| *right).count();
    if args.json {
        let facts: Vec<_> = written
            .iter()
            .map(|(fact, right, answer)| json!({ "fact": fact, "answered": right, "answer": answer }))
            .collect();
        return super::print_json(&json!({
            "method": args.method, "seconds": seconds, "facts": facts, "answered": right,
            "model_before": model.digest().to_string(), "model_after": edited.digest().to_string(),
            "patch": patch.id().to_string(), "changed": describe(patch),
            "notes": notes, "commit": commit.map(|id| id.to_string()), "conflicts": outcome.conflicts, "ledger": held,
        }));
    }
    outcome.conflicts.iter().for_each(print_conflicts);
    if !wanted.is_empty() {
        say!("{}: {right} of {} facts are answered now, {seconds:.2} s", args.method, wanted.len());
    }
    let wrong = written.iter().filter(|(_, right, _)| !right);
    wrong.for_each(|(fact, _, answer)| {
        say!("not written: {} {} (it says {answer:?})", fact.text(), fact.target)
    });
    describe(patch).iter().for_each(|line| say!("changed {line}"));
    notes.iter().for_each(|note| say!("note: {note}"));
    match (held, &args.ledger, &args.to.store) {
        (Some(held), Some(place), _) | (Some(held), None, Some(place)) => {
            say!("facts in the ledger of {}: {held}", place.display());
        }
        _ => {}
    }
    outputs.tell(commit);
    Ok(())
}

/// Options that go with a ledger alone, and with one place for it.
fn check(args: &EditArgs) -> Result<(), CliError> {
    let refuse = |option, reason: &str| Err(CliError::Option { option, reason: reason.to_owned() });
    let given = [
        ("--ledger", args.ledger.is_some()),
        ("--on-conflict", args.on_conflict.is_some()),
        ("--forget", args.forget.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) if args.method != "ledger" => refuse(option, "it goes with --method ledger"),
        _ if args.ledger.is_some() && args.to.store.is_some() => {
            refuse("--ledger", "a store keeps its ledger itself; leave this out")
        }
        _ if args.forget.is_some() && args.ledger.is_none() && args.to.store.is_none() => {
            refuse("--forget", "say out of which ledger: --ledger FILE, or --store DIR")
        }
        _ => Ok(()),
    }
}

/// The ledger of the store or of --ledger, changed; or one that lives for this call.
fn with_ledger(
    args: &EditArgs,
    editor: &LedgerEditor,
    model: &Model,
    held: Option<Ledger>,
    wanted: Vec<Fact>,
    gone: &[Fact],
) -> Result<Outcome, CliError> {
    let policy = match &args.on_conflict {
        None => editor.on_conflict(),
        Some(name) => OnConflict::parse(name).ok_or_else(|| CliError::Option {
            option: "--on-conflict",
            reason: "refuse, replace or keep-both is expected".to_owned(),
        })?,
    };
    let mut notes: Vec<String> = editor.metric().notes().into_iter().collect();
    let mut ledger = match (held, args.ledger.as_deref().filter(|path| path.exists())) {
        (Some(held), _) => held,
        (None, Some(path)) => {
            let opened = super::read_with(path, Ledger::from_file)?;
            notes.extend(opened.note(path));
            opened.value
        }
        (None, None) => Ledger::new(editor.ground(model)),
    };
    let unfit = |error: recant_methods::ledger::LedgerError| CliError::Option {
        option: if args.to.store.is_some() { "--store" } else { "--ledger" },
        reason: error.to_string(),
    };
    for fact in gone {
        ledger.remove(fact).map_err(unfit)?;
    }
    let fresh: Vec<Fact> = wanted.into_iter().filter(|fact| !ledger.holds(fact)).collect();
    let entries =
        if fresh.is_empty() { Vec::new() } else { editor.entries(model, &fresh, &mut |_, _, _| ())? };
    let mut grams = Vec::new();
    let conflicts = if fresh.is_empty() {
        None
    } else {
        Some(conflict::report(editor, model, &ledger, &entries, &mut grams)?)
    };
    if let (Some(report), OnConflict::Refuse) = (&conflicts, policy)
        && let Some(contradiction) = report.contradictions.first()
    {
        return Err(EditError::Setting {
            key: "fact".to_owned(),
            value: format!("{} {}", contradiction.new.text(), contradiction.new.target),
            reason: format!(
                "the ledger says {:?} to this prompt; choose --on-conflict replace or keep-both",
                contradiction.held.target
            ),
        }
        .into());
    }
    for (fact, entry) in entries {
        match policy {
            OnConflict::Replace => ledger.replace(fact, entry).map(|_| ()),
            _ => ledger.add(fact, entry),
        }
        .map_err(unfit)?;
    }
    let (patch, _) = editor.materialise(model, &ledger, &mut grams, &mut |_, _, _| ())?;
    let mut plan = Plan::new(patch);
    plan.notes = notes;
    Ok(Outcome { plan, conflicts, ledger: Some(ledger) })
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
    for disturbed in report.disturbed.iter().take(SHOWN).filter(|disturbed| disturbed.change > 0.05) {
        say!("disturbed by {:.0} %: {:?}", 100.0 * disturbed.change, disturbed.fact.text());
    }
    let weak = report.leverage.iter().filter(|leverage| leverage.leverage < 0.5).count();
    if weak > 0 {
        say!("{weak} new facts get less than half of their value at layer {}", report.layer);
    }
}
