//! The head of a store: what an edit is planned on, and where it is committed.

use std::collections::BTreeMap;

use recant_backend::Device;
use recant_core::{CommitId, ModelDigest};
use recant_edit::{Carry, Fact};
use recant_eval::{SideEffects, SideKind, Verdict};
use recant_methods::MethodSpec;
use recant_model::Model;
use recant_records::Record as _;
use recant_store::object::{FactRecord, Record};
use recant_store::{Draft, EditKind, History, Name, SecretKey, Stamp, Store};

use super::StoreError;
use super::models::open_at;
use crate::edit::EditOutcome;
use crate::observer::Observer;

/// The head that a model was opened at, to edit it and to commit the edit behind it.
pub struct Head {
    pub(super) store: Store,
    pub(super) head: CommitId,
    /// The import that the head builds on.
    pub(super) import: CommitId,
    /// Digest of the model that was imported.
    pub(crate) base: ModelDigest,
    /// What the method remembers of earlier edits.
    pub(crate) carry: Carry,
}

/// What a commit keeps for its method: kinds and bytes by name.
pub(super) type States = BTreeMap<Name, (Name, Vec<u8>)>;

/// What is said of a commit by whoever makes it.
pub struct CommitNote {
    /// What it is for; without it, its facts.
    pub message: Option<String>,
    /// The tool that makes it.
    pub tool: String,
    /// Who makes it, and when.
    pub stamp: Stamp,
    /// Signs it.
    pub sign: Option<SecretKey>,
}

impl Head {
    /// Opens the head with the model to plan on: that of the head; for a ledger, which measures everything on its
    /// base, the one that was imported.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        store: Store,
        method: &MethodSpec,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<(Self, Model), StoreError> {
        let head = store.resolve("HEAD")?;
        let import = History::new(store.odb()).live(head)?.import;
        let at = if method.is_ledger() { import } else { head };
        let model = open_at(&store, at, device, observer)?;
        let commit = store.odb().commit(head)?;
        let name = carry_name(method.name)?;
        let carry = match commit.states.get(&name) {
            Some(&id) => {
                let blob = store.odb().blob(id)?;
                let unfit = |source| StoreError::State { name: name.to_string(), source };
                Carry::from_file(&blob.bytes).map_err(unfit)?.value
            }
            None => Carry::default(),
        };
        Ok((Self { store, head, import, base: commit.base, carry }, model))
    }

    /// Commits an edit that was made at this head, as the next one.
    ///
    /// # Errors
    /// [`StoreError::Commit`] when the head is another one by now; [`StoreError::Unchanged`].
    pub fn commit(&self, outcome: &EditOutcome, note: &CommitNote) -> Result<CommitId, StoreError> {
        let (kind, states) = match &outcome.ledger {
            None => (EditKind::Patch(outcome.plan.patch.clone()), self.carried(outcome)?),
            Some(ledger) => self.ledger_edit(outcome, ledger)?,
        };
        let mut settings = outcome.settings.clone();
        settings.extend(outcome.statistics.iter().map(|text| ("statistics".to_owned(), text.clone())));
        let gates = outcome.gated.iter();
        settings.extend(gates.map(|gated| (format!("gate {}", gated.key), gated.bound.to_string())));
        let draft = Draft {
            message: note.message.clone().unwrap_or_else(|| message(outcome)),
            record: Record {
                method: outcome.method.name.to_owned(),
                tool: note.tool.clone(),
                settings,
                facts: outcome.facts.iter().map(record).collect(),
                scores: scores(outcome),
            },
            states,
            tensors: Vec::new(),
            planned_on: Some(self.head),
        };
        Ok(self.store.commit_edit(&kind, &draft, &note.stamp, note.sign.as_ref())?)
    }

    /// What a method remembers, as a state, where that is something else now.
    fn carried(&self, outcome: &EditOutcome) -> Result<States, StoreError> {
        let carry = &outcome.plan.carry;
        if *carry == self.carry {
            return Ok(BTreeMap::new());
        }
        // No bytes take the state away.
        let bytes = if carry.matrices.is_empty() { Vec::new() } else { carry.to_file() };
        Ok(BTreeMap::from([(carry_name(outcome.method.name)?, (Name::new("carry")?, bytes))]))
    }
}

/// What a commit is for, where nobody says it: its facts.
fn message(outcome: &EditOutcome) -> String {
    let line = |verb: &str, fact: &Fact| format!("{verb}{} -> {}", fact.text(), fact.target);
    let facts = outcome.facts.iter().map(|fact| line("", fact));
    facts.chain(outcome.removed.iter().map(|fact| line("forget: ", fact))).collect::<Vec<_>>().join("\n")
}

/// A fact as history keeps it.
pub(super) fn record(fact: &Fact) -> FactRecord {
    FactRecord { subject: fact.subject.clone(), prompt: fact.prompt.clone(), target: fact.stored_target() }
}

/// What an edit did to its own prompts and, where that was asked, to others. `efficacy`: share of facts of whose target
/// every token is the most probable one now. `target_probability` and `target_probability_before`: means over the facts of
/// the probability of the whole target. `kept_relation`, `kept_namesake`, `kept_name`, `kept_retained`: shares of side effects that were
/// none; `kl` and `perplexity_ratio`: drift on plain texts.
fn scores(outcome: &EditOutcome) -> BTreeMap<String, f64> {
    let verdicts = &outcome.verdicts;
    let count = verdicts.len() as f64;
    let mean = |of: fn(&Verdict) -> f64| {
        (!verdicts.is_empty()).then(|| verdicts.iter().map(of).sum::<f64>() / count)
    };
    let beside = outcome.side_effects.as_ref();
    let kept = |kind| beside.and_then(|beside| beside.share(kind));
    let named = [
        ("efficacy", mean(|verdict| f64::from(u8::from(verdict.holds)))),
        ("target_probability", mean(|verdict| verdict.probability_after)),
        ("target_probability_before", mean(|verdict| verdict.probability_before)),
        ("kept_relation", kept(SideKind::Relation)),
        ("kept_namesake", kept(SideKind::Namesake)),
        ("kept_name", kept(SideKind::Name)),
        ("kept_retained", kept(SideKind::Retained)),
        ("kl", beside.map(|beside| beside.kl)),
        ("perplexity_ratio", beside.map(SideEffects::perplexity_ratio)),
    ];
    let finite = |(name, score): (&str, Option<f64>)| {
        Some((name.to_owned(), score.filter(|score| score.is_finite())?))
    };
    named.into_iter().filter_map(finite).collect()
}

fn carry_name(method: &str) -> Result<Name, StoreError> {
    Ok(Name::new(format!("carry-{method}"))?)
}
