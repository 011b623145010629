//! A dense block that can be differentiated by its weights and by its input.
//!
//! It computes the same function as [`Block`](super::Block), in operations that candle's autograd
//! knows. It keeps all intermediate results and is slower, so only tuning uses it.

use candle_core::{D, Device, Result as CandleResult, Tensor, Var};

use super::backend::product;
use super::block_weights::{BlockWeights, LinearLayer};
use super::failed;
use super::rope::{RopeTables, Rotation};
use crate::checkpoint::Role;
use crate::checkpoint::config::Config;
use crate::error::{Error, Result};

const LINEARS: [Role; 7] =
    [Role::Query, Role::Key, Role::Value, Role::Output, Role::Gate, Role::Up, Role::Down];

/// A block whose weights are variables.
pub struct DifferentiableBlock {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    eps: f64,
    window: Option<usize>,
    /// Weights `[out, in]` and gains, by role.
    variables: Vec<(Role, Var)>,
    biases: Vec<(Role, Tensor)>,
}

/// A projection whose outputs are heads: queries or keys.
struct HeadProjection {
    /// The projection's weight.
    role: Role,
    /// The norm of its heads, in families that have one.
    norm: Role,
    heads: usize,
}

/// Derivatives of a block.
pub struct Gradients {
    /// By each weight and gain, in the same shape.
    pub weights: Vec<(Role, Tensor)>,
    /// By the block's input, `[tokens, hidden]`, if asked for.
    pub input: Option<Tensor>,
}

impl DifferentiableBlock {
    /// Block `layer` with these weights.
    ///
    /// # Errors
    /// Bug-class errors for a mixture of experts or attention sinks, which cannot be tuned, and if a
    /// role is missing.
    pub fn new(config: &Config, layer: usize, mut weights: BlockWeights) -> Result<Self> {
        if config.experts.is_some() || config.sinks {
            return Err(Error::bug("cannot differentiate a block with experts or attention sinks"));
        }
        let (mut variables, mut biases) = (Vec::new(), Vec::new());
        for role in LINEARS {
            let LinearLayer { weight, bias } = weights.take_linear(role)?;
            variables.push((role, Var::from_tensor(&weight).map_err(failed)?));
            biases.extend(bias.map(|bias| (role, bias)));
        }
        let norms = [Role::AttentionNorm, Role::MlpNorm];
        let of_heads = [Role::QueryNorm, Role::KeyNorm];
        for role in
            norms.into_iter().chain(of_heads.into_iter().filter(|_| config.qk_norm.is_some()))
        {
            variables.push((role, Var::from_tensor(&weights.take_vector(role)?).map_err(failed)?));
        }
        Ok(DifferentiableBlock {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            eps: config.norm.eps,
            window: config.window_tokens(layer),
            variables,
            biases,
        })
    }

    /// The weight or gain with a role.
    pub fn variable(&self, role: Role) -> Option<&Var> {
        self.variables.iter().find(|(found, _)| *found == role).map(|(_, variable)| variable)
    }

