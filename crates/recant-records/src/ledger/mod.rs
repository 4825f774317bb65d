//! The ledger as a value: a set of facts with what the base model has at their subjects.

mod codec;
mod recipe;
mod stored;

use std::collections::BTreeMap;
use std::collections::btree_map;

use recant_core::ModelDigest;

pub use codec::LedgerDecodeError;
pub use recipe::{Recipe, Statistics};
pub use stored::{EditorRecord, EditorRecordError, LedgerSetError};

pub(crate) use codec::MAGIC;

use crate::Fact;

/// A key and a residual at one layer, both measured on the base model.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// k, `[d_mlp]`.
    pub key: Vec<f32>,
    /// This layer's share of r = z − h, the value that the fact needs when it is alone, `[d_model]`. Joint
    /// values start from it.
    pub residual: Vec<f32>,
}

/// What a ledger keeps of a fact: one part a layer.
pub type Entry = Vec<Part>;

/// What makes two ledgers comparable: the model, the layers, and everything that decided keys and residuals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// The base model.
    pub base: ModelDigest,
    /// The written layers, ascending.
    pub layers: Vec<usize>,
    /// Length of a key.
    pub d_mlp: usize,
    /// Length of a residual.
    pub d_model: usize,
    /// Digest of settings, contexts and statistics: [`Recipe::digest`], or [`Recipe::former_digest`] of ledgers that
    /// were begun before there was the other.
    pub recipe: [u8; 32],
}

impl Ground {
    /// Whether ledgers on these grounds may be joined.
    ///
    /// # Errors
    /// [`LedgerError::Ground`] says in what they differ.
    pub fn matches(&self, other: &Self) -> Result<(), LedgerError> {
        let difference = [
            (self.base != other.base, "the base model"),
            (self.layers != other.layers, "the layers"),
            (self.recipe != other.recipe, "the settings, contexts or statistics"),
            (self != other, "the model's sizes"),
        ];
        match difference.into_iter().find(|(differs, _)| *differs) {
            Some((_, what)) => Err(LedgerError::Ground { what }),
            None => Ok(()),
        }
    }
}

/// A set of facts over one base model. Equal sets are equal values with equal bytes, whatever happened on
/// the way: entries stand in the order of their facts, and nothing else is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    ground: Ground,
    entries: BTreeMap<Fact, Entry>,
}

/// Two ledgers or a ledger and an entry do not go together.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// They stand on different ground.
    #[error("the ledgers differ in {what}; merge ledgers of one model, made with the same settings")]
    Ground {
        /// What differs.
        what: &'static str,
    },
    /// An entry has other parts than the ledger's ground says.
    #[error("the entry of {fact:?} does not fit the ledger's layers")]
    Shape {
        /// The fact's text.
        fact: String,
    },
    /// A number is NaN or infinite.
    #[error("the entry of {fact:?} holds a number that is not finite")]
    NonFinite {
        /// The fact's text.
        fact: String,
    },
    /// The same fact was measured differently.
    #[error("both ledgers hold {fact:?}, with different keys or values")]
    Differs {
        /// The fact's text.
        fact: String,
    },
    /// The ledger does not hold the fact.
    #[error("the ledger does not hold {fact:?}")]
    Unknown {
        /// The fact's text.
        fact: String,
    },
}

impl Ledger {
    /// The empty ledger.
    #[must_use]
    pub fn new(ground: Ground) -> Self {
        Self { ground, entries: BTreeMap::new() }
    }

    /// What it stands on.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Facts and their entries in canonical order: by subject, prompt, target.
    pub fn iter(&self) -> btree_map::Iter<'_, Fact, Entry> {
        self.entries.iter()
    }

    /// The facts in canonical order.
    pub fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.entries.keys()
    }

    /// Number of facts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds no fact.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is kept of a fact.
    #[must_use]
    pub fn get(&self, fact: &Fact) -> Option<&Entry> {
        self.entries.get(fact)
    }

    /// Whether it holds a fact.
    #[must_use]
    pub fn holds(&self, fact: &Fact) -> bool {
        self.entries.contains_key(&bare(fact))
    }

    /// Facts to the same prompt about the same subject with another target.
    pub fn contradicting<'a>(&'a self, fact: &'a Fact) -> impl Iterator<Item = &'a Fact> {
        self.facts().filter(|held| held.statement().contradicts(&fact.statement()))
    }

    /// Adds a fact; adding it again changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Shape`], [`LedgerError::NonFinite`]; [`LedgerError::Differs`] when it is there with
    /// another entry. The ledger is then as it was.
    pub fn add(&mut self, fact: Fact, entry: Entry) -> Result<(), LedgerError> {
        let fact = bare(&fact);
        self.check(&fact, &entry)?;
        match self.entries.get(&fact) {
            Some(held) if *held != entry => Err(LedgerError::Differs { fact: fact.text() }),
            Some(_) => Ok(()),
            None => {
                self.entries.insert(fact, entry);
                Ok(())
            }
        }
    }

    /// Takes a fact out. What is left is what it would be if the fact had never been added.
    ///
    /// # Errors
    /// [`LedgerError::Unknown`].
    pub fn remove(&mut self, fact: &Fact) -> Result<Entry, LedgerError> {
        self.entries.remove(&bare(fact)).ok_or_else(|| LedgerError::Unknown { fact: fact.text() })
    }

    /// Adds a fact in the place of those that contradict it, which are returned.
    ///
    /// # Errors
    /// As [`Ledger::add`].
    pub fn replace(&mut self, fact: Fact, entry: Entry) -> Result<Vec<Fact>, LedgerError> {
        let gone: Vec<Fact> = self.contradicting(&fact).cloned().collect();
        self.add(fact, entry)?;
        gone.iter().for_each(|fact| {
            self.entries.remove(fact);
        });
        Ok(gone)
    }

    /// The union of two ledgers.
    ///
    /// # Errors
    /// [`LedgerError::Ground`] when they stand on different ground, [`LedgerError::Differs`].
    pub fn merge(&self, other: &Self) -> Result<Self, LedgerError> {
        self.ground.matches(&other.ground)?;
        let mut union = self.clone();
        for (fact, entry) in &other.entries {
            union.add(fact.clone(), entry.clone())?;
        }
        Ok(union)
    }

    fn check(&self, fact: &Fact, entry: &Entry) -> Result<(), LedgerError> {
        let Ground { layers, d_mlp, d_model, .. } = &self.ground;
        let fits = |part: &Part| part.key.len() == *d_mlp && part.residual.len() == *d_model;
        if entry.len() != layers.len() || !entry.iter().all(fits) {
            return Err(LedgerError::Shape { fact: fact.text() });
        }
        if entry.iter().any(|part| part.key.iter().chain(&part.residual).any(|x| !x.is_finite())) {
            return Err(LedgerError::NonFinite { fact: fact.text() });
        }
        Ok(())
    }
}

/// The fact itself: prompts to leave alone are not part of what a ledger says.
fn bare(fact: &Fact) -> Fact {
    fact.clone().with_locality(Vec::new())
}
