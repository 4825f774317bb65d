//! `recant edit --method ledger`: a ledger that is changed, or one that lives for a call.

use recant_app::{Observer, Progress, Unit};
use recant_edit::{EditError, Editor, Plan};
use recant_methods::ledger::conflict::{self, ConflictReport, DISTURBED};
use recant_methods::ledger::{Gram, Ledger, LedgerEditor, OnConflict, Work};
use recant_methods::make_ledger;
use recant_records::Record;

use super::edit::{EditArgs, Planned, Request};
use super::error::CliError;
use super::progress::Terminal;

/// Options that go with a ledger alone, and with one place for it.
pub(super) fn check(args: &EditArgs) -> Result<(), CliError> {
    let refuse = |option, reason: &str| Err(CliError::Option { option, reason: reason.to_owned() });
    let given = [
        ("--ledger", args.ledger.is_some()),
        ("--on-conflict", args.on_conflict.is_some()),
        ("--forget", args.forget.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) if args.method != "ledger" => refuse(option, "it goes with --method ledger"),
        _ if args.ledger.is_some() && args.store().is_some() => {
            refuse("--ledger", "a store keeps its ledger itself; leave this out")
        }
        _ if args.forget.is_some() && args.ledger.is_none() && args.store().is_none() => {
            refuse("--forget", "say out of which ledger: --ledger FILE, or --store DIR")
        }
        _ => Ok(()),
    }
}

/// Plans the ledger of the store or of --ledger, changed; or one that lives for this call.
pub(super) fn plan(request: &Request<'_>) -> Result<Planned, CliError> {
    let Request { inputs, target, model, .. } = request;
    let editor = make_ledger(inputs)?;
    let held = target.map(|target| target.ledger(&editor, model)).transpose()?;
    let mut grams = Vec::new();
    let mut notes: Vec<String> = editor.metric().notes().into_iter().collect();
    let (ledger, conflicts) = changed(request, &editor, held, &mut grams, &mut notes)?;
    let told = Terminal::default();
    let (patch, trace) = editor.materialise(model, &ledger, &mut grams, &mut hears(&told))?;
    told.idle();
    let mut plan = Plan::new(patch);
    plan.traces.push(trace);
    plan.notes = notes;
    Ok(Planned { plan, settings: editor.settings(), conflicts, ledger: Some(ledger) })
}

/// The ledger without what goes and with what is wanted, and what the new facts meet in it.
fn changed(
    Request { args, model, wanted, .. }: &Request<'_>,
    editor: &LedgerEditor,
    held: Option<Ledger>,
    grams: &mut Vec<Gram>,
    notes: &mut Vec<String>,
) -> Result<(Ledger, Option<ConflictReport>), CliError> {
    let policy = match &args.on_conflict {
        None => editor.on_conflict(),
        Some(name) => OnConflict::parse(name).ok_or_else(|| CliError::Option {
            option: "--on-conflict",
            reason: "refuse, replace or keep-both is expected".to_owned(),
        })?,
    };
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
        option: if args.store().is_some() { "--store" } else { "--ledger" },
        reason: error.to_string(),
    };
    for fact in &wanted.gone {
        ledger.remove(fact).map_err(unfit)?;
    }
    let fresh: Vec<_> = wanted.facts.iter().filter(|fact| !ledger.holds(fact)).cloned().collect();
    let told = Terminal::default();
    let entries =
        if fresh.is_empty() { Vec::new() } else { editor.entries(model, &fresh, &mut hears(&told))? };
    told.idle();
    let conflicts = if fresh.is_empty() {
        None
    } else {
        Some(conflict::report(editor, model, &ledger, &entries, grams)?)
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
    Ok((ledger, conflicts))
}

/// Tells how far the work of a ledger has come.
fn hears(observer: &dyn Observer) -> impl FnMut(Work, usize, usize) {
    |work, done, of| {
        let (work, unit) = match work {
            Work::Joint => ("joint values", Unit::Passes),
            _ => ("values", Unit::Facts),
        };
        observer.progress(Progress { work, detail: "", done: done as u64, of: of as u64, unit });
    }
}

/// How many lines of each kind a person sees; JSON has all.
const SHOWN: usize = 5;

pub(super) fn print_conflicts(report: &ConflictReport) {
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
