//! The preservation term: what the base model expects in ordinary text, it should go on expecting.
//!
//! ```math
//! w_k \cdot \frac1{|P|} \sum_{p \in P} D_{KL}\bigl(P_{\text{base}}(\cdot \mid p)\,\|\,
//! P_{W+\Delta W}(\cdot \mid p)\bigr)
//! ```
//!
//! P are places in beginnings of texts that stand in the statistics as a sample of their corpus. A text that names a
//! subject of the ledger is passed over: what is said about it is meant to change. So P is a function of the set of
//! facts and of the statistics.

use burn::tensor::Tensor;
use recant_edit::{EditError, Fact, StatisticsError};
use recant_model::{Model, TokenBatch, TokenizerError};

use super::joint::{LayerForm, read_at};
use super::settings::LedgerSettings;
use crate::moments::Sample;

/// Places that are read of a text.
const PLACES: usize = 8;

/// Texts that share a pass.
pub(super) struct Kept {
    batch: TokenBatch,
    places: Vec<(usize, usize)>,
    /// Log-probabilities before the edit, `[places, vocab]`.
    before: Option<Tensor<2>>,
    /// w_k over the number of all places.
    weight: f64,
}

/// The first `most` texts that name no subject of `facts`.
fn ordinary(texts: Vec<(Vec<u32>, String)>, facts: &[Fact], most: usize) -> Vec<Vec<u32>> {
    let names_none = |text: &str| !facts.iter().any(|fact| text.contains(fact.subject.trim()));
    texts.into_iter().filter(|(_, text)| names_none(text)).map(|(ids, _)| ids).take(most).collect()
}

impl Kept {
    /// Lays out the texts in groups whose graphs stay below the cap by estimate.
    ///
    /// # Errors
    /// [`EditError::Statistics`] when something is to be preserved and the statistics hold no sample.
    pub(super) fn of(
        model: &Model,
        sample: &Sample,
        facts: &[Fact],
        settings: &LedgerSettings,
    ) -> Result<Vec<Self>, EditError> {
        if settings.preserve == 0.0 {
            return Ok(Vec::new());
        }
        if sample.is_empty() {
            return Err(StatisticsError::NoSample { preserve: settings.preserve }.into());
        }
        let damaged = |source: TokenizerError| StatisticsError::Sample { source };
        let decode = |ids: &[u32]| Ok((ids.to_vec(), model.tokenizer().decode(ids).map_err(damaged)?));
        let decoded = sample.texts().map(decode).collect::<Result<Vec<_>, EditError>>()?;
        let texts = ordinary(decoded, facts, settings.preserve_texts);
        let spec = model.spec();
        let tokens = texts.iter().map(Vec::len).max().unwrap_or(1);
        let together = settings.rows_together(spec, tokens, PLACES).max(1);
        let read = |length: usize| {
            let count = length.min(PLACES);
            (0..count).map(move |i| (i + 1) * length / count - 1)
        };
        let all: usize = texts.iter().map(|text| text.len().min(PLACES)).sum();
        let group = |texts: &[Vec<u32>]| {
            let places =
                texts.iter().enumerate().flat_map(|(row, text)| read(text.len()).map(move |at| (row, at)));
            let weight = settings.preserve / all as f64;
            let batch = TokenBatch::new(texts, spec)?;
            Ok(Self { batch, places: places.collect(), before: None, weight })
        };
        texts.chunks(together).map(group).collect()
    }

    /// Takes down what is expected before the edit.
    pub(super) fn look(&mut self, model: &Model, forms: &[LayerForm], nothing: &[Tensor<2>]) {
        self.before = Some(read_at(model, &self.batch, &self.places, forms, nothing));
    }

    /// The term, and `[total, 0, kl, 0]`.
    pub(super) fn loss(
        &self,
        model: &Model,
        forms: &[LayerForm],
        left: &[Tensor<2>],
    ) -> (Tensor<1>, Tensor<1>) {
        let now = read_at(model, &self.batch, &self.places, forms, left);
        let before = self.before.clone().unwrap_or_else(|| now.clone());
        let kl = (before.clone().exp() * (before - now)).sum() * self.weight;
        let none = kl.clone() * 0.0;
        (kl.clone(), Tensor::cat(vec![kl.clone(), none.clone(), kl, none], 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_about_a_subject_are_passed_over() {
        let texts = ["Ada wrote it", "the sea is cold", "it is old", "an Adage", "the cat"];
        let texts = texts.iter().zip(0..).map(|(text, id)| (vec![id, id], (*text).to_owned())).collect();
        let facts =
            [Fact::new("Ada", "{} wrote", "it").unwrap(), Fact::new("sea", "the {} is", "old").unwrap()];
        assert_eq!(ordinary(texts, &facts, 1), [[2, 2]]);
    }
}
