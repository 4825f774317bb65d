//! What new facts would do to the ones that are there, before anything is written.
//!
//! Everything here is small linear algebra on the ledger's Gram matrix: no forward pass and no edited model.
//! With G over old and new keys and u = (I + G)⁻¹ the layer answers the key of fact j with R u G eⱼ instead of
//! rⱼ; the difference of that answer with and without the new facts is what they do to an old one.

use std::collections::BTreeSet;

use recant_edit::{EditError, Fact};
use recant_linalg::Rows;
use recant_linalg::canonical::CanonicalFactor;
use recant_model::Model;
use serde::Serialize;

use super::LedgerEditor;
use super::gram::{Gram, system};
use super::{Entry, Ledger};

/// Two facts whose keys look alike to the layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overlap {
    /// A new fact.
    pub new: Fact,
    /// A fact that is there already, or another new one.
    pub other: Fact,
    /// Whitened cosine Gᵢⱼ / √(Gᵢᵢ Gⱼⱼ), -1 to 1.
    pub cosine: f64,
}

/// How firmly the layer would hold a new fact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leverage {
    /// The fact.
    pub fact: Fact,
    /// Diagonal of (I + G)⁻¹G, 0 to 1: the share of its own value that the fact gets.
    pub leverage: f64,
}

/// What the new facts would do to one that is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disturbance {
    /// The fact.
    pub fact: Fact,
    /// Change of the layer's answer to its key, relative to its value.
    pub change: f64,
}

/// The same subject and prompt with two targets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contradiction {
    /// The new fact.
    pub new: Fact,
    /// What is there.
    pub held: Fact,
}

/// What new facts meet in a ledger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConflictReport {
    /// The layer that was looked at: the ledger's last.
    pub layer: usize,
    /// Facts that cannot both hold.
    pub contradictions: Vec<Contradiction>,
    /// Pairs with a cosine of at least [`OVERLAP`], the closest first.
    pub overlaps: Vec<Overlap>,
    /// Every new fact.
    pub leverage: Vec<Leverage>,
    /// Every fact that is there, the most disturbed first.
    pub disturbed: Vec<Disturbance>,
}

/// Whitened cosines below this are not reported.
pub const OVERLAP: f64 = 0.3;

/// A fact that is there is flagged when the layer's answer to its key changes by more than this share of its value.
pub const DISTURBED: f64 = 0.05;

impl ConflictReport {
    /// The facts that are there already and that the new ones may have changed: those with an overlap, a
    /// contradiction, or a change above [`DISTURBED`], in canonical order.
    #[must_use]
    pub fn flagged(&self) -> Vec<&Fact> {
        let overlapping = self.overlaps.iter().map(|overlap| &overlap.other);
        let contradicted = self.contradictions.iter().map(|contradiction| &contradiction.held);
        let moved = self.disturbed.iter().filter(|disturbed| disturbed.change > DISTURBED);
        let all = overlapping.chain(contradicted).chain(moved.map(|disturbed| &disturbed.fact));
        let new: BTreeSet<&Fact> = self.leverage.iter().map(|leverage| &leverage.fact).collect();
        all.filter(|fact| !new.contains(fact)).collect::<BTreeSet<&Fact>>().into_iter().collect()
    }
}

