//! What goes into a forward pass.

use burn::tensor::{Int, Tensor};
use recant_backend::{Device, upload_ints};

use crate::ModelSpec;
use crate::attention::{KvCache, Past};

/// Rows of token ids, right-padded to one length. Causal attention keeps padding from touching anything
/// before it, so no mask is needed; what stands at padded positions is meaningless.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    ids: Vec<i32>,
    lengths: Vec<usize>,
    prompts: Vec<usize>,
    width: usize,
}

/// Tokens cannot be fed to a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// There are no rows, or a row is empty.
    #[error("there are no tokens to read; give a prompt that is not empty")]
    Empty,
    /// A row is longer than the model's context.
    #[error("the text has {tokens} tokens, but this model reads at most {context}; shorten it")]
    TooLong {
        /// Tokens in the row.
        tokens: usize,
        /// Tokens the model can read.
        context: usize,
    },
    /// A token id is not in the model's vocabulary: the tokenizer belongs to another model.
    #[error("token {id} is beyond the model's vocabulary of {vocab}; the tokenizer does not fit the model")]
    Vocabulary {
        /// The token id.
        id: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
}

impl TokenBatch {
    /// Checks rows against a model and pads them.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn new(rows: &[Vec<u32>], spec: &ModelSpec) -> Result<Self, InputError> {
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        if rows.is_empty() || rows.iter().any(Vec::is_empty) {
            return Err(InputError::Empty);
        }
        if width > spec.context {
            return Err(InputError::TooLong { tokens: width, context: spec.context });
        }
        if let Some(&id) = rows.iter().flatten().find(|&&id| id as usize >= spec.vocab) {
            return Err(InputError::Vocabulary { id, vocab: spec.vocab });
        }
        let padded = |row: &Vec<u32>| {
            let padding = width - row.len();
            row.iter().map(|&id| id.cast_signed()).chain(std::iter::repeat_n(0, padding)).collect::<Vec<_>>()
        };
        let ids = rows.iter().flat_map(padded).collect();
        let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
        Ok(Self { ids, prompts: lengths.clone(), lengths, width })
    }

    /// The same rows, with the tokens of each that are the prompt; what follows is a continuation to be judged.
    /// Without this the whole row is the prompt. Weights do not care; an [`Adapter`](crate::Adapter) decides by
    /// the prompt alone, so that a teacher-forced answer is scored on the side on which it would be generated.
    ///
    /// Numbers outside `1..=length` are moved to the nearer end; rows that get none keep the whole row.
    #[must_use]
    pub fn with_prompts(mut self, prompts: &[usize]) -> Self {
        let known = prompts.iter().zip(&self.lengths).map(|(&prompt, &length)| prompt.clamp(1, length));
        self.prompts.splice(..prompts.len().min(self.lengths.len()), known);
        self
    }

    /// Tokens of each row that are the prompt.
    #[must_use]
    pub fn prompts(&self) -> &[usize] {
        &self.prompts
    }

    /// The same rows padded to at least `width` tokens, as far as the model's context goes.
    #[must_use]
    pub fn at_least(mut self, width: usize, spec: &ModelSpec) -> Self {
        let width = width.min(spec.context);
        if width > self.width {
            let row =
                |row: &[i32]| row.iter().copied().chain(std::iter::repeat_n(0, width - self.width)).collect();
            let rows: Vec<Vec<i32>> = self.ids.chunks_exact(self.width).map(row).collect();
            self.ids = rows.concat();
            self.width = width;
        }
        self
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Tokens in the longest row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Tokens in each row, without padding.
    #[must_use]
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// `[rows, width]` on the device.
    #[must_use]
    pub fn tensor(&self, device: &Device) -> Tensor<2, Int> {
        upload_ints(self.ids.clone(), [self.rows(), self.width], device)
    }
}

/// Where a forward pass starts.
#[derive(Debug, Clone)]
pub enum Source {
    /// From token ids `[batch, tokens]`.
    Tokens(Tensor<2, Int>),
    /// From the residual stream `[batch, tokens, d_model]` entering block `block`.
    Residual {
        /// First block to compute.
        block: usize,
        /// The residual stream.
        x: Tensor<3>,
    },
}

/// Positions of the tokens of a forward pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Positions {
    /// Token `t` of every row stands at this position plus `t`.
    From(usize),
    /// Token 0 of row `b` stands at position `b` of this list, token `t` `t` later.
    Rows(Vec<usize>),
}

impl Positions {
    /// Position of token `token` in row `row`.
    #[must_use]
    pub fn at(&self, row: usize, token: usize) -> usize {
        match self {
            Self::From(first) => first + token,
            Self::Rows(first) => first.get(row).copied().unwrap_or(0) + token,
        }
    }

    /// All positions of a batch in row order.
    #[must_use]
    pub fn list(&self, rows: usize, tokens: usize) -> Vec<usize> {
        (0..rows).flat_map(|row| (0..tokens).map(move |token| self.at(row, token))).collect()
    }
}

/// One forward pass: where it starts, what it may look back at, what it should remember.
#[derive(Debug)]
pub struct ForwardInput<'a> {
    /// Where to start.
    pub source: Source,
    /// Where the tokens stand.
    pub positions: Positions,
    /// Keys and values before these tokens.
    pub past: Option<Past>,
    /// Filled with the keys and values of every block computed, the past ones included.
    pub keep: Option<&'a mut KvCache>,
    /// `(row, token)` places that alone are asked for: the last block's MLP and the final norm are computed there and
    /// nowhere else, and the pass gives `[1, places, d_model]` in this order.
    pub only: Option<&'a [(usize, usize)]>,
}

impl ForwardInput<'static> {
    /// A whole batch from its first token, remembering nothing.
    #[must_use]
    pub fn tokens(batch: &TokenBatch, device: &Device) -> Self {
        let source = Source::Tokens(batch.tensor(device));
        Self { source, positions: Positions::From(0), past: None, keep: None, only: None }
    }
}

impl<'a> ForwardInput<'a> {
    /// The same pass, remembering keys and values.
    #[must_use]
    pub fn keeping(self, cache: &'a mut KvCache) -> Self {
        let Self { source, positions, past, only, .. } = self;
        ForwardInput { source, positions, past, keep: Some(cache), only }
    }
}

/// [`ForwardInput::only`]'s places of an activation, `[1, places, width]`; all of it if there are none.
pub(crate) fn narrowed(x: Tensor<3>, only: Option<&[(usize, usize)]>, device: &Device) -> Tensor<3> {
    let Some(places) = only else { return x };
    let width = x.dims()[2];
    gather_rows(x, places, device).reshape([1, places.len(), width])
}

/// Rows of an activation: for each `(row, token)` of `places`, `x[row, token, :]`; `x`
/// `[batch, tokens, width]`, result `[places, width]`.
#[must_use]
pub fn gather_rows(x: Tensor<3>, places: &[(usize, usize)], device: &Device) -> Tensor<2> {
    let [batch, tokens, width] = x.dims();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "a batch has < 2^31 tokens"
    )]
    let flat = places.iter().map(|&(row, token)| (row * tokens + token) as i32).collect();
    x.reshape([batch * tokens, width]).select(0, upload_ints(flat, [places.len()], device))
}
