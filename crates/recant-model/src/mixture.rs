//! Mixtures of experts: an MLP that is several, of which each token goes through the few that a router gives it.
//!
//! ```math
//! y = \sum_{e \in \mathrm{top}_k(p)} w_e\, W_e (f(G_e x) \odot U_e x), \quad p = \mathrm{softmax}(R x)
//! ```
//!
//! w is p at the chosen experts, scaled to sum to 1 where the family says so. There is no single key and no single
//! matrix behind it, so such a block has no [`Slot`](crate::Slot) and no site [`Point::MlpKey`].

use burn::tensor::{Int, Tensor, activation};
use recant_backend::{Device, host, upload_ints};
use recant_core::Point;

use crate::family::{Activation, ModelSpec};
use crate::stack::{Linear, bent};

/// The mixtures of experts of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixtureSpec {
    /// Experts of a block.
    pub experts: usize,
    /// Experts that a token goes through.
    pub per_token: usize,
    /// Width of an expert's hidden layer.
    pub d_expert: usize,
    /// Whether the shares of a token's experts are scaled to sum to 1.
    pub renormalised: bool,
    /// The blocks that are mixtures, ascending; never empty.
    pub blocks: Vec<usize>,
}

/// A block has no matrix that could be edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "block {block} of this {architecture} model is a mixture of experts: no single matrix maps a key to the output \
     there; {}", elsewhere(.others)
)]
pub struct MixtureError {
    /// The block.
    pub block: usize,
    /// `model_type` of the model.
    pub architecture: &'static str,
    /// The blocks that have one.
    pub others: Vec<usize>,
}

fn elsewhere(blocks: &[usize]) -> String {
    const LISTED: usize = 8;
    let listed: Vec<String> = blocks.iter().take(LISTED).map(usize::to_string).collect();
    match blocks.len().saturating_sub(LISTED) {
        _ if blocks.is_empty() => "no block of it has one".to_owned(),
        0 => format!("blocks that have one: {}", listed.join(", ")),
        more => format!("blocks that have one: {} and {more} more", listed.join(", ")),
    }
}

impl ModelSpec {
    /// Whether a block is a mixture of experts.
    #[must_use]
    pub fn is_mixture(&self, block: usize) -> bool {
        self.mixture.as_ref().is_some_and(|mixture| mixture.blocks.binary_search(&block).is_ok())
    }

    /// The blocks that have one matrix from a key to the MLP's output, ascending.
    #[must_use]
    pub fn blocks_with_matrix(&self) -> Vec<usize> {
        (0..self.layers).filter(|&block| !self.is_mixture(block)).collect()
    }

    /// Whether a block has one matrix from a key to the MLP's output.
    ///
    /// # Errors
    /// [`MixtureError`] says which have.
    pub fn check_matrix(&self, block: usize) -> Result<(), MixtureError> {
        if !self.is_mixture(block) {
            return Ok(());
        }
        Err(MixtureError { block, architecture: self.architecture, others: self.blocks_with_matrix() })
    }

    /// The site at which a memory looks a block up: the key, or the MLP's input where a mixture has no key.
    #[must_use]
    pub fn key_point(&self, block: usize) -> Point {
        if self.is_mixture(block) { Point::MlpIn } else { Point::MlpKey }
    }

    /// Width of [`ModelSpec::key_point`].
    #[must_use]
    pub fn key_width(&self, block: usize) -> usize {
        if self.is_mixture(block) { self.d_model } else { self.d_mlp }
    }

    /// Width of what a token has between the two halves of an MLP, in the widest block: for estimates of memory.
    #[must_use]
    pub fn hidden_width(&self) -> usize {
        let of_experts = |mixture: &MixtureSpec| mixture.per_token * mixture.d_expert;
        self.mixture.as_ref().map_or(0, of_experts).max(self.d_mlp)
    }
}

