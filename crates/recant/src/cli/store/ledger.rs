//! Ledgers in a store.
//!
//! A store keeps a ledger as a set of facts (see [`FactSet`]): a fact's key is the fact, and its payload is the
//! ledger that holds this fact alone, so that every payload says by itself what it stands on. What rebuilds
//! the weights from such a set, the hyper-parameters, contexts and statistics, goes along as states of the
//! commit. So a clone of the store can take any fact out without a file from outside.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use recant_backend::{Device, DeviceSpec};
use recant_core::{CommitId, WeightPatch};
use recant_edit::{Contexts, Fact};
use recant_methods::ledger::{Ledger, LedgerEditor};
use recant_methods::moments::Moments;
use recant_methods::rome::Covariance;
use recant_methods::{MethodInputs, Setting, make_ledger};
use recant_model::Model;
use recant_records::ledger::{EditorRecord, LedgerError, LedgerSetError};
use recant_records::moments::MomentsRecord;
use recant_records::{Opened, Record};
use recant_store::object::{Commit, FactSet, Manifest};
use recant_store::{EditKind, History, Name, Rebuild, Rebuilt, Store};

use super::edit::{Account, EditTarget, moved, open_at, record, swapped};
use super::{StoreEditArgs, StoreError};
use crate::cli::args::MethodArgs;
use crate::cli::error::CliError;

/// State of a commit: an [`EditorRecord`].
const RECIPE: &str = "ledger-recipe";
/// State of a commit: the second moments of the ledger's layers, as `recant stats` writes them.
const STATISTICS: &str = "ledger-statistics";

/// A ledger that is committed.
pub(crate) struct LedgerEdit<'a> {
    /// All of it.
    pub(crate) ledger: &'a Ledger,
    /// What writes it onto the base.
    pub(crate) patch: &'a WeightPatch,
    /// What its editor was made from.
    pub(crate) inputs: &'a MethodInputs,
    /// Facts that were taken out.
    pub(crate) gone: &'a [Fact],
}

impl EditTarget {
    /// The recipe of the head's ledger with what is said of its statistics, unless the arguments ask for
    /// something themselves.
    pub(crate) fn kept(&self, with: &MethodArgs) -> Result<Option<(MethodInputs, Option<String>)>, CliError> {
        let asks = with.layer.is_some() || with.layers.is_some() || with.contexts.is_some();
        if asks || with.stats.is_some() || !with.corpus.is_empty() || !with.set.is_empty() {
            return Ok(None);
        }
        let commit = self.store.odb().commit(self.head).map_err(StoreError::from)?;
        let Some(inputs) = inputs(&self.store, &commit)? else { return Ok(None) };
        let statistics = match &inputs.covariance {
            Some(Covariance::Measured(base)) => {
                let moments = base.moments();
                let (model, tokens) = (moments.model, moments.tokens);
                Some(format!("of model {model}, {tokens} tokens, kept in the store"))
            }
            _ => None,
        };
        Ok(Some((inputs, statistics)))
    }

    /// The ledger of the head, for an editor that makes the same.
    pub(crate) fn ledger(&self, editor: &LedgerEditor, base: &Model) -> Result<Ledger, CliError> {
        let set = self.store.ledger(self.head).map_err(StoreError::from)?;
        let empty = Ledger::new(editor.ground(base));
        let ledger = read(&set)?.unwrap_or(empty);
        // What the editor is asked for must be what the facts were measured with.
        editor.check(base, &ledger).map_err(|source| StoreError::Recipe { reason: source.to_string() })?;
        Ok(ledger)
    }

    /// The model at the head, from the one that was imported.
    pub(crate) fn at_head(&self, base: &Model) -> Result<Model, CliError> {
        moved(&self.store, base, self.import, self.head)
    }

    /// The model that committing a ledger's patch gives.
    pub(crate) fn with_patch(&self, base: &Model, patch: &WeightPatch) -> Result<Model, CliError> {
        let tensors = self.store.with_ledger(self.head, patch).map_err(StoreError::from)?;
        swapped(base, &manifest(&self.store, self.import)?, tensors)
    }

    /// Commits a ledger.
    pub(crate) fn commit_ledger(
        &self,
        args: &StoreEditArgs,
        account: Account<'_>,
        edit: &LedgerEdit<'_>,
    ) -> Result<CommitId, CliError> {
        let set = write(edit.ledger)?;
        if set == self.store.ledger(self.head).map_err(StoreError::from)? {
            return Err(StoreError::Unchanged.into());
        }
        let commit = self.store.odb().commit(self.head).map_err(StoreError::from)?;
        let mut states = BTreeMap::new();
        for (name, kind, bytes) in states_of(edit.inputs, edit.ledger) {
            let name = Name::new(name).map_err(StoreError::from)?;
            let held = commit.states.get(&name).map(|&id| self.store.odb().blob(id)).transpose();
            if held.map_err(StoreError::from)?.is_none_or(|held| held.bytes != bytes) {
                states.insert(name, (Name::new(kind).map_err(StoreError::from)?, bytes));
            }
        }
        let kind = EditKind::Ledger { set, patch: edit.patch.clone() };
        self.put(args, account, &kind, states, edit.gone)
    }
}