    /// Runs the block on `x` `[tokens, hidden]` and returns the derivatives of a loss `L`. For
    /// outputs `y`, `weigh` returns `∂L/∂y`, in the same shape.
    ///
    /// # Errors
    /// Errors of `weigh`; bug-class errors from candle.
    pub fn gradients(
        &self,
        x: &Tensor,
        rope: &RopeTables,
        wants_input: bool,
        weigh: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Gradients> {
        let input = if wants_input { Some(Var::from_tensor(x).map_err(failed)?) } else { None };
        let y = self.forward(input.as_ref().map_or(x, Var::as_tensor), rope).map_err(failed)?;
        let weights = weigh(&y.detach())?;
        let derive = || (y * weights)?.sum_all()?.backward();
        let mut store = derive().map_err(failed)?;
        let mut take = |role: Role, variable: &Var| {
            let none = || Error::bug(format!("candle found no gradient of {role:?}"));
            store.remove(variable).ok_or_else(none).map(|gradient| (role, gradient))
        };
        let weights = self
            .variables
            .iter()
            .map(|(role, variable)| take(*role, variable))
            .collect::<Result<_>>()?;
        let input = input.and_then(|input| store.remove(&input));
        Ok(Gradients { weights, input })
    }

    /// Runs the block on `x` `[tokens, hidden]`, for autograd.
    ///
    /// # Errors
    /// Candle's errors.
    pub fn forward(&self, x: &Tensor, rope: &RopeTables) -> CandleResult<Tensor> {
        let normed = self.norm(x, Role::AttentionNorm)?;
        let x = (self.linear(&self.attend(&normed, rope)?, Role::Output)? + x)?;
        let normed = self.norm(&x, Role::MlpNorm)?;
        let gate = self.linear(&normed, Role::Gate)?.silu()?;
        self.linear(&(gate * self.linear(&normed, Role::Up)?)?, Role::Down)? + x
    }

    fn attend(&self, normed: &Tensor, rope: &RopeTables) -> CandleResult<Tensor> {
        let (tokens, _) = normed.dims2()?;
        let (heads, group) = (self.heads, self.heads / self.kv_heads);
        let of_queries = HeadProjection { role: Role::Query, norm: Role::QueryNorm, heads };
        let of_keys = HeadProjection { role: Role::Key, norm: Role::KeyNorm, heads: self.kv_heads };
        let q = self.heads_of(normed, of_queries, rope)?;
        let k = self.heads_of(normed, of_keys, rope)?;
        let v = self.linear(normed, Role::Value)?;
        let v = v.reshape((tokens, self.kv_heads, self.head_dim))?.transpose(0, 1)?.contiguous()?;
        let q = (q.reshape((self.kv_heads, group * tokens, self.head_dim))?
            * (1.0 / (self.head_dim as f64).sqrt()))?;
        let scores = product(&q, &k.t()?.contiguous()?)?.reshape((heads, tokens, tokens))?;
        let scores = scores.broadcast_add(&self.mask(tokens, scores.device())?)?;
        let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
        let weights = weights.reshape((self.kv_heads, group * tokens, tokens))?;
        let attended = product(&weights, &v)?.reshape((heads, tokens, self.head_dim))?;
        attended.transpose(0, 1)?.reshape((tokens, heads * self.head_dim))
    }

    /// The mask `[1, tokens, tokens]`: 0 if a query sees a key, else minus infinity.
    fn mask(&self, tokens: usize, device: &Device) -> CandleResult<Tensor> {
        let window = self.window.unwrap_or(tokens);
        let sees = |query: usize, key: usize| key <= query && query - key < window;
        let of = |query| (0..tokens).map(move |key| (query, key));
        let mask = (0..tokens).flat_map(of);
        let mask: Vec<f32> =
            mask.map(|(q, k)| if sees(q, k) { 0.0 } else { f32::NEG_INFINITY }).collect();
        Tensor::from_vec(mask, (1, tokens, tokens), device)
    }

    /// Projects to heads, norms them if the family does, and rotates: `[heads, tokens, head_dim]`.
    fn heads_of(
        &self,
        x: &Tensor,
        projection: HeadProjection,
        rope: &RopeTables,
    ) -> CandleResult<Tensor> {
        let HeadProjection { role, norm, heads } = projection;
        let (tokens, half) = (x.dim(0)?, self.head_dim / 2);
        let mut y = self.linear(x, role)?.reshape((tokens, heads, self.head_dim))?;
        if self.variable(norm).is_some() {
            y = self.norm(&y, norm)?;
        }
        let y = y.transpose(0, 1)?;
        let (a, b) = (y.narrow(D::Minus1, 0, half)?, y.narrow(D::Minus1, half, half)?);
        let Rotation { cos, sin } = rope.rotation(0, tokens)?;
        let (cos, sin) = (cos.unsqueeze(0)?, sin.unsqueeze(0)?);
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        Tensor::cat(&[first, second], D::Minus1)?.contiguous()
    }

    fn norm(&self, x: &Tensor, role: Role) -> CandleResult<Tensor> {
        normed(x, self.find(role)?, self.eps)
    }

    fn linear(&self, x: &Tensor, role: Role) -> CandleResult<Tensor> {
        let y = product(x, &self.find(role)?.t()?)?;
        match self.biases.iter().find(|(found, _)| *found == role) {
            Some((_, bias)) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    fn find(&self, role: Role) -> CandleResult<&Tensor> {
        let missing = || candle_core::Error::Msg(format!("the block has no {role:?}"));
        self.variable(role).map(Var::as_tensor).ok_or_else(missing)
    }
}

/// The derivatives by `x` and by `gain` of a loss `L` of the norm of `x`; `weights`
/// `[tokens, hidden]` are the derivatives of `L` by the norm's outputs.
///
/// # Errors
/// Bug-class errors from candle.
pub fn norm_gradients(
    x: &Tensor,
    gain: &Tensor,
    eps: f64,
    weights: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let derive = || -> CandleResult<_> {
        let (x, gain) = (Var::from_tensor(x)?, Var::from_tensor(gain)?);
        let y = normed(&x, &gain, eps)?;
        let mut store = (y * weights)?.sum_all()?.backward()?;
        Ok((store.remove(&x), store.remove(&gain)))
    };
    match derive().map_err(failed)? {
        (Some(by_x), Some(by_gain)) => Ok((by_x, by_gain)),
        _ => Err(Error::bug("candle found no gradients of a norm")),
    }
}

fn normed(x: &Tensor, gain: &Tensor, eps: f64) -> CandleResult<Tensor> {
    let square = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&square)?.broadcast_mul(gain)
}
