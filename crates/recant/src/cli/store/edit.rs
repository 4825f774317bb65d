//! `recant edit --store`: plans on the head's model, applies, commits.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use clap::Args;
use recant_backend::Device;
use recant_core::{CommitId, Matrix};
use recant_edit::{Carry, Fact, Plan};
use recant_model::Model;
use recant_store::object::{FactRecord, Record};
use recant_store::{CheckoutOptions, Draft, EditKind, Name, Store};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tempfile::TempDir;

use super::{StoreError, TOOL, key, stamp};
use crate::cli::error::CliError;

/// Arguments of `recant edit` that concern a store.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreEditArgs {
    /// Edit the model at the head of this store and commit the edit, instead of --model.
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    pub(crate) store: Option<PathBuf>,
    /// What the commit is for [default: the fact].
    #[arg(long, short, value_name = "TEXT", requires = "store")]
    message: Option<String>,
    /// Sign the commit with this key.
    #[arg(long, value_name = "FILE", requires = "store")]
    sign: Option<PathBuf>,
}

/// Where an edit is committed: the head that the model was opened at.
pub(crate) struct EditTarget {
    store: Store,
    head: CommitId,
    /// What the method remembers of earlier edits.
    pub(crate) carry: Carry,
    /// The model is mapped from here.
    _dir: TempDir,
}

impl EditTarget {
    /// Opens the head of the store, if there is one among the arguments.
    pub(crate) fn open(
        args: &StoreEditArgs,
        method: &str,
        device: &Device,
    ) -> Result<Option<(Self, Model)>, CliError> {
        let Some(dir) = &args.store else { return Ok(None) };
        let store = Store::open(dir).map_err(StoreError::from)?;
        // A key that cannot be read is told before minutes of work.
        key(args.sign.as_deref())?;
        let head = store.resolve("HEAD").map_err(StoreError::from)?;
        let (dir, model) = open_at(&store, head, device)?;
        let carry = match carry_name(method) {
            Some(name) => {
                let commit = store.odb().commit(head).map_err(StoreError::from)?;
                let blob = commit.states.get(&name).map(|&id| store.odb().blob(id));
                blob.transpose()
                    .map_err(StoreError::from)?
                    .map(|blob| decode(&blob.bytes))
                    .unwrap_or_default()
            }
            None => Carry::default(),
        };
        Ok(Some((Self { store, head, carry, _dir: dir }, model)))
    }

    /// Commits a plan.
    pub(crate) fn commit(
        &self,
        args: &StoreEditArgs,
        method: &str,
        settings: &BTreeMap<String, String>,
        facts: &[Fact],
        plan: &Plan,
    ) -> Result<CommitId, CliError> {
        let mut states = BTreeMap::new();
        if let (Some(name), Ok(kind)) = (carry_name(method), Name::new("carry"))
            && plan.carry != self.carry
        {
            states.insert(name, (kind, encode(&plan.carry)));
        }
        let record = |fact: &Fact| FactRecord {
            subject: fact.subject.clone(),
            prompt: fact.prompt.clone(),
            target: fact.target.clone(),
        };
        let default = || facts.iter().map(|f| format!("{} -> {}", f.text(), f.target)).collect::<Vec<_>>();
        let draft = Draft {
            message: args.message.clone().unwrap_or_else(|| default().join("\n")),
            record: Record {
                method: method.to_owned(),
                tool: TOOL.to_owned(),
                settings: settings.clone(),
                facts: facts.iter().map(record).collect(),
                scores: BTreeMap::new(),
            },
            states,
            tensors: Vec::new(),
            planned_on: Some(self.head),
        };
        let kind = EditKind::Patch(plan.patch.clone());
        let sign = key(args.sign.as_deref())?;
        let commit = self.store.commit_edit(&kind, &draft, &stamp(), sign.as_ref());
        Ok(commit.map_err(StoreError::from)?)
    }
}

/// The model at a commit. The directory that it is mapped from goes when it is dropped.
pub(super) fn open_at(store: &Store, id: CommitId, device: &Device) -> Result<(TempDir, Model), CliError> {
    let dir = tempfile::Builder::new()
        .prefix("recant-")
        .tempdir()
        .map_err(|error| StoreError::Write { path: std::env::temp_dir(), reason: error.to_string() })?;
    let out = dir.path().join("model");
    store.checkout(id, &out, CheckoutOptions::default()).map_err(StoreError::from)?;
    let model = Model::open(&out, device)?;
    Ok((dir, model))
}

fn carry_name(method: &str) -> Option<Name> {
    Name::new(format!("carry-{method}")).ok()
}

/// A carry as safetensors: its matrices by name.
fn encode(carry: &Carry) -> Vec<u8> {
    if carry.matrices.is_empty() {
        return Vec::new();
    }
    let bytes = |matrix: &Matrix| matrix.data().iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let data: Vec<(&String, Vec<usize>, Vec<u8>)> = carry
        .matrices
        .iter()
        .map(|(name, matrix)| (name, vec![matrix.rows(), matrix.cols()], bytes(matrix)))
        .collect();
    let views: Vec<(&String, TensorView<'_>)> = data
        .iter()
        .filter_map(|(name, shape, bytes)| {
            Some((*name, TensorView::new(Dtype::F32, shape.clone(), bytes).ok()?))
        })
        .collect();
    safetensors::serialize(views, None::<HashMap<String, String>>).unwrap_or_default()
}

fn decode(bytes: &[u8]) -> Carry {
    let Ok(file) = SafeTensors::deserialize(bytes) else { return Carry::default() };
    let matrices = file.iter().filter_map(|(name, view)| {
        let numbers = view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        let [rows, cols] = view.shape() else { return None };
        Some((name.to_owned(), Matrix::new(*rows, *cols, numbers).ok()?))
    });
    Carry { matrices: matrices.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carry_is_stored_and_read_back() {
        let matrix = Matrix::new(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let carry = Carry { matrices: BTreeMap::from([("layers.3.keys".to_owned(), matrix)]) };
        assert_eq!(decode(&encode(&carry)), carry);
        assert_eq!(decode(&encode(&Carry::default())), Carry::default());
    }
}
