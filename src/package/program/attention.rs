//! Attention over a cache of fixed length.

use half::f16;

use super::body::FunctionBody;
use super::design::{Cache, Compute};
use super::weights::HalfVector;
use crate::checkpoint::{Role, TensorId};
use crate::error::Result;
use crate::package::mil::{Literal, Opset, StateBuffer, Value};
use crate::package::spec::DataType;

/// The values that the attention of all layers in a function uses.
pub(super) struct AttentionContext {
    cosines: Value,
    sines: Value,
    causal: Value,
    sliding: Option<Value>,
    cache: KvCache,
}

/// The keys and values of earlier calls.
enum KvCache {
    /// As states, which the layers write one after the other.
    States { write_position: Value, keys: CacheState, values: CacheState },
    /// As inputs; each layer outputs the rows to append.
    Inputs { keys: Value, values: Value, new_keys: Vec<Value>, new_values: Vec<Value> },
}

/// A state and its latest value. It is read once at the start and once after every write, since
/// runtimes recognise this form as an update in place.
struct CacheState {
    state: StateBuffer,
    latest: Value,
}

impl AttentionContext {
    /// Declares the inputs for the attention of `layers` layers from `first` on.
    pub fn new(body: &mut FunctionBody<'_>, first: usize, layers: usize) -> Result<Self> {
        let (tokens, design, config) = (body.tokens, body.design, body.config);
        body.f.scope("rotary");
        let positions = body.f.input("position_ids", DataType::Int32, &[tokens])?;
        let shape = [design.context_tokens, config.head_dim / 2];
        let mut table = |vector: HalfVector| {
            let table = body.vector("table", vector, &shape)?;
            body.f.gather(&table, &positions, 0)
        };
        let (cosines, sines) = (table(HalfVector::Cosines(0))?, table(HalfVector::Sines(0))?);
        body.f.scope("cache");
        let cache_shape = [layers, config.kv_heads, design.context_tokens, config.head_dim];
        let cache = match design.cache {
            Cache::State => {
                let write_position = body.f.input("write_position", DataType::Int32, &[1])?;
                let mut stateful = |name: &str| {
                    let state = body.f.state(name, &cache_shape)?;
                    Ok(CacheState { latest: body.f.read_state(&state)?, state })
                };
                let (keys, values) = (stateful("key_cache")?, stateful("value_cache")?);
                KvCache::States { write_position, keys, values }
            }
            Cache::Inputs => KvCache::Inputs {
                keys: body.f.input("key_cache", DataType::Float16, &cache_shape)?,
                values: body.f.input("value_cache", DataType::Float16, &cache_shape)?,
                new_keys: Vec::new(),
                new_values: Vec::new(),
            },
        };
        body.f.scope("mask");
        let windows = (first..first + layers).map(|layer| config.window_tokens(layer).is_some());
        let sliding = if windows.clone().any(|slides| slides) {
            Some(mask(body, "sliding_mask")?)
        } else {
            None
        };
        let causal = match (&sliding, windows.clone().all(|slides| slides)) {
            (Some(sliding), true) => sliding.clone(),
            _ => mask(body, "causal_mask")?,
        };
        Ok(AttentionContext { cosines, sines, causal, sliding, cache })
    }

    /// The attention of `layer`, which is the `index`-th one of the function. `x` are normalized
    /// hidden states; the caller adds the residual.
    pub fn attend(
        &mut self,
        body: &mut FunctionBody<'_>,
        x: &Value,
        layer: usize,
        index: usize,
    ) -> Result<Value> {
        let (heads, kv_heads, head_dim) =
            (body.config.heads, body.config.kv_heads, body.config.head_dim);
        let of = |role| TensorId::block(layer, role);
        let query = body.project(x, of(Role::Query))?;
        let query = self.prepare(body, &query, heads, of(Role::QueryNorm))?;
        let key = body.project(x, of(Role::Key))?;
        let key = self.prepare(body, &key, kv_heads, of(Role::KeyNorm))?;
        let value = body.project(x, of(Role::Value))?;
        let value = body.split_heads(&value, kv_heads)?;
        let (keys, values) = self.cache.extend(body, &key, &value, index)?;
        // Query heads that share keys and values become additional queries of one head, so that
        // keys and values are not copied.
        let rows = heads / kv_heads * body.tokens;
        let query = body.f.reshape(&query, &[1, kv_heads, rows, head_dim])?;
        let mask = match (body.config.window_tokens(layer), &self.sliding) {
            (Some(_), Some(sliding)) => sliding.clone(),
            _ => self.causal.clone(),
        };
        let is_fused = body.design.compute == Compute::Gpu
            && body.design.target == Opset::Ios18
            && !body.config.sinks;
        let attended = if is_fused {
            body.f.scaled_dot_product_attention(&query, &keys, &values, &mask)?
        } else {
            unfused(body, [&query, &keys, &values], &mask, of(Role::Sinks))?
        };
        let attended = body.f.reshape(&attended, &[1, heads, body.tokens, head_dim])?;
        let merged = body.merge_heads(&attended, heads)?;
        body.project(&merged, of(Role::Output))
    }

