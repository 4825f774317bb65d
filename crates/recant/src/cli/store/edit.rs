//! `recant edit --store`: plans on the head's model, applies, commits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use recant_backend::Device;
use recant_core::{Blobs, Change, CommitId, Delta, HostTensor, ModelDigest, ParamPath, WeightPatch};
use recant_edit::{Carry, Fact, Plan};
use recant_eval::Verdict;
use recant_files::{MODEL_DIRECTORY, TemporaryFolder};
use recant_model::Model;
use recant_records::Record as _;
use recant_store::object::{FactRecord, Manifest, Record};
use recant_store::{Draft, EditKind, History, Name, Store};

use super::{StoreError, TOOL, key, stamp};
use crate::cli::error::CliError;
use crate::cli::session::Session;

/// Arguments of `recant edit` that concern a store.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreEditArgs {
    /// Edit the model at the head of this store and commit the edit, instead of a MODEL.
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    pub(crate) store: Option<PathBuf>,
    /// What the commit is for [default: the fact].
    #[arg(long, short, value_name = "TEXT", conflicts_with = "model")]
    message: Option<String>,
    /// Sign the commit with this key.
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub(crate) sign: Option<PathBuf>,
}

/// Where an edit is committed: the head that the model was opened at.
pub(crate) struct EditTarget {
    pub(super) store: Store,
    pub(super) head: CommitId,
    /// The import that the head builds on.
    pub(super) import: CommitId,
    /// Digest of the model that was imported.
    pub(crate) base: ModelDigest,
    /// What the method remembers of earlier edits.
    pub(crate) carry: Carry,
}

/// What is committed beside the weights.
pub(crate) struct Account<'a> {
    /// The method's name.
    pub(crate) method: &'a str,
    /// Every setting that decides the result.
    pub(crate) settings: BTreeMap<String, String>,
    /// The facts.
    pub(crate) facts: &'a [Fact],
    /// What the edit did to its own prompts; see [`scores`].
    pub(crate) scores: BTreeMap<String, f64>,
}

impl EditTarget {
    /// Opens the store with the model to plan on: that of the head; for a ledger, which measures everything on its
    /// base, the one that was imported.
    pub(crate) fn open(
        dir: &Path,
        args: &StoreEditArgs,
        method: &str,
        device: &Device,
    ) -> Result<(Self, Model), CliError> {
        let store = Store::open(dir).map_err(StoreError::from)?;
        // A key that cannot be read is told before minutes of work.
        key(args.sign.as_deref())?;
        let head = store.resolve("HEAD").map_err(StoreError::from)?;
        let import = History::new(store.odb()).live(head).map_err(StoreError::from)?.import;
        let at = if method == "ledger" { import } else { head };
        let model = open_at(&store, at, device)?;
        let commit = store.odb().commit(head).map_err(StoreError::from)?;
        let name = carry_name(method)?;
        let carry = match commit.states.get(&name) {
            Some(&id) => {
                let blob = store.odb().blob(id).map_err(StoreError::from)?;
                let unfit = |source| StoreError::State { name: name.to_string(), source };
                Carry::from_file(&blob.bytes).map_err(unfit)?.value
            }
            None => Carry::default(),
        };
        Ok((Self { store, head, import, base: commit.base, carry }, model))
    }

    /// Commits a plan.
    pub(crate) fn commit(
        &self,
        args: &StoreEditArgs,
        account: Account<'_>,
        plan: &Plan,
    ) -> Result<CommitId, CliError> {
        let mut states = BTreeMap::new();
        if plan.carry != self.carry {
            let kind = Name::new("carry").map_err(StoreError::from)?;
            // No bytes take the state away.
            let bytes = if plan.carry.matrices.is_empty() { Vec::new() } else { plan.carry.to_file() };
            states.insert(carry_name(account.method)?, (kind, bytes));
        }
        self.put(args, account, &EditKind::Patch(plan.patch.clone()), states, &[])
    }

