//! `recant log`, `recant status`.

use clap::Args;
use recant_core::CommitId;
use recant_store::object::{Commit, Deed, FactRecord, Head, View};
use recant_store::{Counts, History};
use serde_json::{Value, json};

use super::{StoreArgs, count, date, labels};
use crate::cli::error::CliError;

/// Arguments of `recant log`.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Where to begin.
    rev: Option<String>,
    /// Every branch and tag.
    #[arg(long, conflicts_with = "rev")]
    all: bool,
    /// Draw how commits follow from one another.
    #[arg(long)]
    graph: bool,
    /// At most this many commits.
    #[arg(long, short = 'n', value_name = "N")]
    max: Option<usize>,
    /// The same as `recant op log`.
    #[arg(long, hide = true, conflicts_with_all = ["rev", "all", "graph"])]
    operations: bool,
}

/// Arguments of `recant op log`.
#[derive(Debug, Args)]
pub(crate) struct OperationsArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// At most this many operations.
    #[arg(long, short = 'n', value_name = "N")]
    max: Option<usize>,
}

pub(crate) fn log(args: &LogArgs) -> Result<(), CliError> {
    if args.operations {
        return operations(&OperationsArgs { store: args.store.clone(), max: args.max });
    }
    let store = args.store.open()?;
    let max = args.max.unwrap_or(usize::MAX);
    let view = store.view()?;
    let tips: Vec<CommitId> = match &args.rev {
        _ if args.all => view.commits().collect(),
        Some(rev) => vec![store.resolve(rev)?],
        None => vec![store.resolve("HEAD")?],
    };
    let mut history = History::new(store.odb());
    let mut lanes = Lanes::default();
    let mut printed = Vec::new();
    for step in history.walk(&tips)?.take(max) {
        let (id, commit) = step?;
        if args.store.json {
            printed.push(commit_json(&view, id, &commit));
            continue;
        }
        let (mark, rest) = if args.graph { lanes.draw(id, &commit.parents) } else { Default::default() };
        let labels = labels(&view, id);
        let names = if labels.is_empty() { String::new() } else { format!("  ({})", labels.join(", ")) };
        let (deed, when) = (commit.deed.name(), date(commit.time));
        say!("{mark}{}  {deed:11} {when}  {}{names}", id.short(), commit.author);
        commit.message.lines().for_each(|line| say!("{rest}    {line}"));
        // Without a message of its own, a commit's message names its facts already.
        let told = |fact: &&FactRecord| {
            let line = format!("{} -> {}", fact.text(), fact.target);
            !commit.message.lines().any(|told| told == line)
        };
        let sign = sign(&commit);
        let facts = commit.record.facts.iter().filter(told);
        facts.for_each(|fact| say!("{rest}    {sign}{}", sentence(fact)));
    }
    if args.store.json { crate::cli::print_json(&printed) } else { Ok(()) }
}

/// What stands before the facts of a commit that took them back.
pub(super) fn sign(commit: &Commit) -> &'static str {
    if matches!(commit.deed, Deed::Revert(_)) { "- " } else { "" }
}

/// A fact as a person reads it.
pub(super) fn sentence(fact: &FactRecord) -> String {
    format!("{} \u{2192} {}", fact.text(), fact.target)
}

pub(super) fn commit_json(view: &View, id: CommitId, commit: &Commit) -> Value {
    let ids = |ids: &mut dyn Iterator<Item = CommitId>| ids.map(|id| id.to_string()).collect::<Vec<_>>();
    let facts: Vec<Value> = commit
        .record
        .facts
        .iter()
        .map(|fact| json!({ "subject": fact.subject, "prompt": fact.prompt, "target": fact.target }))
        .collect();
    json!({
        "commit": id.to_string(), "parents": ids(&mut commit.parents.iter().copied()),
        "deed": commit.deed.name(), "names": labels(view, id), "time": commit.time,
        "author": commit.author, "message": commit.message, "method": commit.record.method,
        "settings": commit.record.settings, "facts": facts, "scores": commit.record.scores,
        "tool": commit.record.tool, "base": commit.base.to_string(),
        "manifest": commit.manifest.to_string(), "patch": commit.patch.map(|id| id.to_string()),
        "takes": ids(&mut commit.takes.iter().copied()), "drops": ids(&mut commit.drops.iter().copied()),
        "signed": commit.signature.is_some(),
    })
}