/// One of the MLPs of a mixture.
pub(crate) struct Expert {
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

/// The MLP of a block that is a mixture.
pub(crate) struct Experts {
    pub(crate) router: Linear,
    pub(crate) experts: Vec<Expert>,
    pub(crate) per_token: usize,
    pub(crate) renormalised: bool,
    pub(crate) activation: Activation,
}

impl Experts {
    /// The output for `x` `[rows, tokens, d_model]`.
    ///
    /// Which experts a token goes through is read on the host, and an expert computes its own tokens alone. The
    /// shares stay on the graph, so a gradient goes through experts and router as it does in `transformers`.
    pub(crate) fn of(&self, x: Tensor<3>, device: &Device) -> Tensor<3> {
        let shape @ [rows, tokens, width] = x.dims();
        let (count, experts) = (rows * tokens, self.experts.len());
        let x: Tensor<2> = x.reshape([count, width]);
        let shares = activation::softmax(self.router.of(x.clone()), 1);
        let routes = Routes::of(&host(&shares), experts, self.per_token);
        let shares: Tensor<2> = shares.reshape([count * experts, 1]);

        let answer = |(expert, tokens): (&Expert, &Vec<usize>)| {
            let x = x.clone().select(0, indices(tokens.iter().copied(), device));
            let key = bent(self.activation, expert.gate.of(x.clone())) * expert.up.of(x);
            expert.down.of(key)
        };
        let asked = self.experts.iter().zip(&routes.tokens).filter(|(_, tokens)| !tokens.is_empty());
        let answers = Tensor::cat(asked.map(answer).collect(), 0);

        let first = routes.first();
        let share = |choice: &Vec<(usize, usize)>| {
            let at = choice.iter().enumerate().map(|(token, (expert, _))| token * experts + expert);
            shares.clone().select(0, indices(at, device))
        };
        let chosen: Vec<Tensor<2>> = routes.choices.iter().map(share).collect();
        let total = chosen.iter().cloned().reduce(|sum, share| sum + share).filter(|_| self.renormalised);
        let parts = routes.choices.iter().zip(chosen).map(|(choice, share)| {
            let at = choice.iter().map(|&(expert, place)| first[expert] + place);
            let share = match &total {
                Some(total) => share / total.clone(),
                None => share,
            };
            answers.clone().select(0, indices(at, device)) * share
        });
        let sum = parts.reduce(|sum, part| sum + part);
        sum.unwrap_or_else(|| x.zeros_like()).reshape(shape)
    }
}

fn indices(numbers: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "a batch has < 2^31 numbers, as the graph's index type demands"
    )]
    let numbers: Vec<i32> = numbers.map(|number| number as i32).collect();
    let count = numbers.len();
    upload_ints(numbers, [count], device)
}

/// Which tokens go through which experts.
#[derive(Debug, PartialEq, Eq)]
struct Routes {
    /// The tokens of each expert, ascending.
    tokens: Vec<Vec<usize>>,
    /// `[per token][token]`: an expert, ascending by its number, and the token's place among those of the expert.
    choices: Vec<Vec<(usize, usize)>>,
}

impl Routes {
    /// The experts with the largest shares of each token; of equal ones, those with the lower number.
    fn of(shares: &[f32], experts: usize, per_token: usize) -> Self {
        let mut tokens = vec![Vec::new(); experts];
        let mut choices = vec![Vec::new(); per_token];
        for (token, shares) in shares.chunks_exact(experts).enumerate() {
            let mut order: Vec<usize> = (0..experts).collect();
            order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]).then(a.cmp(&b)));
            order.truncate(per_token);
            // The order in which parts are added up must not depend on small differences of shares.
            order.sort_unstable();
            for (choice, expert) in choices.iter_mut().zip(order) {
                choice.push((expert, tokens[expert].len()));
                tokens[expert].push(token);
            }
        }
        Self { tokens, choices }
    }

    /// Where the answers of each expert begin when all of them stand one after the other.
    fn first(&self) -> Vec<usize> {
        let begin = |sum: &mut usize, tokens: &Vec<usize>| {
            let begin = *sum;
            *sum += tokens.len();
            Some(begin)
        };
        self.tokens.iter().scan(0, begin).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_the_largest_shares_and_equal_ones_by_number() {
        let shares = [
            [0.1, 0.4, 0.2, 0.3], //
            [0.25, 0.25, 0.25, 0.25],
            [0.0, 0.5, 0.0, 0.5],
        ];
        let routes = Routes::of(shares.as_flattened(), 4, 2);
        assert_eq!(routes.tokens, [vec![1], vec![0, 1, 2], vec![], vec![0, 2]]);
        assert_eq!(routes.choices, [[(1, 0), (0, 0), (1, 2)], [(3, 0), (1, 1), (3, 1)]]);
        assert_eq!(routes.first(), [0, 1, 4, 4]);
    }

    #[test]
    fn other_blocks_are_named_in_short() {
        assert_eq!(elsewhere(&[]), "no block of it has one");
        assert_eq!(elsewhere(&[1, 3]), "blocks that have one: 1, 3");
        let many: Vec<usize> = (0..10).collect();
        assert_eq!(elsewhere(&many), "blocks that have one: 0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    }
}
