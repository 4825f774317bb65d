//! A model that goes on learning through a ledger.

use std::collections::BTreeMap;

use recant_core::{Blobs, OnConflict};
use recant_edit::{EditError, Editor, Fact, Lifelong, Watch};
use recant_model::Model;

use super::Ledger;
use super::LedgerEditor;
use super::gram::Gram;

/// The base model, the ledger, and the model they make. Each step changes the set of facts and rebuilds the
/// weights from the base, so going back is going back to an earlier set.
pub struct LedgerSequence {
    editor: LedgerEditor,
    base: Model,
    now: Model,
    ledger: Ledger,
    /// The ledger before each step.
    history: Vec<Ledger>,
    grams: Vec<Gram>,
}

impl LedgerSequence {
    /// A sequence that begins at `base` with an empty ledger.
    #[must_use]
    pub fn new(base: Model, editor: LedgerEditor) -> Self {
        let ledger = Ledger::new(editor.ground(&base));
        let grams = vec![Gram::default(); ledger.ground().layers.len()];
        Self { editor, now: base.clone(), base, ledger, history: Vec::new(), grams }
    }

    /// The ledger as it is now.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Takes facts out, as one step.
    ///
    /// # Errors
    /// [`EditError`]; the state is then the one before the call.
    pub fn forget(&mut self, facts: &[Fact]) -> Result<(), EditError> {
        let mut next = self.ledger.clone();
        for fact in facts {
            next.remove(fact)?;
        }
        self.step(next, &())
    }

    /// Takes in the facts of another ledger on the same ground, as one step.
    ///
    /// # Errors
    /// [`EditError`]; the state is then the one before the call.
    pub fn merge(&mut self, other: &Ledger) -> Result<(), EditError> {
        let next = self.ledger.merge(other)?;
        self.step(next, &())
    }

    fn step(&mut self, next: Ledger, watch: &dyn Watch) -> Result<(), EditError> {
        let patch = self.editor.materialise(&self.base, &next, &mut self.grams, watch)?.0;
        self.now = self.base.apply(&patch, &Blobs::new())?.0;
        self.history.push(std::mem::replace(&mut self.ledger, next));
        Ok(())
    }
}

impl Lifelong for LedgerSequence {
    fn name(&self) -> &str {
        self.editor.name()
    }

    fn settings(&self) -> BTreeMap<String, String> {
        self.editor.settings()
    }

    fn contexts(&self) -> &[String] {
        self.editor.contexts()
    }

    fn learn_watched(&mut self, facts: &[Fact], watch: &dyn Watch) -> Result<Vec<String>, EditError> {
        let mut next = self.ledger.clone();
        let fresh: Vec<Fact> = facts.iter().filter(|fact| !next.holds(fact)).cloned().collect();
        let mut notes = self.editor.notes();
        if !fresh.is_empty() {
            for (fact, entry) in self.editor.entries(&self.base, &fresh, watch)? {
                let contradicted = next.contradicting(&fact).next().map(|held| held.target.clone());
                match (contradicted, self.editor.on_conflict()) {
                    (Some(held), OnConflict::Refuse) => {
                        return Err(EditError::LedgerContradicts {
                            fact: fact.text(),
                            target: fact.target,
                            held,
                        });
                    }
                    (Some(held), OnConflict::Theirs) => {
                        notes.push(format!("{:?}: {held:?} was replaced by {:?}", fact.text(), fact.target));
                        next.replace(fact, entry)?;
                    }
                    (Some(_), OnConflict::Ours) => {}
                    _ => next.add(fact, entry)?,
                }
            }
        }
        self.step(next, watch)?;
        Ok(notes)
    }

    fn model(&self) -> &Model {
        &self.now
    }

    fn steps(&self) -> usize {
        self.history.len()
    }

    fn roll_back(&mut self, steps: usize) -> Result<(), EditError> {
        let Some(former) = self.history.get(steps).cloned() else { return Ok(()) };
        let patch = self.editor.materialise(&self.base, &former, &mut self.grams, &())?.0;
        self.now = self.base.apply(&patch, &Blobs::new())?.0;
        self.ledger = former;
        self.history.truncate(steps);
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.ledger.encode().len()
    }
}
