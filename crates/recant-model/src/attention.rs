//! Scaled dot-product attention over heads, with keys and values from earlier positions.

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Tensor, module};

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
    /// `[batch, 1, tokens, past + tokens]`, true where a token must not look. `None` is allowed for a
    /// single new token that may see everything.
    pub mask: Option<Tensor<4, Bool>>,
}

/// The attention state of one forward pass: what it may look back at, and what it should remember.
pub(crate) struct Attend<'a> {
    pub(crate) past: Option<&'a Past>,
    pub(crate) keep: Option<&'a mut KvCache>,
}

impl Attend<'_> {
    /// `softmax(q kᵀ / √head_dim) v` for one block.
    ///
    /// `q` `[batch, heads, tokens, head_dim]`; `k`, `v` `[batch, kv_heads, tokens, head_dim]`, where
    /// `heads` is a multiple of `kv_heads` (grouped-query attention). Without a past, causal.
    pub(crate) fn run(&mut self, block: usize, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
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
        let mask = self.past.and_then(|past| past.mask.clone());
        let mask = mask.map(|mask| {
            let positions = mask.dims()[3];
            mask.expand([batch, heads, tokens, positions])
        });
        let options = AttentionModuleOptions { is_causal: self.past.is_none(), ..Default::default() };
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
