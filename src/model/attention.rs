//! Grouped-query attention over one window, in blocks of queries.

use candle_core::{Result, Tensor};

use super::ops;

/// Queries per block. Keys after the block's last query are never multiplied, which halves the
/// work of causal attention; smaller blocks would only make the products thinner.
const QUERY_BLOCK: usize = 128;

/// Causal attention. `q` is `[tokens, heads, head_dim]`, `k` and `v` are `[tokens, kv_heads,
/// head_dim]`; every `heads / kv_heads` consecutive query heads share a key/value head.
/// Returns `[tokens, heads * head_dim]`.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (tokens, heads, head_dim) = q.dims3()?;
    let (_, kv_heads, _) = k.dims3()?;
    let group = heads / kv_heads;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let q = q.transpose(0, 1)?;
    let mut blocks = Vec::with_capacity(tokens.div_ceil(QUERY_BLOCK));
    for first in (0..tokens).step_by(QUERY_BLOCK) {
        let queries = QUERY_BLOCK.min(tokens - first);
        let keys = first + queries;
        let mut outputs = Vec::with_capacity(kv_heads);
        for kv_head in 0..kv_heads {
            let q = q.narrow(0, kv_head * group, group)?.narrow(1, first, queries)?;
            let k = k.narrow(0, 0, keys)?.narrow(1, kv_head, 1)?.squeeze(1)?;
            let v = v.narrow(0, 0, keys)?.narrow(1, kv_head, 1)?.squeeze(1)?;
            let scores = q.matmul(&k.t()?.unsqueeze(0)?.expand((group, head_dim, keys))?)?;
            let weights = ops::causal_softmax(scores, scale, first)?;
            outputs.push(weights.matmul(&v.unsqueeze(0)?.expand((group, keys, head_dim))?)?);
        }
        blocks.push(Tensor::cat(&outputs, 0)?.transpose(0, 1)?.contiguous()?);
    }
    Tensor::cat(&blocks, 0)?.reshape((tokens, heads * head_dim))
}