/// The facts of the ledger at `STORE` or `STORE@REV`; `None` where the place is no store.
pub(crate) fn ledger_facts(place: &Path) -> Result<Option<Vec<Fact>>, StoreError> {
    let Some((store, commit)) = recant_app::commit_at(place)? else { return Ok(None) };
    let ledger = read(&store.ledger(commit)?)?;
    Ok(Some(ledger.map(|ledger| ledger.facts().cloned().collect()).unwrap_or_default()))
}

/// Rebuilds ledgers of a store: the base is opened, and the editor made again from what a commit keeps.
pub(super) struct Ledgers<'a> {
    pub(super) store: &'a Store,
    pub(super) device: DeviceSpec,
    /// Commits that may keep the recipe.
    pub(super) among: Vec<CommitId>,
}

impl Rebuild for Ledgers<'_> {
    fn rebuild(&self, base: &Manifest, set: &FactSet) -> Rebuilt {
        Ok(self.patch(base, set)?)
    }
}

impl Ledgers<'_> {
    /// The patch that writes a set onto the base.
    pub(super) fn patch(&self, base: &Manifest, set: &FactSet) -> Result<WeightPatch, CliError> {
        let Some(ledger) = read(set)? else { return Ok(WeightPatch::identity()) };
        let odb = self.store.odb();
        let device = Device::open(self.device)?;
        let mut reason = "no commit says how it was made".to_owned();
        for &id in &self.among {
            let commit = odb.commit(id).map_err(StoreError::from)?;
            if commit.base != base.model_digest() {
                continue;
            }
            let Some(inputs) = inputs(self.store, &commit)? else { continue };
            let import = History::new(odb).live(id).map_err(StoreError::from)?.import;
            let model = open_at(self.store, import, &device)?;
            let editor = make_ledger(&inputs)?;
            match editor.check(&model, &ledger) {
                Ok(()) => {
                    return Ok(editor.materialise(&model, &ledger, &mut Vec::new(), &mut |_, _, _| ())?.0);
                }
                Err(error) => reason = error.to_string(),
            }
        }
        Err(StoreError::Recipe { reason }.into())
    }
}

fn manifest(store: &Store, id: CommitId) -> Result<Manifest, StoreError> {
    Ok(store.odb().manifest(store.odb().commit(id)?.manifest)?)
}

fn key(fact: &Fact) -> Vec<u8> {
    record(fact).key()
}

/// A ledger as a set for the store.
fn write(ledger: &Ledger) -> Result<FactSet, StoreError> {
    let entries = ledger.to_set(key).map_err(|error| StoreError::Ledger { reason: error.to_string() })?;
    Ok(FactSet { entries })
}

/// The ledger that a set holds; `None` when the set is empty.
fn read(set: &FactSet) -> Result<Option<Ledger>, StoreError> {
    Ledger::from_set(&set.entries, key).map_err(|error| match error {
        LedgerSetError::Ledger(LedgerError::Ground { .. }) => {
            StoreError::Recipe { reason: error.to_string() }
        }
        error => StoreError::Ledger { reason: error.to_string() },
    })
}

type State = (&'static str, &'static str, Vec<u8>);

/// The states that keep an editor: name, kind and bytes; no bytes where there are no statistics.
fn states_of(inputs: &MethodInputs, ledger: &Ledger) -> [State; 2] {
    let editor = EditorRecord {
        layer: inputs.layer,
        layers: inputs.layers.clone(),
        contexts: inputs.contexts.templates().to_vec(),
        settings: inputs.settings.iter().map(|set| (set.key.clone(), set.value.clone())).collect(),
    };
    let statistics = match &inputs.covariance {
        Some(Covariance::Measured(base)) => base.moments().of_layers(&ledger.ground().layers).to_file(),
        _ => Vec::new(),
    };
    [(RECIPE, "ledger-recipe", editor.encode()), (STATISTICS, "moments", statistics)]
}

/// What a commit's states say the editor of its ledger is made from.
fn inputs(store: &Store, commit: &Commit) -> Result<Option<MethodInputs>, CliError> {
    let state = |name: &str| -> Result<Option<Vec<u8>>, StoreError> {
        let id = commit.states.get(&Name::new(name)?);
        Ok(id.map(|&id| store.odb().blob(id)).transpose()?.map(|blob| blob.bytes))
    };
    let Some(recipe) = state(RECIPE)? else { return Ok(None) };
    let recipe = EditorRecord::decode(&recipe).map_err(StoreError::from)?;
    let covariance = match state(STATISTICS)? {
        Some(bytes) => {
            let unfit = |source| StoreError::State { name: STATISTICS.to_owned(), source };
            let Opened { value, .. } = MomentsRecord::from_file(&bytes).map_err(unfit)?;
            Some(Covariance::of_base(Arc::new(Moments::from(value)), commit.base)?)
        }
        None => None,
    };
    let settings = recipe.settings.into_iter().map(|(key, value)| Setting { key, value });
    Ok(Some(MethodInputs {
        layer: recipe.layer,
        layers: recipe.layers,
        contexts: Contexts::new(recipe.contexts)?,
        covariance,
        settings: settings.collect(),
        seed: 0,
    }))
}
