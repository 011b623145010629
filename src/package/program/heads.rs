//! Queries, keys and values: projected, split into heads, normed and rotated.

use super::body::FunctionBody;
use super::weights::HalfVector;
use crate::checkpoint::config::{Latent, QkNorm, QkOver};
use crate::checkpoint::{Role, TensorId};
use crate::error::Result;
use crate::package::mil::Value;

/// Cosines and sines of the tokens of a call, `[tokens, rotated / 2]`.
pub(super) struct Rotation {
    cosines: Value,
    sines: Value,
}

impl Rotation {
    /// The rows of the tables of the `index`-th rotary embedding.
    pub fn gather(body: &mut FunctionBody<'_>, index: usize) -> Result<Self> {
        let positions = body.positions()?;
        let rotated = body.config.ropes.get(index).map_or(0, |rope| rope.rotated);
        let shape = [body.design.context_tokens, rotated / 2];
        let mut table = |vector: HalfVector| {
            let table = body.vector("table", vector, &shape)?;
            body.f.gather(&table, &positions, 0)
        };
        let cosines = table(HalfVector::Cosines(index))?;
        Ok(Rotation { cosines, sines: table(HalfVector::Sines(index))? })
    }

    /// Rotates the first dimensions of heads `[1, heads, tokens, width]`.
    fn apply(&self, body: &mut FunctionBody<'_>, y: &Value) -> Result<Value> {
        let half = self.cosines.shape()[1];
        let width = y.shape()[y.rank() - 1];
        let mut sizes = vec![half, half];
        sizes.extend((width > 2 * half).then(|| width - 2 * half));
        let parts = body.f.split(y, &sizes, -1)?;
        let mut rotated = |kept: &Value, other: &Value, is_first: bool| {
            let kept = body.f.mul(kept, &self.cosines)?;
            let other = body.f.mul(other, &self.sines)?;
            if is_first { body.f.sub(&kept, &other) } else { body.f.add(&kept, &other) }
        };
        let first = rotated(&parts[0], &parts[1], true)?;
        let second = rotated(&parts[1], &parts[0], false)?;
        let all: Vec<&Value> = [&first, &second].into_iter().chain(parts.get(2)).collect();
        body.f.concat(&all, -1)
    }
}

/// Queries, keys and values of the normed states `x`, `[1, heads, tokens, width]` each.
pub(super) fn heads_of(
    body: &mut FunctionBody<'_>,
    x: &Value,
    layer: usize,
    rotation: Option<&Rotation>,
) -> Result<[Value; 3]> {
    let config = body.config;
    let of = |role| TensorId::block(layer, role);
    if let Some(latent) = config.latent {
        return latent_heads(body, x, layer, rotation, latent);
    }
    let query = body.project(x, of(Role::Query))?;
    let query = prepare(body, &query, config.heads, of(Role::QueryNorm), rotation)?;
    let key = body.project(x, of(Role::Key))?;
    let key = prepare(body, &key, config.kv_heads, of(Role::KeyNorm), rotation)?;
    let value = body.project(x, of(Role::Value))?;
    let value = clipped(body, value)?;
    let value = body.split_heads(&value, config.kv_heads, config.value_dim)?;
    Ok([query, key, value])
}

