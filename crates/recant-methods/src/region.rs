//! The part of a model above one block's MLP: what has to be computed again when that MLP's output moves.
//!
//! Everything below is a function of the tokens alone. It is computed once ([`Observed`]); a search then adds a
//! displacement to the MLP's output and runs the blocks above it ([`Region::log_probs`]), over whole rows or over what
//! stands behind cached keys and values. Exact, because the displacement enters the residual stream by addition:
//! `x' = x + (y' − y)`, y behind the norm where the MLP has one.

use burn::tensor::{Tensor, activation};
use recant_core::{Point, Site};
use recant_edit::EditError;
use recant_model::{ForwardInput, KvCache, Model, NoHook, Observer, Past, Positions, Source, TokenBatch};

/// Activations of some rows at one block of the unedited model.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The block.
    pub layer: usize,
    /// The rows.
    pub batch: TokenBatch,
    /// Input of the down-projection, `[rows, tokens, d_mlp]`; of a mixture of experts that of the MLP,
    /// `[rows, tokens, d_model]`.
    pub keys: Tensor<3>,
    /// Output of the MLP, `[rows, tokens, d_model]`.
    pub outputs: Tensor<3>,
    /// Residual stream leaving the block, `[rows, tokens, d_model]`.
    pub resid: Tensor<3>,
}

impl Observed {
    /// Runs the model's own weights up to the block, once.
    ///
    /// # Errors
    /// [`EditError::Layer`], [`EditError::Input`].
    pub fn of(model: &Model, layer: usize, rows: &[Vec<u32>]) -> Result<Self, EditError> {
        let batch = TokenBatch::new(rows, model.spec())?;
        Self::run(model, layer, batch, None)
    }

    /// The same for rows that are a batch already. Where `cache` is given, the whole model is run and the keys and values
    /// of every block are left there.
    pub(crate) fn run(
        model: &Model,
        layer: usize,
        batch: TokenBatch,
        cache: Option<&mut KvCache>,
    ) -> Result<Self, EditError> {
        let block = block(model, layer)?;
        let sites = [model.spec().key_point(layer), Point::MlpOut, Point::ResidPost]
            .map(|point| Site::Block(block, point));
        let input = ForwardInput::tokens(&batch, model.device());
        let (mut observer, input) = match cache {
            Some(cache) => (Observer::of(sites), input.keeping(cache)),
            None => (Observer::up_to(sites), input),
        };
        let _hidden = model.net().forward(input, &mut observer);
        let missing = || EditError::Layer { layer, layers: model.spec().layers };
        let mut take = |site| observer.take(site).ok_or_else(missing);
        let [keys, outputs, resid] = sites.map(&mut take);
        Ok(Self { layer, batch, keys: keys?, outputs: outputs?, resid: resid? })
    }

    /// What stands above the block, over whole rows.
    #[must_use]
    pub fn above(&self) -> Region {
        Region {
            layer: self.layer,
            outputs: self.outputs.clone(),
            resid: self.resid.clone(),
            positions: Positions::From(0),
            past: None,
        }
    }
}

/// The blocks above one block, from the residual stream that leaves it.
#[derive(Debug, Clone)]
pub struct Region {
    /// The block whose MLP's output moves.
    pub(crate) layer: usize,
    /// Output of its MLP, `[rows, tokens, d_model]`.
    pub(crate) outputs: Tensor<3>,
    /// Residual stream leaving it, `[rows, tokens, d_model]`.
    pub(crate) resid: Tensor<3>,
    /// Where the tokens stand.
    pub(crate) positions: Positions,
    /// Keys and values before the tokens, of the blocks above.
    pub(crate) past: Option<Past>,
}

impl Region {
    /// Log-probabilities `[places, vocab]` behind some `(row, token)` places, with `shift`
    /// `[rows, tokens, d_model]` added to the MLP's output. `shift` may track gradients.
    #[must_use]
    pub fn log_probs(&self, model: &Model, shift: Tensor<3>, places: &[(usize, usize)]) -> Tensor<2> {
        let gained = model.net().gained(self.layer, self.outputs.clone(), shift);
        let input = ForwardInput {
            source: Source::Residual { block: self.layer + 1, x: self.resid.clone() + gained },
            positions: self.positions.clone(),
            past: self.past.clone(),
            keep: None,
            only: Some(places),
        };
        match model.net().forward(input, &mut NoHook) {
            Some(hidden) => {
                let width = hidden.dims()[2];
                let logits = model.net().unembed(hidden.reshape([places.len(), width]));
                activation::log_softmax(logits, 1)
            }
            // `NoHook` never stops a pass.
            None => Tensor::zeros([places.len(), model.spec().vocab], model.device().tensors()),
        }
    }
}

/// The block of a layer number.
///
/// # Errors
/// [`EditError::Layer`] when the model has no such layer.
pub fn block(model: &Model, layer: usize) -> Result<u16, EditError> {
    let layers = model.spec().layers;
    u16::try_from(layer).ok().filter(|_| layer < layers).ok_or(EditError::Layer { layer, layers })
}

/// A layer number whose block has one matrix from a key to the MLP's output.
///
/// # Errors
/// [`EditError::Layer`]; [`EditError::Mixture`] when the block is a mixture of experts.
pub fn block_with_matrix(model: &Model, layer: usize) -> Result<u16, EditError> {
    let block = block(model, layer)?;
    model.spec().check_matrix(layer)?;
    Ok(block)
}

/// Checks layers that a method writes together.
///
/// # Errors
/// Those of [`block_with_matrix`]; [`EditError::Setting`] when there are none.
pub(crate) fn blocks_with_matrix(model: &Model, layers: &[usize]) -> Result<(), EditError> {
    if layers.is_empty() {
        return Err(EditError::Setting {
            key: "layers".to_owned(),
            value: String::new(),
            reason: "at least one layer is needed".to_owned(),
        });
    }
    layers.iter().try_for_each(|&layer| block_with_matrix(model, layer).map(|_| ()))
}

/// Why a model gives no matrix for a layer.
pub(crate) fn no_matrix(model: &Model, layer: usize) -> EditError {
    let none = EditError::Layer { layer, layers: model.spec().layers };
    block_with_matrix(model, layer).err().unwrap_or(none)
}

/// What a change Δ `[d_model, d_mlp]` of the down-projection adds to the MLP's output: `k Δᵀ`, `[rows, tokens, d_model]`.
pub(crate) fn shift(keys: &Tensor<3>, delta: &Tensor<2>) -> Tensor<3> {
    let [rows, tokens, d_mlp] = keys.dims();
    let flat = keys.clone().reshape([rows * tokens, d_mlp]).matmul(delta.clone().transpose());
    let d_model = flat.dims()[1];
    flat.reshape([rows, tokens, d_model])
}
