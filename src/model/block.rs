//! One decoder block over weights that it is handed.

use candle_core::{Result as CandleResult, Tensor};

use super::{RopeTables, attention, failed, ops};
use crate::checkpoint::Role;
use crate::checkpoint::config::Config;
use crate::error::{Error, Result};

/// A linear layer: `x Wᵀ + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// A block's weights as they come from the walk: tensors by role.
#[derive(Debug, Default)]
pub struct BlockWeights {
    linears: Vec<(Role, Linear)>,
    norms: Vec<(Role, Tensor)>,
}

impl BlockWeights {
    /// Adds a linear layer.
    pub fn linear(&mut self, role: Role, linear: Linear) {
        self.linears.push((role, linear));
    }

    /// Adds a norm's gain.
    pub fn norm(&mut self, role: Role, gain: Tensor) {
        self.norms.push((role, gain));
    }

    fn take_linear(&mut self, role: Role) -> Result<Linear> {
        let at = self.linears.iter().position(|(found, _)| *found == role);
        at.map(|at| self.linears.swap_remove(at).1).ok_or_else(|| missing(role))
    }

    fn take_norm(&mut self, role: Role) -> Result<Tensor> {
        let at = self.norms.iter().position(|(found, _)| *found == role);
        at.map(|at| self.norms.swap_remove(at).1).ok_or_else(|| missing(role))
    }
}

fn missing(role: Role) -> Error {
    Error::bug(format!("a block without {role:?}"))
}

/// One decoder block, ready to run.
#[derive(Debug)]
pub struct Block {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    eps: f64,
    attention_norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    head_norms: Option<(Tensor, Tensor)>,
    output: Linear,
    mlp_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    /// Puts the weights in place.
    ///
    /// # Errors
    /// A bug-class error when a role is missing.
    pub fn new(config: &Config, mut weights: BlockWeights) -> Result<Self> {
        let head_norms = match config.qk_norm {
            true => Some((weights.take_norm(Role::QueryNorm)?, weights.take_norm(Role::KeyNorm)?)),
            false => None,
        };
        Ok(Block {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            eps: config.rms_norm_eps,
            attention_norm: weights.take_norm(Role::AttentionNorm)?,
            query: weights.take_linear(Role::Query)?,
            key: weights.take_linear(Role::Key)?,
            value: weights.take_linear(Role::Value)?,
            head_norms,
            output: weights.take_linear(Role::Output)?,
            mlp_norm: weights.take_norm(Role::MlpNorm)?,
            gate: weights.take_linear(Role::Gate)?,
            up: weights.take_linear(Role::Up)?,
            down: weights.take_linear(Role::Down)?,
        })
    }

    /// `x` `[tokens, hidden]` to the block's output of the same shape.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn forward(&self, x: &Tensor, rope: &RopeTables) -> Result<Tensor> {
        self.attention(x, rope).and_then(|x| self.mlp(&x)).map_err(failed)
    }

    fn attention(&self, x: &Tensor, rope: &RopeTables) -> CandleResult<Tensor> {
        let (tokens, _) = x.dims2()?;
        let normed = ops::rms_norm(x, &self.attention_norm, self.eps)?;
        let (query_norm, key_norm) = self.head_norms.as_ref().map(|(q, k)| (q, k)).unzip();
        let q = self.heads_of(&self.query, &normed, self.heads, query_norm, rope)?;
        let k = self.heads_of(&self.key, &normed, self.kv_heads, key_norm, rope)?;
        let v = self.value.forward(&normed)?.reshape((tokens, self.kv_heads, self.head_dim))?;
        let attended = attention::attend(&q, &k, &v)?;
        ops::add(self.output.forward(&attended)?, x)
    }

    /// Projects, norms where the family does, and rotates: `[tokens, heads, head_dim]`.
    fn heads_of(
        &self,
        projection: &Linear,
        x: &Tensor,
        heads: usize,
        norm: Option<&Tensor>,
        rope: &RopeTables,
    ) -> CandleResult<Tensor> {
        let (tokens, _) = x.dims2()?;
        let mut y = projection.forward(x)?;
        if let Some(gain) = norm {
            y = ops::rms_norm(&y.reshape((tokens * heads, self.head_dim))?, gain, self.eps)?;
        }
        let y = y.reshape((1, tokens, heads, self.head_dim))?;
        let (cos, sin) = (rope.cos.narrow(0, 0, tokens)?, rope.sin.narrow(0, 0, tokens)?);
        candle_nn::rotary_emb::rope_thd(&y, &cos, &sin)?.squeeze(0)
    }

    fn mlp(&self, x: &Tensor) -> CandleResult<Tensor> {
        let normed = ops::rms_norm(x, &self.mlp_norm, self.eps)?;
        let inner = ops::swiglu(self.gate.forward(&normed)?, &self.up.forward(&normed)?)?;
        ops::add(self.down.forward(&inner)?, x)
    }
}