/// Splits `y` into heads, norms and clamps them if the architecture does, and rotates them by their
/// positions.
fn prepare(
    body: &mut FunctionBody<'_>,
    y: &Value,
    heads: usize,
    gain: TensorId,
    rotation: Option<&Rotation>,
) -> Result<Value> {
    let (head_dim, eps) = (body.config.head_dim, body.config.norm.eps);
    let mut y = y.clone();
    let norm = body.config.qk_norm;
    if let Some(QkNorm { kind, bias, over: QkOver::All, .. }) = norm {
        let channels = heads * head_dim;
        let (gain, added) = (HalfVector::Tensor(gain), HalfVector::Tensor(gain.with_bias()));
        let gain = body.per_channel(gain, channels)?;
        let axis = body.channel_axis();
        y = body.normed(kind, &y, axis, Some(&gain), eps)?;
        if bias {
            let added = body.per_channel(added, channels)?;
            y = body.f.add(&y, &added)?;
        }
    }
    y = body.split_heads(&y, heads, head_dim)?;
    let norm = norm.filter(|norm| norm.over != QkOver::All);
    if let Some(norm) = norm.filter(|norm| !norm.after_rope) {
        y = norm_heads(body, &y, heads, norm, gain)?;
    }
    y = clipped(body, y)?;
    if let Some(rotation) = rotation {
        y = rotation.apply(body, &y)?;
    }
    match norm.filter(|norm| norm.after_rope) {
        Some(norm) => norm_heads(body, &y, heads, norm, gain),
        None => Ok(y),
    }
}

/// The norm of each head of `y` `[1, heads, tokens, head_dim]`.
fn norm_heads(
    body: &mut FunctionBody<'_>,
    y: &Value,
    heads: usize,
    norm: QkNorm,
    gain: TensorId,
) -> Result<Value> {
    let (head_dim, eps) = (body.config.head_dim, body.config.norm.eps);
    let shape = match norm.over {
        QkOver::HeadWithOwnGains => vec![1, heads, 1, head_dim],
        QkOver::Head | QkOver::All => vec![head_dim],
    };
    let bias = gain.with_bias();
    let gain = body.vector("gain", HalfVector::Tensor(gain), &shape)?;
    let y = body.normed(norm.kind, y, -1, Some(&gain), eps)?;
    if !norm.bias {
        return Ok(y);
    }
    let bias = body.vector("bias", HalfVector::Tensor(bias), &shape)?;
    body.f.add(&y, &bias)
}

fn clipped(body: &mut FunctionBody<'_>, y: Value) -> Result<Value> {
    match body.config.clip_qkv {
        Some(clip) => body.f.clip(&y, -clip as f32, clip as f32),
        None => Ok(y),
    }
}

/// The same for latent attention. Keys and values are cached as heads have them, not as the narrow
/// state.
fn latent_heads(
    body: &mut FunctionBody<'_>,
    x: &Value,
    layer: usize,
    rotation: Option<&Rotation>,
    latent: Latent,
) -> Result<[Value; 3]> {
    let config = body.config;
    let of = |role| TensorId::block(layer, role);
    let query = match latent.query_rank {
        None => body.project(x, of(Role::Query))?,
        Some(rank) => {
            let state = body.project(x, of(Role::QueryDown))?;
            let state = body.inner_norm(&state, of(Role::QueryDownNorm), rank)?;
            body.project(&state, of(Role::QueryUp))?
        }
    };
    let mut query = body.split_heads(&query, config.heads, config.head_dim)?;
    let both = body.project(x, of(Role::KvDown))?;
    let axis = body.channel_axis();
    let parts = body.f.split(&both, &[latent.rope_dim, latent.kv_rank], axis)?;
    let mut shared = body.split_heads(&parts[0], 1, latent.rope_dim)?;
    if let Some(rotation) = rotation {
        query = rotation.apply(body, &query)?;
        shared = rotation.apply(body, &shared)?;
    }
    let state = body.inner_norm(&parts[1], of(Role::KvNorm), latent.kv_rank)?;
    let both = body.project(&state, of(Role::KvUp))?;
    let plain = config.head_dim - latent.rope_dim;
    let both = body.split_heads(&both, config.heads, plain + config.value_dim)?;
    let parts = body.f.split(&both, &[plain, config.value_dim], -1)?;
    // The rotated part of the keys is the same in all heads.
    let shared = body.f.tile(&shared, &[1, config.heads, 1, 1])?;
    let key = body.f.concat(&[&shared, &parts[0]], -1)?;
    Ok([query, key, parts[1].clone()])
}
