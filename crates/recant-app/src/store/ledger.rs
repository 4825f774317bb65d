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

use super::StoreError;
use super::head::{Head, States, record};
use super::models::{manifest, moved, open_at, swapped};
use crate::edit::EditOutcome;
use crate::model_ref::commit_at;
use crate::observer::Observer;
use crate::resources::MethodSources;

/// State of a commit: an [`EditorRecord`].
const RECIPE: &str = "ledger-recipe";
/// State of a commit: the second moments of the ledger's layers, as `recant stats` writes them.
const STATISTICS: &str = "ledger-statistics";

impl Head {
    /// The recipe of the head's ledger with what is said of its statistics, unless something is asked for
    /// that decides it.
    pub(crate) fn kept(
        &self,
        sources: &MethodSources,
    ) -> Result<Option<(MethodInputs, Option<String>)>, StoreError> {
        let MethodSources { wishes, contexts, stats, corpus } = sources;
        let asks = wishes.layer.is_some() || wishes.layers.is_some() || !wishes.settings.is_empty();
        if asks || contexts.is_some() || stats.is_some() || !corpus.is_empty() {
            return Ok(None);
        }
        let commit = self.store.odb().commit(self.head)?;
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
    pub(crate) fn ledger(&self, editor: &LedgerEditor, base: &Model) -> Result<Ledger, StoreError> {
        let set = self.store.ledger(self.head)?;
        let empty = Ledger::new(editor.ground(base));
        let ledger = read(&set)?.unwrap_or(empty);
        // What the editor is asked for must be what the facts were measured with.
        editor.check(base, &ledger).map_err(|source| StoreError::Recipe { reason: source.to_string() })?;
        Ok(ledger)
    }

    /// The model at the head, from the one that was imported.
    pub(crate) fn at_head(&self, base: &Model) -> Result<Model, StoreError> {
        moved(&self.store, base, self.import, self.head)
    }

    /// The model that committing a ledger's patch gives.
    pub(crate) fn with_patch(&self, base: &Model, patch: &WeightPatch) -> Result<Model, StoreError> {
        let tensors = self.store.with_ledger(self.head, patch)?;
        swapped(base, &manifest(&self.store, self.import)?, tensors)
    }

    /// The edit that makes the head's ledger this one, with the states that keep its editor.
    pub(super) fn ledger_edit(
        &self,
        outcome: &EditOutcome,
        ledger: &Ledger,
    ) -> Result<(EditKind, States), StoreError> {
        let set = write(ledger)?;
        if set == self.store.ledger(self.head)? {
            return Err(StoreError::Unchanged);
        }
        let commit = self.store.odb().commit(self.head)?;
        let mut states = BTreeMap::new();
        for (name, kind, bytes) in states_of(&outcome.inputs, ledger) {
            let name = Name::new(name)?;
            let held = commit.states.get(&name).map(|&id| self.store.odb().blob(id)).transpose()?;
            if held.is_none_or(|held| held.bytes != bytes) {
                states.insert(name, (Name::new(kind)?, bytes));
            }
        }
        Ok((EditKind::Ledger { set, patch: outcome.plan.patch.clone() }, states))
    }
}

/// The facts of the ledger at `STORE` or `STORE@REV`; `None` where the place is no store.
///
/// # Errors
/// [`StoreError`].
pub fn ledger_facts(place: &Path) -> Result<Option<Vec<Fact>>, StoreError> {
    let Some((store, commit)) = commit_at(place)? else { return Ok(None) };
    let ledger = read(&store.ledger(commit)?)?;
    Ok(Some(ledger.map(|ledger| ledger.facts().cloned().collect()).unwrap_or_default()))
}

/// Rebuilds ledgers of a store: the base is opened, and the editor made again from what a commit keeps.
pub struct Ledgers<'a> {
    store: &'a Store,
    /// Opened when there is a ledger to write anew.
    device: DeviceSpec,
    /// Commits that may keep the recipe.
    among: Vec<CommitId>,
    observer: &'a dyn Observer,
}

impl Rebuild for Ledgers<'_> {
    fn rebuild(&self, base: &Manifest, set: &FactSet) -> Rebuilt {
        Ok(self.patch(base, set)?)
    }
}

impl<'a> Ledgers<'a> {
    /// The ledgers of the head and of another commit.
    ///
    /// # Errors
    /// [`StoreError::Head`].
    pub fn new(
        store: &'a Store,
        device: DeviceSpec,
        other: CommitId,
        observer: &'a dyn Observer,
    ) -> Result<Self, StoreError> {
        let among = store.view()?.head_commit().into_iter().chain([other]).collect();
        Ok(Self { store, device, among, observer })
    }

    /// The patch that writes a set onto the base.
    ///
    /// # Errors
    /// [`StoreError::Recipe`] when no commit keeps what the set was made with.
    pub fn patch(&self, base: &Manifest, set: &FactSet) -> Result<WeightPatch, StoreError> {
        let Some(ledger) = read(set)? else { return Ok(WeightPatch::identity()) };
        let odb = self.store.odb();
        let device = Device::open(self.device)?;
        let mut reason = "no commit says how it was made".to_owned();
        for &id in &self.among {
            let commit = odb.commit(id)?;
            if commit.base != base.model_digest() {
                continue;
            }
            let Some(inputs) = inputs(self.store, &commit)? else { continue };
            let import = History::new(odb).live(id)?.import;
            let model = open_at(self.store, import, &device, self.observer)?;
            let editor = make_ledger(&inputs)?;
            match editor.check(&model, &ledger) {
                Ok(()) => {
                    return Ok(editor.materialise(&model, &ledger, &mut Vec::new(), &())?.0);
                }
                Err(error) => reason = error.to_string(),
            }
        }
        Err(StoreError::Recipe { reason })
    }
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
fn inputs(store: &Store, commit: &Commit) -> Result<Option<MethodInputs>, StoreError> {
    let state = |name: &str| -> Result<Option<Vec<u8>>, StoreError> {
        let id = commit.states.get(&Name::new(name)?);
        Ok(id.map(|&id| store.odb().blob(id)).transpose()?.map(|blob| blob.bytes))
    };
    let Some(recipe) = state(RECIPE)? else { return Ok(None) };
    let recipe = EditorRecord::decode(&recipe)?;
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
