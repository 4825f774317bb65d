//! The part of a model above one block's MLP: what has to be computed again when that MLP's output moves.
//!
//! Everything below is a function of the tokens alone. It is computed once ([`Upper::observe`]); a search then
//! adds a displacement to the block's output and runs the blocks above it ([`Upper::log_probs`]). Exact, because
//! the displacement enters the residual stream by addition: `x' = x + (y' − y)`, y behind the norm where the MLP has one.

use burn::tensor::{Tensor, activation};
use recant_core::{Point, Site};
use recant_edit::EditError;
use recant_model::{ForwardInput, Model, NoHook, Observer, Positions, Source, TokenBatch};

/// Activations of some rows at one block of the unedited model.
#[derive(Debug, Clone)]
pub struct Upper {
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

/// Why a model gives no matrix for a layer.
pub(crate) fn no_matrix(model: &Model, layer: usize) -> EditError {
    let none = EditError::Layer { layer, layers: model.spec().layers };
    block_with_matrix(model, layer).err().unwrap_or(none)
}

impl Upper {
    /// Runs the model's own weights up to the block, once.
    ///
    /// # Errors
    /// [`EditError::Layer`], [`EditError::Input`].
    pub fn observe(model: &Model, layer: usize, rows: &[Vec<u32>]) -> Result<Self, EditError> {
        let block = block(model, layer)?;
        let batch = TokenBatch::new(rows, model.spec())?;
        let [key, out, post] = [model.spec().key_point(layer), Point::MlpOut, Point::ResidPost]
            .map(|point| Site::Block(block, point));
        let mut observer = Observer::up_to([key, out, post]);
        let _stopped = model.net().forward(ForwardInput::tokens(&batch, model.device()), &mut observer);
        let missing = || EditError::Layer { layer, layers: model.spec().layers };
        let mut take = |site| observer.take(site).ok_or_else(missing);
        Ok(Self { layer, batch, keys: take(key)?, outputs: take(out)?, resid: take(post)? })
    }

    /// Log-probabilities `[places, vocab]` behind some `(row, token)` places, with `shift`
    /// `[rows, tokens, d_model]` added to the block's output. `shift` may track gradients.
    #[must_use]
    pub fn log_probs(&self, model: &Model, shift: Tensor<3>, places: &[(usize, usize)]) -> Tensor<2> {
        let gained = model.net().gained(self.layer, self.outputs.clone(), shift);
        let input = ForwardInput {
            source: Source::Residual { block: self.layer + 1, x: self.resid.clone() + gained },
            positions: Positions::From(0),
            past: None,
            keep: None,
            only: Some(places),
        };
        let hidden = model.net().forward(input, &mut NoHook);
        match hidden {
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
