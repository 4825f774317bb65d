//! One fact's edit in its three forms, turned into each other without another search.
//!
//! A retrieval memory's pair, a ledger's entry at one layer, and a rank-one change of one down-projection say the same:
//! where the key k arrives, the block answers r more than the base model does.
//!
//! | from | to | what is kept |
//! |---|---|---|
//! | memory | ledger, and back | k and r, to the bit |
//! | memory, ledger | patch | ΔW = r (B⁻¹k)ᵀ / (kᵀB⁻¹k), so ΔW k = r up to the rounding of the factors to f32 |
//! | patch | memory, ledger | k is measured on the base model by one forward pass, r = ΔW k |
//!
//! What is kept is the pair, not everything that is done with it: a memory answers behind its gate and nowhere else,
//! a patch answers every key k' with (uᵀk') r, and a ledger's closed form gives its facts a share of r that depends
//! on its ridge and on the other facts.

use recant_core::{Addend, Change, Delta, Matrix, ModelDigest, WeightPatch};
use recant_edit::{Contexts, EditError, Fact, Memory, Request};
use recant_linalg::Rows;
use recant_model::{Layout, Model, Slot};

use crate::batch::Metric;
use crate::ledger::{Ledger, LedgerError, Part};
use crate::lifelong::{Pair, Pairs};
use crate::lookup::rows_of;
use crate::region::{block_with_matrix, no_matrix};
use crate::retrieval::mean_key;
use crate::rome::Covariance;
use crate::search::Base;

/// An edit that belongs to no memory, ledger or patch yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Loose {
    /// What it says.
    pub fact: Fact,
    /// The model whose keys these are.
    pub base: ModelDigest,
    /// The block whose MLP answers.
    pub layer: usize,
    /// k, `[d_mlp]`; of a mixture of experts, which has no weights to write it into, `[d_model]`.
    pub key: Vec<f32>,
    /// r, `[d_model]`.
    pub residual: Vec<f32>,
}

/// An edit cannot be moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The memory's values are not residuals.
    #[error("only the retrieval memory holds keys with residuals; this is a memory of {kind}")]
    Kind {
        /// The method that made it.
        kind: String,
    },
    /// The two sides stand on different models.
    #[error("the edit is one of model {from}, the other side stands on model {to}; keys do not carry over")]
    Base {
        /// The edit's.
        from: ModelDigest,
        /// The other side's.
        to: ModelDigest,
    },
    /// The two sides write different blocks.
    #[error("the edit is one of block {from}, the other side writes block {to}; residuals do not carry over")]
    Layer {
        /// The edit's.
        from: usize,
        /// The other side's.
        to: usize,
    },
    /// The ledger spreads a fact over several layers.
    #[error(
        "the ledger spreads each fact over blocks {layers:?}; only a ledger of one block has the same form"
    )]
    Spread {
        /// Its layers.
        layers: Vec<usize>,
    },
    /// The fact is not there.
    #[error("{text:?} stands nowhere in it")]
    Unknown {
        /// The fact's text.
        text: String,
    },
    /// The other side says something to this prompt already.
    #[error("the other side says {held:?} to {text:?} already; take that out first")]
    Taken {
        /// The fact's text.
        text: String,
        /// The target there.
        held: String,
    },
    /// The patch is not a change of one down-projection of this model.
    #[error("the patch {what}; only a sum onto one down-projection of this model is an edit with a key")]
    Patch {
        /// What it is instead.
        what: String,
    },
    /// The ledger refuses the entry.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A key cannot be measured, or an update not be computed.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl Loose {
    /// The edit at `index` of a retrieval memory.
    ///
    /// # Errors
    /// [`TransferError::Kind`]; [`EditError::NoEdit`] in [`TransferError::Edit`].
    pub fn in_memory(memory: &Pairs, index: usize) -> Result<Self, TransferError> {
        residuals(memory)?;
        let held = memory.facts().get(index).zip(memory.pairs().get(index));
        let count = memory.pairs().len();
        let (fact, pair) = held.ok_or(EditError::NoEdit { index, count })?;
        Ok(Self {
            fact: fact.clone(),
            base: memory.base().digest(),
            layer: memory.layer(),
            key: pair.key.clone(),
            residual: pair.value.clone(),
        })
    }

    /// A fact's entry in a ledger of one layer.
    ///
    /// # Errors
    /// [`TransferError::Spread`], [`TransferError::Unknown`].
    pub fn in_ledger(ledger: &Ledger, fact: &Fact) -> Result<Self, TransferError> {
        let layer = only_layer(ledger)?;
        let unknown = || TransferError::Unknown { text: fact.text() };
        let (fact, entry) = ledger.iter().find(|(held, _)| *held == fact).ok_or_else(unknown)?;
        let part = entry.first().ok_or_else(unknown)?;
        let (key, residual) = (part.key.clone(), part.residual.clone());
        Ok(Self { fact: fact.clone(), base: ledger.ground().base, layer, key, residual })
    }

    /// What a patch says to `fact`, which the patch itself does not know: the key is the mean of the subject's last
    /// token over `contexts` on the base model, the residual is what the patch adds there.
    ///
    /// # Errors
    /// [`TransferError::Patch`], [`TransferError::Edit`].
    pub fn in_patch(
        model: &Model,
        patch: &WeightPatch,
        fact: &Fact,
        contexts: &Contexts,
    ) -> Result<Self, TransferError> {
        let (layer, addend) = only_change(model, patch)?;
        let rows = rows_of(model, fact, contexts).map_err(EditError::about(fact))?;
        let key = mean_key(&Base::observe(model, layer, &rows)?, &rows);
        let residual = times(&addend, &key);
        Ok(Self { fact: fact.clone(), base: model.digest(), layer, key, residual })
    }

    /// Puts the edit into a retrieval memory, as its newest.
    ///
    /// # Errors
    /// [`TransferError`]; the memory is then as it was.
    pub fn into_memory(self, memory: &mut Pairs) -> Result<(), TransferError> {
        residuals(memory)?;
        self.fits(memory.base().digest(), memory.layer())?;
        free(&self.fact, memory.facts().iter())?;
        let target = Request::to_edit(memory.base(), &self.fact)?.target;
        Ok(memory.insert(&self.fact, Pair { key: self.key, value: self.residual, target })?)
    }

    /// Puts the edit into a ledger of one layer.
    ///
    /// # Errors
    /// [`TransferError`]; the ledger is then as it was.
    pub fn into_ledger(self, ledger: &mut Ledger) -> Result<(), TransferError> {
        self.fits(ledger.ground().base, only_layer(ledger)?)?;
        free(&self.fact, ledger.facts())?;
        Ok(ledger.add(self.fact, vec![Part { key: self.key, residual: self.residual }])?)
    }

    /// The edit as weights: the rank-one change that answers k with r and, of all that do, moves ordinary keys the
    /// least by `covariance`.
    ///
    /// # Errors
    /// [`TransferError::Base`]; [`EditError::Mixture`]; [`EditError::Divisor`] of a key that is 0.
    pub fn into_patch(self, model: &Model, covariance: &Covariance) -> Result<WeightPatch, TransferError> {
        self.fits(model.digest(), self.layer)?;
        block_with_matrix(model, self.layer)?;
        let key: Vec<f64> = self.key.iter().map(|&x| f64::from(x)).collect();
        let misfit = || EditError::Misfit { what: "the edit's key and the statistics" };
        let one = Rows::new(key.len(), key.clone()).ok_or_else(misfit)?;
        let image = Metric { covariance, weight: 1.0, norm: 0.0 }.images(self.layer, &one)?;
        let image: Vec<f64> = image.iter().flatten().copied().collect();
        let divisor: f64 = key.iter().zip(&image).map(|(k, u)| k * u).sum();
        #[expect(clippy::cast_possible_truncation, reason = "factors are stored in f32")]
        let u = image.iter().map(|x| (x / divisor) as f32).collect();
        let addend = Addend::low_rank(Matrix::column(self.residual), Matrix::column(u));
        let addend = addend.map_err(|_| EditError::Divisor { divisor })?;
        Ok(model.express(Slot::MlpDown(self.layer), addend).ok_or_else(|| no_matrix(model, self.layer))?)
    }

    fn fits(&self, base: ModelDigest, layer: usize) -> Result<(), TransferError> {
        if self.base != base {
            return Err(TransferError::Base { from: self.base, to: base });
        }
        if self.layer != layer {
            return Err(TransferError::Layer { from: self.layer, to: layer });
        }
        Ok(())
    }
}