/// Looks at new entries beside a ledger. `grams` is the cache of [`LedgerEditor::materialise`], of which the last
/// layer's is brought up to the union; an empty one gives the same report.
///
/// # Errors
/// [`EditError::Statistics`]; [`EditError::System`]; [`EditError::Ledger`] when an entry does not fit the ledger.
pub fn report(
    editor: &LedgerEditor,
    base: &Model,
    ledger: &Ledger,
    new: &[(Fact, Entry)],
    grams: &mut Vec<Gram>,
) -> Result<ConflictReport, EditError> {
    editor.check(base, ledger)?;
    let mut all = ledger.clone();
    for (fact, entry) in new {
        all.add(fact.clone(), entry.clone())?;
    }
    let last = ledger.ground().layers.len() - 1;
    let layer = ledger.ground().layers[last];
    grams.resize_with(ledger.ground().layers.len(), Gram::default);
    let gram = &mut grams[last];
    gram.follow(&all, last, editor.metric())?;
    let facts: Vec<&Fact> = all.facts().collect();
    let is_new: Vec<bool> = facts.iter().map(|fact| !ledger.holds(fact)).collect();
    let contradiction = |(fact, _): &(Fact, Entry)| {
        let held: Vec<Fact> = ledger.contradicting(fact).cloned().collect();
        held.into_iter().map(|held| Contradiction { new: fact.clone(), held }).collect::<Vec<_>>()
    };
    let g = gram.matrix();
    let refuse = || EditError::Misfit { what: "the ledger's values and its keys" };
    let factor = gram.factor()?;
    let mut disturbed = Vec::new();
    if !ledger.is_empty() {
        let after = answers(&all, last, &g, &factor).ok_or_else(refuse)?;
        let before = former(ledger, last, &g, &is_new)?.ok_or_else(refuse)?;
        let old = after.iter().zip(&is_new).filter(|(_, new)| !**new).map(|(after, _)| after);
        for ((now, was), (fact, entry)) in old.zip(before.iter()).zip(ledger.iter()) {
            let squares = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
            let moved = squares(&mut now.iter().zip(was).map(|(a, b)| a - b));
            let value = squares(&mut entry[last].residual.iter().map(|&x| f64::from(x)));
            disturbed.push(Disturbance { fact: fact.clone(), change: moved / value.max(f64::MIN_POSITIVE) });
        }
        disturbed.sort_by(|a, b| b.change.total_cmp(&a.change));
    }
    Ok(ConflictReport {
        layer,
        contradictions: new.iter().flat_map(contradiction).collect(),
        overlaps: overlaps(&facts, &g, &is_new),
        leverage: leverage(&facts, &factor, &is_new).ok_or_else(refuse)?,
        disturbed,
    })
}

/// Pairs of a new fact and another one whose keys look alike, the closest first.
fn overlaps(facts: &[&Fact], g: &[f64], is_new: &[bool]) -> Vec<Overlap> {
    let n = facts.len();
    let mut overlaps = Vec::new();
    for i in (0..n).filter(|&i| is_new[i]) {
        for j in (0..n).filter(|&j| j != i && (!is_new[j] || j < i)) {
            let cosine = g[i * n + j] / (g[i * n + i] * g[j * n + j]).sqrt();
            if cosine.abs() >= OVERLAP {
                overlaps.push(Overlap { new: facts[i].clone(), other: facts[j].clone(), cosine });
            }
        }
    }
    overlaps.sort_by(|a, b| b.cosine.abs().total_cmp(&a.cosine.abs()));
    overlaps
}

/// 1 - ((I + G)⁻¹)ᵢᵢ of every new fact, which is the diagonal of (I + G)⁻¹G.
fn leverage(facts: &[&Fact], factor: &CanonicalFactor, is_new: &[bool]) -> Option<Vec<Leverage>> {
    let new: Vec<usize> = (0..facts.len()).filter(|&i| is_new[i]).collect();
    let of = |i: usize, inverse: f64| Leverage { fact: facts[i].clone(), leverage: 1.0 - inverse };
    if let [i] = new[..] {
        let column = factor.inverse_columns(i..i + 1)?;
        return Some(vec![of(i, column.row(i)[0])]);
    }
    let inverse = factor.inverse();
    Some(new.into_iter().map(|i| of(i, inverse[i * facts.len() + i])).collect())
}

/// What the layer adds at the keys of the facts that were there, without the new ones.
fn former(ledger: &Ledger, at: usize, g: &[f64], is_new: &[bool]) -> Result<Option<Rows>, EditError> {
    let old: Vec<usize> = (0..is_new.len()).filter(|&i| !is_new[i]).collect();
    let g: Vec<f64> = old.iter().flat_map(|&i| old.iter().map(move |&j| g[i * is_new.len() + j])).collect();
    Ok(answers(ledger, at, &g, &system(old.len(), g.clone())?))
}

/// What the layer adds at every fact's own key: row j is R (I + G)⁻¹ G eⱼ.
fn answers(ledger: &Ledger, at: usize, g: &[f64], factor: &CanonicalFactor) -> Option<Rows> {
    let n = ledger.len();
    let values: Vec<Vec<f32>> = ledger.iter().map(|(_, entry)| entry[at].residual.clone()).collect();
    let left = factor.solve(&Rows::of(&values)?)?;
    let width = left.width();
    let mut numbers = vec![0.0; n * width];
    for (row, weights) in numbers.chunks_exact_mut(width).zip(g.chunks_exact(n)) {
        for (part, weight) in left.iter().zip(weights) {
            row.iter_mut().zip(part).for_each(|(sum, x)| *sum += weight * x);
        }
    }
    Rows::new(width, numbers)
}
