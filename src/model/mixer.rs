//! How a block mixes tokens: attention, latent attention, or a short convolution.

use candle_core::{Result as CandleResult, Tensor};

use super::attention::{self, Scores};
use super::block_weights::{BlockWeights, LinearLayer};
use super::inputs::{Input, InputMode};
use super::magnitude::{Activation as Seen, Watch};
use super::norm::NormLayer;
use super::rope::{RopeTables, Rotation};
use crate::checkpoint::Role;
use crate::checkpoint::config::{Config, Mixer, QkNorm, QkOver, QueryGrowth};
use crate::error::{Error, Result};

/// How a block mixes tokens.
#[derive(Debug)]
pub(super) enum MixerBlock {
    Attention(Box<Attention>),
    ShortConv(ShortConv),
}

/// Attention, up to the input of its output projection.
#[derive(Debug)]
pub(super) struct Attention {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    value_dim: usize,
    projections: Projections,
    qk_norm: Option<QkNorm>,
    query_norm: Option<NormLayer>,
    key_norm: Option<NormLayer>,
    clip: Option<f64>,
    rope: Option<usize>,
    growth: Option<QueryGrowth>,
    scores: Scores,
    attended_norm: Option<NormLayer>,
}

/// Where queries, keys and values come from.
#[derive(Debug)]
enum Projections {
    Plain { query: LinearLayer, key: LinearLayer, value: LinearLayer },
    Latent(Box<LatentProjections>),
}

#[derive(Debug)]
struct LatentProjections {
    query: LatentQuery,
    kv_down: LinearLayer,
    kv_norm: NormLayer,
    kv_up: LinearLayer,
    rope_dim: usize,
}

#[derive(Debug)]
enum LatentQuery {
    Plain(LinearLayer),
    Narrow { down: LinearLayer, norm: NormLayer, up: LinearLayer },
}

/// A causal convolution of each channel between two gates.
#[derive(Debug)]
pub(super) struct ShortConv {
    input: LinearLayer,
    /// `[hidden, kernel]`, the oldest token first.
    kernel: LinearLayer,
}

impl MixerBlock {
    pub fn take(config: &Config, layer: usize, weights: &mut BlockWeights) -> Result<Self> {
        match config.kind(layer).mixer {
            Mixer::ShortConv => Ok(MixerBlock::ShortConv(ShortConv {
                input: weights.take_linear(Role::ConvInput)?,
                kernel: weights.take_linear(Role::ConvKernel)?,
            })),
            Mixer::Attention { .. } => {
                let attention = Attention::take(config, layer, weights)?;
                Ok(MixerBlock::Attention(Box::new(attention)))
            }
        }
    }

    /// The input of the output projection `[tokens, in]`, from the normed states of one window.
    pub fn attended(
        &self,
        normed: &Tensor,
        rope: &RopeTables,
        inputs: InputMode<'_>,
        watch: &Watch,
    ) -> CandleResult<Tensor> {
        match self {
            MixerBlock::Attention(attention) => attention.attended(normed, rope, inputs, watch),
            MixerBlock::ShortConv(conv) => conv.convolved(normed, watch),
        }
    }

    /// The linear layer with a role.
    pub fn linear_mut(&mut self, role: Role) -> Option<&mut LinearLayer> {
        match self {
            MixerBlock::ShortConv(conv) => (role == Role::ConvInput).then_some(&mut conv.input),
            MixerBlock::Attention(attention) => attention.projections.linear_mut(role),
        }
    }

    /// The inputs of the states that are made from the normed ones and read by other projections.
    pub fn latent_input(&self, input: Input, normed: &Tensor) -> Result<CandleResult<Tensor>> {
        let MixerBlock::Attention(attention) = self else {
            return Err(Error::bug("a convolution has no latent states"));
        };
        let Projections::Latent(latent) = &attention.projections else {
            return Err(Error::bug("plain attention has no latent states"));
        };
        match (input, &latent.query) {
            (Input::KvLatent, _) => Ok(latent.split(normed).map(|(_, state)| state)),
            (Input::QueryLatent, LatentQuery::Narrow { down, norm, .. }) => {
                Ok(down.forward(normed).and_then(|state| norm.forward(&state)))
            }
            _ => Err(Error::bug(format!("{} is no latent state", input.name()))),
        }
    }
}

impl Projections {
    fn linear_mut(&mut self, role: Role) -> Option<&mut LinearLayer> {
        match self {
            Projections::Plain { query, key, value } => match role {
                Role::Query => Some(query),
                Role::Key => Some(key),
                Role::Value => Some(value),
                _ => None,
            },
            Projections::Latent(latent) => match (role, &mut latent.query) {
                (Role::Query, LatentQuery::Plain(query)) => Some(query),
                (Role::QueryDown, LatentQuery::Narrow { down, .. }) => Some(down),
                (Role::QueryUp, LatentQuery::Narrow { up, .. }) => Some(up),
                (Role::KvDown, _) => Some(&mut latent.kv_down),
                (Role::KvUp, _) => Some(&mut latent.kv_up),
                _ => None,
            },
        }
    }