    /// Splits `y` into heads `[1, heads, tokens, head_dim]`, normalizes them if the architecture
    /// does, and rotates them by their positions.
    fn prepare(
        &self,
        body: &mut FunctionBody<'_>,
        y: &Value,
        heads: usize,
        norm: TensorId,
    ) -> Result<Value> {
        let head_dim = body.config.head_dim;
        let mut y = body.split_heads(y, heads)?;
        if body.config.qk_norm.is_some() {
            let gain = body.vector("gain", HalfVector::Tensor(norm), &[head_dim])?;
            y = body.rms_norm(&y, -1, &gain)?;
        }
        let half = head_dim / 2;
        let parts = body.f.split(&y, &[half, half], -1)?;
        let mut rotated = |kept: &Value, other: &Value, is_first: bool| {
            let kept = body.f.mul(kept, &self.cosines)?;
            let other = body.f.mul(other, &self.sines)?;
            if is_first { body.f.sub(&kept, &other) } else { body.f.add(&kept, &other) }
        };
        let first = rotated(&parts[0], &parts[1], true)?;
        let second = rotated(&parts[1], &parts[0], false)?;
        body.f.concat(&[&first, &second], -1)
    }

    /// Adds the outputs with the rows to append, if the cache is passed as inputs.
    pub fn finish(self, body: &mut FunctionBody<'_>) -> Result<()> {
        if let KvCache::Inputs { new_keys, new_values, .. } = self.cache {
            for (name, rows) in [("new_keys", new_keys), ("new_values", new_values)] {
                let rows: Vec<&Value> = rows.iter().collect();
                let all = body.f.concat(&rows, 0)?;
                body.f.output(&all, name)?;
            }
        }
        Ok(())
    }
}

impl KvCache {
    /// Appends the rows of this call, `[1, kv_heads, tokens, head_dim]`, to the cache of the
    /// `index`-th layer. Returns all its keys and values, `[1, kv_heads, columns, head_dim]`.
    fn extend(
        &mut self,
        body: &mut FunctionBody<'_>,
        key: &Value,
        value: &Value,
        index: usize,
    ) -> Result<(Value, Value)> {
        match self {
            KvCache::States { write_position, keys, values } => {
                let at = body.f.ints(&[i32::try_from(index).unwrap_or(i32::MAX)]);
                let zero = body.f.ints(&[0]);
                let begin = body.f.concat(&[&at, &zero, write_position, &zero], 0)?;
                Ok((
                    keys.update(body, key, &begin, index)?,
                    values.update(body, value, &begin, index)?,
                ))
            }
            KvCache::Inputs { keys, values, new_keys, new_values } => {
                let mut join = |cache: &Value, new: &Value| {
                    let old = layer_of(body, cache, index)?;
                    body.f.concat(&[&old, new], 2)
                };
                let joined = (join(keys, key)?, join(values, value)?);
                new_keys.push(key.clone());
                new_values.push(value.clone());
                Ok(joined)
            }
        }
    }
}

impl CacheState {
    /// Writes `rows` at `begin` and returns the part of the cache that belongs to the layer.
    fn update(
        &mut self,
        body: &mut FunctionBody<'_>,
        rows: &Value,
        begin: &Value,
        index: usize,
    ) -> Result<Value> {
        let lens: Vec<i32> =
            rows.shape().iter().map(|len| i32::try_from(*len).unwrap_or(i32::MAX)).collect();
        let lens = body.f.ints(&lens);
        let end = body.f.add(begin, &lens)?;
        let updated = body.f.slice_update(&self.latest, rows, begin, &end)?;
        body.f.write_state(&self.state, &updated)?;
        self.latest = body.f.read_state(&self.state)?;
        layer_of(body, &self.latest, index)
    }
}

/// The part of a cache that belongs to one layer: `[1, kv_heads, context, head_dim]`.
fn layer_of(body: &mut FunctionBody<'_>, cache: &Value, index: usize) -> Result<Value> {
    let mut end = cache.shape().to_vec();
    end[0] = index + 1;
    body.f.slice_by_index(cache, &[index, 0, 0, 0], &end)
}

/// Declares a mask `[1, 1, tokens, columns]` and repeats it for the query heads that share a key
/// head.
fn mask(body: &mut FunctionBody<'_>, name: &str) -> Result<Value> {
    let shape = [1, 1, body.tokens, body.design.mask_columns(body.tokens)];
    let mask = body.f.input(name, DataType::Float16, &shape)?;
    let group = body.config.heads / body.config.kv_heads;
    // A single row broadcasts without being repeated.
    if body.tokens == 1 || group == 1 { Ok(mask) } else { body.f.tile(&mask, &[1, 1, group, 1]) }
}

/// Attention in separate operators. If the architecture has attention sinks, they are an additional
/// column in the softmax, which is removed afterwards.
fn unfused(
    body: &mut FunctionBody<'_>,
    [query, keys, values]: [&Value; 3],
    mask: &Value,
    sinks: TensorId,
) -> Result<Value> {
    let scale = (body.config.head_dim as f32).sqrt().recip();
    let scores = body.f.matmul(query, keys, true)?;
    let scores = body.f.mul_by(&scores, scale)?;
    let scores = body.f.add(&scores, mask)?;
    if !body.config.sinks {
        let weights = body.f.softmax(&scores, -1)?;
        return body.f.matmul(&weights, values, false);
    }
    let (kv_heads, heads) = (body.config.kv_heads, body.config.heads);
    let group = heads / kv_heads;
    let column = body.vector("sinks", HalfVector::Tensor(sinks), &[1, kv_heads, group, 1])?;
    // One sink per query head, repeated for each of its tokens.
    let zeros = vec![f16::ZERO; group * body.tokens];
    let zeros = body.f.literal(Literal::Halves(&zeros, &[1, 1, group, body.tokens]))?;
    let column = body.f.add(&column, &zeros)?;
    let column = body.f.reshape(&column, &[1, kv_heads, group * body.tokens, 1])?;
    let with_sinks = body.f.concat(&[&scores, &column], -1)?;
    let weights = body.f.softmax(&with_sinks, -1)?;
    let weights = body.f.slice_by_index(&weights, &[0; 4], scores.shape())?;
    body.f.matmul(&weights, values, false)
}
