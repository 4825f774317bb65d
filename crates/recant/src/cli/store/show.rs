//! `recant show`, `recant diff`.

use clap::Args;
use recant_core::{CommitId, Delta};
use recant_store::object::{FactRecord, Way};
use recant_store::{Diff, SignatureState};
use serde_json::{Value, json};

use super::history::{commit_json, sentence, sign};
use super::{StoreArgs, date, labels, size};
use crate::cli::error::CliError;

/// Arguments of `recant show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The commit.
    #[arg(default_value = "HEAD")]
    rev: String,
}

pub(crate) fn show(args: &ShowArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let id = store.resolve(&args.rev)?;
    let odb = store.odb();
    let commit = odb.commit(id)?;
    let view = store.view()?;
    let digest = store.model_digest(id)?;
    let mut changed = Vec::new();
    if let Some(patch) = commit.patch {
        for (path, change) in odb.patch(patch)?.changes() {
            changed.push(match &change.delta {
                Delta::Add(addend) => {
                    let [rows, cols] = addend.shape();
                    let rank = addend.rank().map_or("full rank".to_owned(), |rank| format!("rank {rank}"));
                    format!("{path} ({rows} x {cols}, {rank}, norm {:.3})", addend.norm())
                }
                Delta::Swap { after } => format!("{path} (replaced by {})", after.short()),
            });
        }
    }
    if args.store.json {
        let mut value = commit_json(&view, id, &commit);
        value["model"] = digest.to_string().into();
        value["changed"] = changed.into();
        return crate::cli::print_json(&value);
    }
    say!("commit {id}");
    for label in labels(&view, id) {
        say!("  on     {label}");
    }
    say!("{} by {}, {}", commit.deed.name(), commit.author, date(commit.time));
    commit.parents.iter().for_each(|parent| say!("  parent {}", parent.short()));
    say!("  model  {digest}");
    say!("  base   {}", commit.base);
    match commit.signature_state(&Default::default()) {
        SignatureState::Unsigned => {}
        SignatureState::Bad(key) => say!("  signed by {key}: the signature is not this commit's"),
        SignatureState::Good(key) => say!("  signed by {key}"),
        SignatureState::Unknown(key) => {
            say!("  signed by {key}; `recant store verify --signers` says who that is")
        }
    }
    commit.message.lines().for_each(|line| say!("    {line}"));
    let made = [&commit.record.method, &commit.record.tool].map(String::as_str);
    let made: Vec<&str> = made.into_iter().filter(|text| !text.is_empty()).collect();
    if !made.is_empty() {
        say!("  method {}", made.join(", "));
    }
    commit.record.settings.iter().for_each(|(key, value)| say!("    {key} = {value}"));
    let sign = sign(&commit);
    commit.record.facts.iter().for_each(|fact| say!("  fact   {sign}{}", sentence(fact)));
    commit.record.scores.iter().for_each(|(key, score)| say!("  score  {key} = {score:.4}"));
    changed.iter().for_each(|line| say!("  changed {line}"));
    if let Some(patch) = commit.patch {
        say!("  patch  {}, {}", patch.short(), size(odb.file_len(patch)?));
    }
    Ok(())
}

/// Arguments of `recant diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// From this commit.
    from: String,
    /// To this commit.
    #[arg(default_value = "HEAD")]
    to: String,
}

pub(crate) fn diff(args: &DiffArgs) -> Result<(), CliError> {
    let store = args.store.open()?;
    let from = store.resolve(&args.from)?;
    let to = store.resolve(&args.to)?;
    let diff = store.diff(from, to)?;
    if args.store.json {
        return crate::cli::print_json(&diff_json(from, to, &diff));
    }
    let facts = |mark: char, facts: &[(CommitId, FactRecord)]| {
        facts.iter().for_each(|(id, fact)| say!("{mark} {}  ({})", sentence(fact), id.short()));
    };
    facts('-', &diff.removed);
    facts('+', &diff.added);
    for (path, matrix) in &diff.matrices {
        let norm = matrix.norm.map_or("of another form".to_owned(), |norm| format!("norm {norm:.4}"));
        let rank = matrix.rank.map_or("full rank".to_owned(), |rank| format!("rank at most {rank}"));
        say!("~ {path} {:?}, {norm}, {rank}", matrix.shape);
    }
    for apart in &diff.parts {
        say!("{} {}", mark(apart.how), apart.part);
    }
    if diff == Diff::default() {
        say!("no difference");
    }
    Ok(())
}

fn mark(how: Way) -> char {
    match how {
        Way::Added => '+',
        Way::Removed => '-',
        Way::Changed => '~',
    }
}

fn diff_json(from: CommitId, to: CommitId, diff: &Diff) -> Value {
    let facts = |facts: &[(CommitId, FactRecord)]| {
        facts
            .iter()
            .map(|(id, fact)| {
                json!({
                    "commit": id.to_string(), "subject": fact.subject, "prompt": fact.prompt,
                    "target": fact.target,
                })
            })
            .collect::<Vec<_>>()
    };
    let matrices: Vec<Value> = diff
        .matrices
        .iter()
        .map(|(path, matrix)| {
            json!({
                "path": path.as_str(), "shape": matrix.shape, "norm": matrix.norm, "rank": matrix.rank,
                "before": matrix.before.map(|id| id.to_string()),
                "after": matrix.after.map(|id| id.to_string()),
            })
        })
        .collect();
    let parts: Vec<Value> = diff
        .parts
        .iter()
        .map(|apart| json!({ "part": apart.part.to_string(), "how": apart.how.name() }))
        .collect();
    json!({
        "from": from.to_string(), "to": to.to_string(), "added": facts(&diff.added),
        "removed": facts(&diff.removed), "matrices": matrices, "parts": parts,
    })
}