    fn take(config: &Config, weights: &mut BlockWeights) -> Result<Self> {
        let Some(latent) = config.latent else {
            return Ok(Projections::Plain {
                query: weights.take_linear(Role::Query)?,
                key: weights.take_linear(Role::Key)?,
                value: weights.take_linear(Role::Value)?,
            });
        };
        let norm = |role, weights: &mut BlockWeights| {
            let norm = weights.take_inner_norm(config, true, role)?;
            norm.ok_or_else(|| Error::bug(format!("no {role:?}")))
        };
        let query = match latent.query_rank {
            None => LatentQuery::Plain(weights.take_linear(Role::Query)?),
            Some(_) => LatentQuery::Narrow {
                down: weights.take_linear(Role::QueryDown)?,
                norm: norm(Role::QueryDownNorm, weights)?,
                up: weights.take_linear(Role::QueryUp)?,
            },
        };
        Ok(Projections::Latent(Box::new(LatentProjections {
            query,
            kv_down: weights.take_linear(Role::KvDown)?,
            kv_norm: norm(Role::KvNorm, weights)?,
            kv_up: weights.take_linear(Role::KvUp)?,
            rope_dim: latent.rope_dim,
        })))
    }
}

impl LatentProjections {
    /// The rotated part of the keys `[tokens, rope_dim]`, not rotated yet, and the state `[tokens,
    /// kv_rank]` that the rest of keys and values comes from.
    fn split(&self, normed: &Tensor) -> CandleResult<(Tensor, Tensor)> {
        let both = self.kv_down.forward(normed)?;
        let rank = both.dim(1)? - self.rope_dim;
        let rotated = both.narrow(1, 0, self.rope_dim)?.contiguous()?;
        let state = both.narrow(1, self.rope_dim, rank)?.contiguous()?;
        Ok((rotated, self.kv_norm.forward(&state)?))
    }
}

impl Attention {
    fn take(config: &Config, layer: usize, weights: &mut BlockWeights) -> Result<Self> {
        let norm = |weights: &mut BlockWeights, role| {
            config.qk_norm.map(|norm| weights.take_head_norm(config, norm, role)).transpose()
        };
        Ok(Attention {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            value_dim: config.value_dim,
            projections: Projections::take(config, weights)?,
            qk_norm: config.qk_norm,
            query_norm: norm(weights, Role::QueryNorm)?,
            key_norm: norm(weights, Role::KeyNorm)?,
            clip: config.clip_qkv,
            rope: config.rope(layer),
            growth: config.query_growth,
            scores: Scores {
                scale: config.score_scale(layer),
                softcap: config.attention_softcap,
                window: config.window_tokens(layer),
                sinks: weights.sinks.take(),
            },
            attended_norm: weights.take_inner_norm(config, config.sub_norms, Role::AttendedNorm)?,
        })
    }

    fn attended(
        &self,
        normed: &Tensor,
        rope: &RopeTables,
        inputs: InputMode<'_>,
        watch: &Watch,
    ) -> CandleResult<Tensor> {
        let (tokens, _) = normed.dims2()?;
        let rotation = self.rope.map(|index| rope.rotation(index, tokens)).transpose()?;
        let rotation = rotation.as_ref();
        let (q, k, v) = match &self.projections {
            Projections::Plain { query, key, value } => {
                let norms = (self.query_norm.as_ref(), self.key_norm.as_ref());
                let q = self.heads_of(query.forward(normed)?, self.heads, norms.0, rotation)?;
                let k = self.heads_of(key.forward(normed)?, self.kv_heads, norms.1, rotation)?;
                let v = self.clipped(value.forward(normed)?)?;
                (q, k, v.reshape((tokens, self.kv_heads, self.value_dim))?)
            }
            Projections::Latent(latent) => self.latent(latent, normed, rotation, inputs)?,
        };
        let q = match self.growth {
            Some(growth) => q.broadcast_mul(&rope.growth(growth, tokens)?)?,
            None => q,
        };
        watch.see(Seen::Query, &q)?;
        watch.see(Seen::Key, &k)?;
        watch.see(Seen::Value, &v)?;
        let attended = attention::attend(&q, &k, &v, &self.scores, watch)?;
        watch.see(Seen::Attended, &attended)?;
        match &self.attended_norm {
            Some(norm) => norm.forward(&attended),
            None => Ok(attended),
        }
    }

