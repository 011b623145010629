//! Attention over a cache of fixed length.

use std::collections::BTreeMap;

use half::f16;

use super::body::FunctionBody;
use super::design::{Cache, Compute};
use super::heads::{Rotation, heads_of};
use super::piece::ropes_of;
use super::weights::HalfVector;
use crate::checkpoint::config::Config;
use crate::checkpoint::{Role, TensorId};
use crate::error::Result;
use crate::package::mil::{Literal, Opset, StateBuffer, Value};
use crate::package::spec::DataType;

/// The values that the attention of all layers in a function uses.
pub(super) struct AttentionContext {
    /// By the rotary embedding's place in the model.
    rotations: BTreeMap<usize, Rotation>,
    /// Factors on queries that grow with the position, `[tokens, 1]`.
    growth: Option<Value>,
    causal: Value,
    sliding: Option<Value>,
    cache: KvCache,
    /// The number of layers that have attended so far.
    attended: usize,
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
    /// Declares the inputs for the attention of `layers`, of which there is at least one.
    pub fn new(body: &mut FunctionBody<'_>, layers: &[usize]) -> Result<Self> {
        let config = body.config;
        body.f.scope("rotary");
        let mut rotations = BTreeMap::new();
        for index in ropes_of(config, layers) {
            rotations.insert(index, Rotation::gather(body, index)?);
        }
        let growth = match config.query_growth {
            Some(_) => {
                let positions = body.positions()?;
                let shape = [body.design.context_tokens, 1];
                let table = body.vector("table", HalfVector::QueryGrowth, &shape)?;
                Some(body.f.gather(&table, &positions, 0)?)
            }
            None => None,
        };
        body.f.scope("cache");
        let cache = KvCache::declare(body, layers.len())?;
        body.f.scope("mask");
        let slides = |layer: &usize| config.window_tokens(*layer).is_some();
        let sliding = match layers.iter().any(slides) {
            true => Some(mask(body, "sliding_mask")?),
            false => None,
        };
        let causal = match (&sliding, layers.iter().all(slides)) {
            (Some(sliding), true) => sliding.clone(),
            _ => mask(body, "causal_mask")?,
        };
        Ok(AttentionContext { rotations, growth, causal, sliding, cache, attended: 0 })
    }

    /// The attention of `layer`. `x` are normed hidden states; the caller adds the residual.
    pub fn attend(
        &mut self,
        body: &mut FunctionBody<'_>,
        x: &Value,
        layer: usize,
    ) -> Result<Value> {
        let config = body.config;
        let (heads, kv_heads) = (config.heads, config.kv_heads);
        let of = |role| TensorId::block(layer, role);
        let rotation = config.rope(layer).and_then(|index| self.rotations.get(&index));
        let [mut query, key, value] = heads_of(body, x, layer, rotation)?;
        if let Some(growth) = &self.growth {
            query = body.f.mul(&query, growth)?;
        }
        let index = self.attended;
        self.attended += 1;
        let (keys, values) = self.cache.extend(body, &key, &value, index)?;
        // Query heads that share keys and values become additional queries of one head, so that
        // keys and values are not copied.
        let rows = heads / kv_heads * body.tokens;
        let query = body.f.reshape(&query, &[1, kv_heads, rows, config.head_dim])?;
        let mask = match (config.window_tokens(layer), &self.sliding) {
            (Some(_), Some(sliding)) => sliding.clone(),
            _ => self.causal.clone(),
        };
        let is_fused = body.design.compute == Compute::Gpu
            && body.design.target == Opset::Ios18
            && config.attention_softcap.is_none()
            && !config.sinks;
        let attended = if is_fused {
            fused(body, [&query, &keys, &values], &mask, layer)?
        } else {
            unfused(body, [&query, &keys, &values], &mask, layer)?
        };
        let attended = body.f.reshape(&attended, &[1, heads, body.tokens, config.value_dim])?;
        let mut merged = body.merge_heads(&attended, heads, config.value_dim)?;
        if config.sub_norms {
            merged = body.inner_norm(&merged, of(Role::AttendedNorm), heads * config.value_dim)?;
        }
        body.project(&merged, of(Role::Output))
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
    /// Declares the cache of `layers` layers.
    fn declare(body: &mut FunctionBody<'_>, layers: usize) -> Result<Self> {
        let (design, config) = (body.design, body.config);
        let shape = |width| [layers, config.kv_heads, design.context_tokens, width];
        let widths = [("key_cache", config.head_dim), ("value_cache", config.value_dim)];
        Ok(match design.cache {
            Cache::State => {
                let write_position = body.f.input("write_position", DataType::Int32, &[1])?;
                let mut stateful = |(name, width): (&str, usize)| {
                    let state = body.f.state(name, &shape(width))?;
                    Ok(CacheState { latest: body.f.read_state(&state)?, state })
                };
                let [keys, values] = widths;
                let (keys, values) = (stateful(keys)?, stateful(values)?);
                KvCache::States { write_position, keys, values }
            }
            Cache::Inputs => {
                let [keys, values] = widths;
                let mut input = |(name, width): (&str, usize)| {
                    body.f.input(name, DataType::Float16, &shape(width))
                };
                KvCache::Inputs {
                    keys: input(keys)?,
                    values: input(values)?,
                    new_keys: Vec::new(),
                    new_values: Vec::new(),
                }
            }
        })
    }

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

/// Attention in one operator, which divides scores by the root of the head's width.
fn fused(
    body: &mut FunctionBody<'_>,
    [query, keys, values]: [&Value; 3],
    mask: &Value,
    layer: usize,
) -> Result<Value> {
    let (scale, width) = (body.config.score_scale(layer), body.config.head_dim);
    if scale == Config::usual_scale(width) {
        return body.f.scaled_dot_product_attention(query, keys, values, mask);
    }
    let query = body.f.mul_by(query, scale * (width as f32).sqrt())?;
    body.f.scaled_dot_product_attention(&query, keys, values, mask)
}

/// Attention in separate operators. If the architecture has attention sinks, they are an additional
/// column in the softmax, which is removed afterwards.
fn unfused(
    body: &mut FunctionBody<'_>,
    [query, keys, values]: [&Value; 3],
    mask: &Value,
    layer: usize,
) -> Result<Value> {
    let scores = body.f.matmul(query, keys, true)?;
    let scale = body.config.score_scale(layer);
    let scores = body.scaled(&scores, scale, body.config.attention_softcap)?;
    let scores = body.f.add(&scores, mask)?;
    if !body.config.sinks {
        let weights = body.f.softmax(&scores, -1)?;
        return body.f.matmul(&weights, values, false);
    }
    let (kv_heads, heads) = (body.config.kv_heads, body.config.heads);
    let group = heads / kv_heads;
    let sinks = HalfVector::Tensor(TensorId::block(layer, Role::Sinks));
    let column = body.vector("sinks", sinks, &[1, kv_heads, group, 1])?;
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
