//! Grouped-query attention over one window, in blocks of queries.

use candle_core::{Result, Tensor};

use super::backend::{operand, product};
use super::magnitude::{Activation, Watch};
use super::ops;

/// Queries per block. Keys after the block's last query are never multiplied, which halves the work
/// of causal attention. Smaller blocks would save little more and make the products less efficient.
pub const QUERY_BLOCK: usize = 128;

/// How scores become weights.
#[derive(Debug)]
pub struct Scores {
    /// Factor on the scores.
    pub scale: f32,
    /// Scores become `c · tanh(score / c)`.
    pub softcap: Option<f64>,
    /// The number of last tokens that a query sees, including its own; `None` for all.
    pub window: Option<usize>,
    /// The sink logits of the heads.
    pub sinks: Option<Vec<f32>>,
}

/// Causal attention. `q` is `[tokens, heads, head_dim]`, `k` is `[tokens, kv_heads, head_dim]` and `v` is
/// `[tokens, kv_heads, value_dim]`. Each `heads / kv_heads` consecutive query heads share a key/value
/// head, and their queries are the rows of one product. Returns `[tokens, heads * value_dim]`.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, of: &Scores, watch: &Watch) -> Result<Tensor> {
    let (tokens, heads, head_dim) = q.dims3()?;
    let (_, kv_heads, value_dim) = v.dims3()?;
    let group = heads / kv_heads;
    // A cap applies to scaled scores.
    let scale = if of.softcap.is_some() { 1.0 } else { of.scale };
    let window = of.window;
    let (k, v) = (operand(k.transpose(0, 1)?)?, operand(v.transpose(0, 1)?)?);
    let mut blocks = Vec::with_capacity(tokens.div_ceil(QUERY_BLOCK));
    for first in (0..tokens).step_by(QUERY_BLOCK) {
        let queries = QUERY_BLOCK.min(tokens - first);
        let start = window.map_or(0, |window| (first + 1).saturating_sub(window));
        let keys = first + queries - start;
        let sinks = of.sinks.clone();
        let mask = ops::AttentionMask { scale, first: first - start, window, sinks };
        let q = q.narrow(0, first, queries)?.transpose(0, 1)?.contiguous()?;
        let q = q.reshape((kv_heads, group * queries, head_dim))?;
        let scores = product(&q, &k.narrow(1, start, keys)?.t()?)?;
        let scores = scores.reshape((heads, queries, keys))?;
        watch.see_scaled(Activation::Scores, &scores, of.scale)?;
        let scores = match of.softcap {
            Some(cap) => ops::softcap(scores, of.scale, cap)?,
            None => scores,
        };
        let weights = ops::masked_softmax(scores, &mask)?;
        let weights = weights.reshape((kv_heads, group * queries, keys))?;
        let attended = product(&weights, &v.narrow(1, start, keys)?)?;
        blocks.push(attended.reshape((heads, queries, value_dim))?.transpose(0, 1)?);
    }
    Tensor::cat(&blocks, 0)?.reshape((tokens, heads * value_dim))
}