    /// Queries, keys and values of latent attention, `[tokens, heads, width]` each.
    fn latent(
        &self,
        latent: &LatentProjections,
        normed: &Tensor,
        rotation: Option<&Rotation>,
        inputs: InputMode<'_>,
    ) -> CandleResult<(Tensor, Tensor, Tensor)> {
        let (tokens, _) = normed.dims2()?;
        let (heads, rope_dim) = (self.heads, latent.rope_dim);
        let q = match &latent.query {
            LatentQuery::Plain(query) => query.forward(normed)?,
            LatentQuery::Narrow { down, norm, up } => {
                let state = norm.forward(&down.forward(normed)?)?;
                up.forward(&inputs.pass(Input::QueryLatent, &state)?)?
            }
        };
        let q = self.heads_of(q, heads, None, rotation)?;
        let (shared, state) = latent.split(normed)?;
        let kv = latent.kv_up.forward(&inputs.pass(Input::KvLatent, &state)?)?;
        let plain = self.head_dim - rope_dim;
        let kv = kv.reshape((tokens, heads, plain + self.value_dim))?;
        let shared = shared.reshape((tokens, 1, rope_dim))?;
        let shared = match rotation {
            Some(rotation) => rotation.apply(&shared)?,
            None => shared,
        };
        let shared = shared.expand((tokens, heads, rope_dim))?.contiguous()?;
        let k = Tensor::cat(&[&shared, &kv.narrow(2, 0, plain)?], 2)?;
        Ok((q, k, kv.narrow(2, plain, self.value_dim)?.contiguous()?))
    }

    fn clipped(&self, y: Tensor) -> CandleResult<Tensor> {
        match self.clip {
            Some(clip) => y.clamp(-clip, clip),
            None => Ok(y),
        }
    }

    /// Makes heads of a projection's result, norms them if the family does, and rotates:
    /// `[tokens, heads, head_dim]`.
    fn heads_of(
        &self,
        y: Tensor,
        heads: usize,
        norm: Option<&NormLayer>,
        rotation: Option<&Rotation>,
    ) -> CandleResult<Tensor> {
        let (tokens, _) = y.dims2()?;
        let shape = (tokens, heads, self.head_dim);
        let normed = self.qk_norm.zip(norm);
        // transformers clamps what was normed (OLMoE) and what was not (OLMo).
        let y = match normed {
            Some((of, norm)) if !of.after_rope => self.norm_heads(&y, heads, of.over, norm)?,
            _ => y,
        };
        let y = self.clipped(y)?.reshape(shape)?;
        let y = match rotation {
            Some(rotation) => rotation.apply(&y)?,
            None => y,
        };
        match normed {
            Some((of, norm)) if of.after_rope => {
                let flat = y.reshape((tokens, heads * self.head_dim))?;
                self.norm_heads(&flat, heads, of.over, norm)?.reshape(shape)
            }
            _ => Ok(y),
        }
    }

    /// The norm of the heads of `y` `[tokens, heads * head_dim]`.
    fn norm_heads(
        &self,
        y: &Tensor,
        heads: usize,
        over: QkOver,
        norm: &NormLayer,
    ) -> CandleResult<Tensor> {
        let (tokens, width) = y.dims2()?;
        let rows = (tokens * heads, self.head_dim);
        match over {
            QkOver::All => norm.forward(y),
            QkOver::Head => norm.forward(&y.reshape(rows)?)?.reshape((tokens, width)),
            QkOver::HeadWithOwnGains => {
                let of_head = NormLayer { gain: None, bias: None, ..norm.clone() };
                norm.weigh(of_head.forward(&y.reshape(rows)?)?.reshape((tokens, width))?)
            }
        }
    }
}

impl ShortConv {
    /// The input of the output projection `[tokens, hidden]`.
    fn convolved(&self, normed: &Tensor, watch: &Watch) -> CandleResult<Tensor> {
        let (tokens, hidden) = normed.dims2()?;
        let all = self.input.forward(normed)?;
        let part = |index: usize| all.narrow(1, index * hidden, hidden)?.contiguous();
        let (before, after, x) = (part(0)?, part(1)?, part(2)?);
        let gated = (before * x)?;
        watch.see(Seen::Product, &gated)?;
        let kernel = self.kernel.weight.dim(1)?;
        let past = Tensor::zeros((kernel - 1, hidden), gated.dtype(), gated.device())?;
        let padded = Tensor::cat(&[&past, &gated], 0)?;
        let mut sum: Option<Tensor> = None;
        for tap in 0..kernel {
            let weights = self.kernel.weight.narrow(1, tap, 1)?.t()?;
            let term = padded.narrow(0, tap, tokens)?.broadcast_mul(&weights)?;
            sum = Some(match sum {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
        let convolved = match sum {
            Some(sum) => sum,
            None => gated.zeros_like()?,
        };
        let convolved = match &self.kernel.bias {
            Some(bias) => convolved.broadcast_add(bias)?,
            None => convolved,
        };
        let result = (convolved * after)?;
        watch.see(Seen::Attended, &result)?;
        Ok(result)
    }
}
