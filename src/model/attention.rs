//! Grouped-query attention over one window, in blocks of queries.

use candle_core::{Result, Tensor};

use super::backend::{operand, product};
use super::magnitude::{Activation, Watch};
use super::ops;

/// Queries per block. Keys after the block's last query are never multiplied, which halves the work
/// of causal attention. Smaller blocks would save little more and make the products less efficient.
pub const QUERY_BLOCK: usize = 128;

/// Causal attention. `q` is `[tokens, heads, head_dim]`, `k` and `v` are
/// `[tokens, kv_heads, head_dim]`. Each `heads / kv_heads` consecutive query heads share a
/// key/value head, and their queries are the rows of one product. `window` is the number of last
/// tokens that a query sees, including its own; `sinks` are the sink logits of the heads. Returns
/// `[tokens, heads * head_dim]`.
pub fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    window: Option<usize>,
    sinks: Option<&Vec<f32>>,
    watch: &Watch,
) -> Result<Tensor> {
    let (tokens, heads, head_dim) = q.dims3()?;
    let (_, kv_heads, _) = k.dims3()?;
    let group = heads / kv_heads;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let (k, v) = (operand(k.transpose(0, 1)?)?, operand(v.transpose(0, 1)?)?);
    let mut blocks = Vec::with_capacity(tokens.div_ceil(QUERY_BLOCK));
    for first in (0..tokens).step_by(QUERY_BLOCK) {
        let queries = QUERY_BLOCK.min(tokens - first);
        let start = window.map_or(0, |window| (first + 1).saturating_sub(window));
        let keys = first + queries - start;
        let mask =
            ops::AttentionMask { scale, first: first - start, window, sinks: sinks.cloned() };
        let q = q.narrow(0, first, queries)?.transpose(0, 1)?.contiguous()?;
        let q = q.reshape((kv_heads, group * queries, head_dim))?;
        let scores = product(&q, &k.narrow(1, start, keys)?.t()?)?;
        let scores = scores.reshape((heads, queries, keys))?;
        watch.see_scaled(Activation::Scores, &scores, scale)?;
        let weights = ops::masked_softmax(scores, &mask)?;
        let weights = weights.reshape((kv_heads, group * queries, keys))?;
        let attended = product(&weights, &v.narrow(1, start, keys)?)?;
        blocks.push(attended.reshape((heads, queries, head_dim))?.transpose(0, 1)?);
    }
    Tensor::cat(&blocks, 0)?.reshape((tokens, heads * head_dim))
}