/// The columns of a graph: the commits that are waited for, one a column.
#[derive(Default)]
struct Lanes(Vec<CommitId>);

impl Lanes {
    /// What stands before a commit's first line and before its other lines.
    fn draw(&mut self, id: CommitId, parents: &[CommitId]) -> (String, String) {
        let at = self.0.iter().position(|&lane| lane == id).unwrap_or_else(|| {
            self.0.push(id);
            self.0.len() - 1
        });
        let row = |own: &str, lanes: &[CommitId]| {
            let cells = (0..lanes.len()).map(|i| if i == at { own } else { "|" });
            cells.collect::<Vec<_>>().join(" ") + " "
        };
        let mark = row("*", &self.0);
        self.0.remove(at);
        let mut place = at;
        for &parent in parents {
            if !self.0.contains(&parent) {
                self.0.insert(place.min(self.0.len()), parent);
                place += 1;
            }
        }
        let rest = "| ".repeat(self.0.len());
        let width = mark.len().max(rest.len());
        (format!("{mark:width$}"), format!("{rest:width$}"))
    }
}

pub(crate) fn operations(args: &OperationsArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let max = args.max.unwrap_or(usize::MAX);
    let operations = store.walk_operations()?.take(max);
    let operations = operations.collect::<Result<Vec<_>, _>>()?;
    let operations = operations.into_iter();
    if args.store.json {
        let all: Vec<Value> = operations
            .map(|(id, operation)| {
                json!({
                    "operation": id.to_string(), "time": operation.time, "author": operation.author,
                    "what": operation.what, "head": operation.view.head_commit().map(|id| id.to_string()),
                })
            })
            .collect();
        return crate::cli::print_json(&all);
    }
    for (id, operation) in operations {
        say!("{}  {}  {}  {}", id.short(), date(operation.time), operation.author, operation.what);
    }
    Ok(())
}

/// Arguments of `recant status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) fn status(args: &StatusArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let view = store.view()?;
    let size = store.size()?;
    let head = view.head_commit();
    let (mut live, mut n_linked, mut digest) = (Counts::default(), 0, None);
    if let Some(id) = head {
        live = store.counts(id)?;
        let commit = store.odb().commit(id)?;
        let manifest = store.odb().manifest(commit.manifest)?;
        n_linked = store.linked(&manifest)?;
        digest = Some(manifest.model_digest());
    }
    if args.store.json {
        return crate::cli::print_json(&json!({
            "branch": view.head_branch().map(|name| name.as_str()), "head": head.map(|id| id.to_string()),
            "model": digest.map(|id| id.to_string()), "edits": live.edits, "facts": live.facts, "branches": view.branches.len(),
            "tags": view.tags.len(), "objects": size.objects, "bytes": size.bytes, "linked": n_linked,
        }));
    }
    match (&view.head, head) {
        (Head::Unborn(name), _) => {
            say!("on branch {name}, no model yet; `recant store import` brings one in")
        }
        (Head::Branch(name), Some(id)) => say!("on branch {name} at {}", id.short()),
        (_, Some(id)) => say!("at {}, on no branch", id.short()),
        (_, None) => {}
    }
    if let Some(digest) = digest {
        say!("model  {digest}");
        say!("{}, {}", count(live.edits, "live edit"), count(live.facts, "fact"));
    }
    say!("{}, {}", count(view.branches.len(), "branch"), count(view.tags.len(), "tag"));
    say!("{}, {} on disk", count(size.objects, "object"), super::size(size.bytes));
    if n_linked > 0 {
        say!("{n_linked} tensors are linked in place; `recant store verify` reads them");
    }
    Ok(())
}
