//! `recant edit` with many facts, or with a ledger.

use std::path::Path;
use std::time::Instant;

use recant_backend::Device;
use recant_core::Blobs;
use recant_edit::{EditError, Editor, Fact, Plan};
use recant_methods::ledger::conflict::{self, ConflictReport};
use recant_methods::ledger::{Ledger, LedgerEditor, OnConflict};
use recant_methods::{make_ledger, method, write_whole};
use recant_model::{Model, SaveOptions};
use serde_json::json;

use super::edit::{EditArgs, describe, write_patch};
use super::error::CliError;
use super::facts;
use super::resources::Resources;

/// What came of it.
struct Outcome {
    plan: Plan,
    conflicts: Option<ConflictReport>,
    /// The ledger afterwards.
    ledger: Option<Ledger>,
}

pub(crate) fn run(args: &EditArgs, mut wanted: Vec<Fact>) -> Result<(), CliError> {
    let save = SaveOptions { force: args.force };
    if let Some(out) = &args.out {
        save.check(out)?;
    }
    if args.method != "ledger" && (args.ledger.is_some() || args.on_conflict.is_some()) {
        let reason = "it goes with --method ledger".to_owned();
        let option = if args.ledger.is_some() { "--ledger" } else { "--on-conflict" };
        return Err(CliError::Option { option, reason });
    }
    if let Some(path) = &args.facts {
        wanted.extend(facts::read(path)?);
    }
    let gone = args.forget.as_deref().map(facts::read).transpose()?.unwrap_or_default();
    if args.method == "ledger" && args.to.store.is_some() {
        let reason = "a ledger is kept in a file of its own so far; use --ledger FILE with --model DIR, or \
                      commit with another method"
            .to_owned();
        return Err(CliError::Option { option: "--store", reason });
    }
    if let Some(path) = args.ledger.as_ref().filter(|path| wanted.is_empty() && !path.exists()) {
        let reason = "there is none, and no fact was given to begin one".to_owned();
        return Err(CliError::Read { path: path.clone(), reason });
    }
    let device = Device::open(args.device)?;
    let (target, model) = args.open(&device)?;
    let carry = target.as_ref().map(|target| target.carry.clone()).unwrap_or_default();
    let resources = Resources::gather(&args.with, std::slice::from_ref(&args.method), &model)?;
    let inputs = resources.inputs(&args.method);
    let started = Instant::now();
    let (outcome, settings) = if args.method == "ledger" {
        let editor = make_ledger(&inputs)?;
        (with_ledger(args, &editor, &model, wanted.clone(), &gone)?, editor.settings())
    } else {
        let editor = method(&args.method, &inputs)?;
        let plan = editor.plan_after(&model, &wanted, &carry)?;
        (Outcome { plan, conflicts: None, ledger: None }, editor.settings())
    };
    let Plan { patch, notes, .. } = &outcome.plan;
    let (edited, _) = model.apply(patch, &Blobs::new())?;
    let seconds = started.elapsed().as_secs_f64();
    let mut written = Vec::with_capacity(wanted.len());
    for fact in &wanted {
        let answer = edited.answers(&fact.text(), 1)?.pop().map(|answer| answer.token).unwrap_or_default();
        let first = model.tokenizer().encode_continuation(&format!(" {}", fact.target))?;
        let first = first.first().map(|&id| model.tokenizer().decode(&[id])).transpose()?.unwrap_or_default();
        written.push((fact, answer.trim() == first.trim(), answer));
    }
    if let Some(path) = &args.patch {
        write_patch(path, patch)?;
    }
    if let Some(out) = &args.out {
        edited.save(out, save)?;
    }
    // Last: a ledger never says what a model that could not be written does not hold.
    if let (Some(path), Some(ledger)) = (&args.ledger, &outcome.ledger) {
        write_whole(path, &ledger.encode())
            .map_err(|error| CliError::Write { path: path.clone(), reason: error.to_string() })?;
    }
    let held = outcome.ledger.as_ref().map(Ledger::len);
    let commit = target
        .as_ref()
        .map(|target| target.commit(&args.to, &args.method, &settings, &wanted, &outcome.plan))
        .transpose()?;
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
        println!("{}: {right} of {} facts are answered now, {seconds:.2} s", args.method, wanted.len());
    }
    let wrong = written.iter().filter(|(_, right, _)| !right);
    wrong.for_each(|(fact, _, answer)| {
        println!("not written: {} {} (it says{answer})", fact.text(), fact.target)
    });
    describe(patch).iter().for_each(|line| println!("changed {line}"));
    notes.iter().for_each(|note| println!("note: {note}"));
    if let (Some(held), Some(path)) = (held, &args.ledger) {
        println!("{} holds {held} facts", path.display());
    }
    match (&args.out, commit) {
        (None, Some(commit)) => println!("committed as {}", commit.short()),
        (Some(out), _) => println!("written to {}; the model it came from is as it was", out.display()),
        (None, None) => println!("no model was written; pass --out DIR to keep the edited one"),
    }
    Ok(())
}

/// The ledger of --ledger, changed and written back; or one that lives for this call.
fn with_ledger(
    args: &EditArgs,
    editor: &LedgerEditor,
    model: &Model,
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
    let read = |path: &Path| -> Result<Ledger, CliError> {
        let refuse = |reason: String| CliError::Read { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        Ledger::decode(&bytes).map_err(|error| refuse(error.to_string()))
    };
    let mut ledger = match args.ledger.as_deref().filter(|path| path.exists()) {
        Some(path) => read(path)?,
        None => Ledger::new(editor.ground(model)),
    };
    let unfit = |error: recant_methods::ledger::LedgerError| CliError::Option {
        option: "--ledger",
        reason: error.to_string(),
    };
    for fact in gone {
        ledger.remove(fact).map_err(unfit)?;
    }
    let fresh: Vec<Fact> = wanted.into_iter().filter(|fact| !ledger.holds(fact)).collect();
    let entries = if fresh.is_empty() { Vec::new() } else { editor.entries(model, &fresh)? };
    let conflicts =
        if fresh.is_empty() { None } else { Some(conflict::report(editor, model, &ledger, &entries)?) };
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
    let (patch, _) = editor.materialise(model, &ledger, &mut Vec::new())?;
    let mut plan = Plan::new(patch);
    plan.notes = editor.metric().notes().into_iter().collect();
    Ok(Outcome { plan, conflicts, ledger: Some(ledger) })
}

/// How many lines of each kind a person sees; JSON has all.
const SHOWN: usize = 5;

fn print_conflicts(report: &ConflictReport) {
    for contradiction in &report.contradictions {
        let (new, held) = (&contradiction.new, &contradiction.held);
        println!("contradiction: {} {:?}, but the ledger says {:?}", new.text(), new.target, held.target);
    }
    for overlap in report.overlaps.iter().take(SHOWN) {
        let (new, other) = (overlap.new.text(), overlap.other.text());
        println!("overlap {:.2} at layer {}: {new:?} and {other:?}", overlap.cosine, report.layer);
    }
    for disturbed in report.disturbed.iter().take(SHOWN).filter(|disturbed| disturbed.change > 0.05) {
        println!("disturbed by {:.0} %: {:?}", 100.0 * disturbed.change, disturbed.fact.text());
    }
    let weak = report.leverage.iter().filter(|leverage| leverage.leverage < 0.5).count();
    if weak > 0 {
        println!("{weak} new facts get less than half of their value at layer {}", report.layer);
    }
}