    /// Commits an edit of any kind; `gone` are facts that it takes out.
    pub(super) fn put(
        &self,
        args: &StoreEditArgs,
        account: Account<'_>,
        kind: &EditKind,
        states: BTreeMap<Name, (Name, Vec<u8>)>,
        gone: &[Fact],
    ) -> Result<CommitId, CliError> {
        let line = |verb: &str, fact: &Fact| format!("{verb}{} -> {}", fact.text(), fact.target);
        let default = || {
            let lines = account.facts.iter().map(|fact| line("", fact));
            lines.chain(gone.iter().map(|fact| line("forget: ", fact))).collect::<Vec<_>>().join("\n")
        };
        let draft = Draft {
            message: args.message.clone().unwrap_or_else(default),
            record: Record {
                method: account.method.to_owned(),
                tool: TOOL.to_owned(),
                settings: account.settings,
                facts: account.facts.iter().map(record).collect(),
                scores: account.scores,
            },
            states,
            tensors: Vec::new(),
            planned_on: Some(self.head),
        };
        let sign = key(args.sign.as_deref())?;
        let commit = self.store.commit_edit(kind, &draft, &stamp(), sign.as_ref());
        Ok(commit.map_err(StoreError::from)?)
    }
}

/// A fact as history keeps it.
pub(super) fn record(fact: &Fact) -> FactRecord {
    FactRecord { subject: fact.subject.clone(), prompt: fact.prompt.clone(), target: fact.stored_target() }
}

/// What an edit did to its own prompts. `efficacy`: share of facts of whose target every token is the most
/// probable one now. `target_probability` and `target_probability_before`: means over the facts of the probability of
/// the whole target.
pub(crate) fn scores(verdicts: &[Verdict]) -> BTreeMap<String, f64> {
    let Some(count) = (!verdicts.is_empty()).then_some(verdicts.len() as f64) else { return BTreeMap::new() };
    let mean = |of: fn(&Verdict) -> f64| verdicts.iter().map(of).sum::<f64>() / count;
    let named = [
        ("efficacy", mean(|verdict| f64::from(u8::from(verdict.holds)))),
        ("target_probability", mean(|verdict| verdict.probability_after)),
        ("target_probability_before", mean(|verdict| verdict.probability_before)),
    ];
    named.into_iter().map(|(name, score)| (name.to_owned(), score)).collect()
}

/// The model at another commit: the tensors that differ are swapped.
pub(super) fn moved(store: &Store, model: &Model, from: CommitId, to: CommitId) -> Result<Model, CliError> {
    let odb = store.odb();
    let manifest = |id| odb.commit(id).and_then(|commit| odb.manifest(commit.manifest));
    let (before, after) =
        (manifest(from).map_err(StoreError::from)?, manifest(to).map_err(StoreError::from)?);
    let mut tensors = BTreeMap::new();
    for (path, &base) in &before.tensors {
        let Some(&id) = after.tensors.get(path).filter(|&&id| id != base) else { continue };
        tensors.insert(path.clone(), odb.tensor(id).map_err(StoreError::from)?);
    }
    swapped(model, &before, tensors)
}

/// The model with these tensors in the place of those of its manifest.
pub(super) fn swapped(
    model: &Model,
    manifest: &Manifest,
    tensors: BTreeMap<ParamPath, HostTensor>,
) -> Result<Model, CliError> {
    let mut patch = WeightPatch::identity();
    let mut blobs = Blobs::new();
    for (path, tensor) in tensors {
        let Some(base) = manifest.get(&path) else { continue };
        let after = tensor.id();
        blobs.insert(after, tensor);
        let one = WeightPatch::one(path, Change { base, delta: Delta::Swap { after } });
        // Each parameter stands once, so composing only gathers.
        patch = patch.then(&one).unwrap_or(patch);
    }
    Ok(model.apply(&patch, &blobs)?.0)
}

/// The model at a commit, of which nothing is written anywhere.
pub(super) fn open_at(store: &Store, id: CommitId, device: &Device) -> Result<Model, CliError> {
    let source = store.source(id).map_err(StoreError::from)?;
    crate::cli::open_source(Arc::new(source), device)
}

/// A commit's model directory inside a temporary one.
pub(super) fn written(
    store: &Store,
    id: CommitId,
    session: &Session,
) -> Result<(TemporaryFolder, PathBuf), CliError> {
    let dir = session
        .folder()
        .map_err(|error| StoreError::Write { path: std::env::temp_dir(), reason: error.to_string() })?;
    let out = dir.path().join("model");
    let files = store.checkout_files(id).map_err(StoreError::from)?;
    let output = session.outputs(false).directory(&out, MODEL_DIRECTORY, files)?;
    store.checkout_to(id, &output).map_err(StoreError::from)?;
    Ok((dir, out))
}

fn carry_name(method: &str) -> Result<Name, StoreError> {
    Ok(Name::new(format!("carry-{method}"))?)
}
