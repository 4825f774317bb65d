//! The cached Gram matrix of a ledger's keys at one layer.
//!
//! The closed form needs G = Kᵀ B⁻¹ K. Whitening a key costs O(d²) once; a new fact then costs one row,
//! O(d N), and a fact that leaves costs nothing. Rows are kept by fact, so the matrix can be put together in
//! canonical order whatever the order of the calls was, and every number in it is a function of its two facts
//! alone.

use std::collections::BTreeMap;

use recant_edit::{EditError, Fact};
use recant_linalg::canonical::{CanonicalFactor, dot, in_parallel};
use recant_linalg::{LowRank, Rows};

use super::{Entry, Ledger};
use crate::batch::Metric;

/// Whitened keys and their products.
#[derive(Debug, Clone, Default)]
pub struct Gram {
    facts: BTreeMap<Fact, Held>,
    /// Products by the facts' numbers, the larger first: `dots[a][b]` for b ≤ a.
    dots: Vec<Vec<f64>>,
    free: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Held {
    /// The key it was made from, to notice another one.
    key: Vec<f32>,
    /// Place in `dots`.
    number: usize,
    /// h = L⁻¹k, so that h·h' = kᵀB⁻¹k'.
    white: Vec<f64>,
    /// a = B⁻¹k.
    image: Vec<f64>,
}

impl Gram {
    /// Brings the cache to the ledger's set of facts at its layer number `at`. Returns how many keys were
    /// whitened anew.
    ///
    /// # Errors
    /// [`EditError::System`].
    pub fn follow(&mut self, ledger: &Ledger, at: usize, metric: Metric<'_>) -> Result<usize, EditError> {
        let layer = ledger.ground().layers[at];
        let gone: Vec<Fact> = self
            .facts
            .iter()
            .filter(|(fact, held)| ledger.get(fact).is_none_or(|entry| entry[at].key != held.key))
            .map(|(fact, _)| fact.clone())
            .collect();
        for fact in gone {
            self.free.extend(self.facts.remove(&fact).map(|held| held.number));
        }
        let fresh: Vec<(&Fact, &Entry)> =
            ledger.iter().filter(|(fact, _)| !self.facts.contains_key(fact)).collect();
        let whitened = in_parallel(fresh.len(), |i| metric.whitened(layer, &fresh[i].1[at].key));
        let count = fresh.len();
        for ((fact, entry), whitened) in fresh.into_iter().zip(whitened) {
            let (white, image) = whitened?;
            self.insert(fact.clone(), entry[at].key.clone(), white, image);
        }
        Ok(count)
    }

    /// One row: the products with every fact that is there.
    fn insert(&mut self, fact: Fact, key: Vec<f32>, white: Vec<f64>, image: Vec<f64>) {
        let number = self.free.pop().unwrap_or(self.dots.len());
        if number == self.dots.len() {
            self.dots.push(vec![0.0; number + 1]);
        }
        self.dots[number][number] = dot(&white, &white);
        for other in self.facts.values() {
            let (high, low) = (number.max(other.number), number.min(other.number));
            self.dots[high][low] = dot(&white, &other.white);
        }
        self.facts.insert(fact, Held { key, number, white, image });
    }

    /// G in canonical order, row-major.
    #[must_use]
    pub fn matrix(&self) -> Vec<f64> {
        let numbers: Vec<usize> = self.facts.values().map(|held| held.number).collect();
        let product = |a: usize, b: usize| self.dots[a.max(b)][a.min(b)];
        numbers.iter().flat_map(|&a| numbers.iter().map(move |&b| product(a, b))).collect()
    }

    /// B⁻¹k of every fact in canonical order.
    #[must_use]
    pub fn images(&self) -> Option<Rows> {
        let width = self.facts.values().next()?.image.len();
        Rows::new(width, self.facts.values().flat_map(|held| held.image.iter().copied()).collect())
    }

    /// The factor of I + G.
    ///
    /// # Errors
    /// [`EditError::System`].
    pub fn factor(&self) -> Result<CanonicalFactor, EditError> {
        system(self.facts.len(), self.matrix())
    }

    /// ΔW = R (I + G)⁻¹ Kᵀ B⁻¹ for residuals in canonical order; `None` when they do not fit.
    ///
    /// # Errors
    /// [`EditError::System`].
    pub fn update(&self, residuals: &Rows) -> Result<Option<LowRank>, EditError> {
        let left = self.factor()?.solve(residuals);
        Ok(left.zip(self.images()).map(|(left, right)| LowRank { left, right }))
    }
}

/// The factor of I + G of n facts.
pub(super) fn system(n: usize, mut g: Vec<f64>) -> Result<CanonicalFactor, EditError> {
    g.iter_mut().step_by(n + 1).for_each(|diagonal| *diagonal += 1.0);
    let factor = CanonicalFactor::new(n, &g);
    factor.map_err(|error| EditError::System { keys: n, source: error.into() })
}
