//! Scaled dot-product attention over heads, with keys and values from earlier positions.

use std::collections::BTreeMap;

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Tensor, module};
use recant_backend::{Device, upload_bools};

use crate::forward::Positions;

/// Keys and values of some blocks, each `[batch, kv_heads, positions, head_dim]`, rotated already where
/// the model rotates. Cloning shares the tensors.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    blocks: Vec<Option<(Tensor<4>, Tensor<4>)>>,
}

impl KvCache {
    /// Keys and values of one block.
    #[must_use]
    pub fn get(&self, block: usize) -> Option<&(Tensor<4>, Tensor<4>)> {
        self.blocks.get(block)?.as_ref()
    }

    /// Number of positions held, 0 when empty.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.iter().flatten().next().map_or(0, |(keys, _)| keys.dims()[2])
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Only the first `count` positions of blocks `from..`.
    #[must_use]
    pub fn prefix(&self, count: usize, from: usize) -> Self {
        let cut = |x: &Tensor<4>| x.clone().narrow(2, 0, count);
        let keep = |(block, entry): (usize, &Option<(Tensor<4>, Tensor<4>)>)| {
            let (keys, values) = entry.as_ref().filter(|_| block >= from && count > 0)?;
            Some((cut(keys), cut(values)))
        };
        Self { blocks: self.blocks.iter().enumerate().map(keep).collect() }
    }

    /// The same with every row `times` times: all rows, then all of them again.
    #[must_use]
    pub fn repeated(&self, times: usize) -> Self {
        let again = |x: &Tensor<4>| Tensor::cat(vec![x.clone(); times], 0);
        let blocks = self.blocks.iter();
        let both = |entry: &Option<(Tensor<4>, Tensor<4>)>| {
            entry.as_ref().map(|(keys, values)| (again(keys), again(values)))
        };
        Self { blocks: blocks.map(both).collect() }
    }

    fn put(&mut self, block: usize, keys: Tensor<4>, values: Tensor<4>) {
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, || None);
        }
        self.blocks[block] = Some((keys, values));
    }
}

/// What a forward pass may look back at.
#[derive(Debug, Clone)]
pub struct Past {
    /// Keys and values before this pass's tokens.
    pub cache: KvCache,
    /// How many of the held positions are each row's own; the others, of longer rows, are not looked at. `None`: all.
    /// A row's own are at positions 0, 1, ...; this pass's tokens follow them.
    pub lengths: Option<Vec<usize>>,
}

/// How a block attends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AttentionRule {
    /// A token sees itself and the tokens before it, this many in all; `None`: all of them.
    pub(crate) window: Option<usize>,
    /// What the products of queries and keys are multiplied by.
    pub(crate) scale: f64,
    /// `c tanh(x / c)` of the scaled products (Gemma 2).
    pub(crate) softcap: Option<f64>,
}

/// The attention state of one forward pass: what it may look back at, and what it should remember.
pub(crate) struct Attend<'a> {
    past: Option<&'a Past>,
    keep: Option<&'a mut KvCache>,
    positions: &'a Positions,
    device: &'a Device,
    /// Masks of this pass by window.
    masks: BTreeMap<Option<usize>, Option<Tensor<4, Bool>>>,
}

impl<'a> Attend<'a> {
    pub(crate) fn new(
        past: Option<&'a Past>,
        keep: Option<&'a mut KvCache>,
        positions: &'a Positions,
        device: &'a Device,
    ) -> Self {
        Self { past, keep, positions, device, masks: BTreeMap::new() }
    }

    /// `[rows, 1, tokens, past + tokens]`, true where a token must not look; `None` where the causal rule, or nothing,
    /// says it all.
    fn mask(
        &mut self,
        window: Option<usize>,
        rows: usize,
        tokens: usize,
        held: usize,
    ) -> Option<Tensor<4, Bool>> {
        // A window that nothing falls out of is none.
        let reach = (0..rows).map(|row| self.positions.at(row, tokens - 1) + 1).max().unwrap_or(0);
        let window = window.filter(|&window| window < reach);
        if let Some(mask) = self.masks.get(&window) {
            return mask.clone();
        }
        let lengths = self.past.and_then(|past| past.lengths.as_deref());
        let plain = window.is_none() && (self.past.is_none() || (lengths.is_none() && tokens == 1));
        let mask = (!plain).then(|| {
            let hidden = |row: usize, token: usize, key: usize| {
                let own = self.positions.at(row, token);
                let at = match key.checked_sub(held) {
                    Some(other) if other > token => return true,
                    Some(other) => self.positions.at(row, other),
                    None if lengths.is_some_and(|lengths| key >= lengths[row]) => return true,
                    None => key,
                };
                window.is_some_and(|window| own >= at + window)
            };
            let all = (0..rows)
                .flat_map(|row| (0..tokens).map(move |token| (row, token)))
                .flat_map(|(row, token)| (0..held + tokens).map(move |key| (row, token, key)));
            let numbers = all.map(|(row, token, key)| hidden(row, token, key)).collect();
            upload_bools(numbers, [rows, 1, tokens, held + tokens], self.device)
        });
        self.masks.insert(window, mask.clone());
        mask
    }

    /// `softmax(cap(scale · q kᵀ)) v` for one block.
    ///
    /// `q` `[batch, heads, tokens, head_dim]`; `k`, `v` `[batch, kv_heads, tokens, head_dim]`, where
    /// `heads` is a multiple of `kv_heads` (grouped-query attention). Without a past, causal.
    pub(crate) fn run(
        &mut self,
        block: usize,
        rule: AttentionRule,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
    ) -> Tensor<4> {
        let held = self.past.and_then(|past| past.cache.get(block));
        let (k, v) = match held {
            Some((keys, values)) => {
                (Tensor::cat(vec![keys.clone(), k], 2), Tensor::cat(vec![values.clone(), v], 2))
            }
            None => (k, v),
        };
        if let Some(keep) = self.keep.as_deref_mut() {
            keep.put(block, k.clone(), v.clone());
        }
        let [batch, heads, tokens, _] = q.dims();
        let mask = self.mask(rule.window, batch, tokens, k.dims()[2] - tokens);
        let is_causal = self.past.is_none() && mask.is_none();
        let mask = mask.map(|mask| {
            let positions = mask.dims()[3];
            mask.expand([batch, heads, tokens, positions])
        });
        let options = AttentionModuleOptions { scale: Some(rule.scale), softcap: rule.softcap, is_causal };
        module::attention(q, share_heads(k, heads), share_heads(v, heads), mask, None, options)
    }
}

/// Repeats each key or value head for the query heads of its group.
fn share_heads(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, kv_heads, positions, head_dim] = x.dims();
    if kv_heads == heads {
        return x;
    }
    let group = heads / kv_heads;
    let grouped: Tensor<5> = x.unsqueeze_dim(2);
    grouped.expand([batch, kv_heads, group, positions, head_dim]).reshape([batch, heads, positions, head_dim])
}

/// `[batch, tokens, heads * head_dim]` to `[batch, heads, tokens, head_dim]`.
pub(crate) fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2)
}

/// The inverse of [`split_heads`].
pub(crate) fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, tokens, head_dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * head_dim])
}