/// Whether nothing among `held` continues the fact's prompt.
fn free<'a>(fact: &Fact, mut held: impl Iterator<Item = &'a Fact>) -> Result<(), TransferError> {
    match held.find(|held| held.statement().same_question(&fact.statement())) {
        Some(held) => Err(TransferError::Taken { text: fact.text(), held: held.target.clone() }),
        None => Ok(()),
    }
}

fn residuals(memory: &Pairs) -> Result<(), TransferError> {
    use recant_edit::Lifelong;
    match memory.name() {
        "memory" => Ok(()),
        kind => Err(TransferError::Kind { kind: kind.to_owned() }),
    }
}

fn only_layer(ledger: &Ledger) -> Result<usize, TransferError> {
    match ledger.ground().layers[..] {
        [layer] => Ok(layer),
        ref layers => Err(TransferError::Spread { layers: layers.to_vec() }),
    }
}

/// The block that a patch changes, and by how much, `[d_model, d_mlp]`.
fn only_change(model: &Model, patch: &WeightPatch) -> Result<(usize, Addend), TransferError> {
    let refuse = |what: String| TransferError::Patch { what };
    let mut changes = patch.changes().iter();
    let (Some((path, Change { base, delta })), None) = (changes.next(), changes.next()) else {
        return Err(refuse(format!("changes {} tensors", patch.changes().len())));
    };
    let slot = |layer: &usize| model.slot(Slot::MlpDown(*layer)).is_some_and(|(slot, _)| slot == *path);
    let layer = (0..model.spec().layers).find(slot);
    let layer = layer.ok_or_else(|| refuse(format!("changes `{path}`")))?;
    if model.weights().get(path).is_none_or(|held| held.id() != *base) {
        return Err(refuse(format!("was made for another `{path}`")));
    }
    let Delta::Add(addend) = delta else { return Err(refuse(format!("replaces `{path}`"))) };
    let turned = model.slot(Slot::MlpDown(layer)).is_some_and(|(_, layout)| layout == Layout::InOut);
    Ok((layer, if turned { addend.clone().transposed() } else { addend.clone() }))
}

/// ΔW k in f64, rounded once.
fn times(addend: &Addend, key: &[f32]) -> Vec<f32> {
    let rows = |matrix: &Matrix, x: &[f64]| -> Vec<f64> {
        let row = |i| matrix.row(i).iter().zip(x).map(|(&a, x)| f64::from(a) * x).sum();
        (0..matrix.rows()).map(row).collect()
    };
    let key: Vec<f64> = key.iter().map(|&x| f64::from(x)).collect();
    let sum = match addend {
        Addend::Dense(matrix) => rows(matrix, &key),
        Addend::LowRank { u, v } => rows(u, &rows(&v.transposed(), &key)),
    };
    #[expect(clippy::cast_possible_truncation, reason = "residuals are f32")]
    let narrow = sum.into_iter().map(|x| x as f32).collect();
    narrow
}
