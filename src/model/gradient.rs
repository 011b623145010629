//! A dense block that can be differentiated by its weights and by its input.
//!
//! It computes the same function as [`Block`](super::Block), in operations that candle's autograd
//! knows. It keeps all intermediate results and is slower, so only tuning uses it.

use candle_core::{D, Device, Result as CandleResult, Tensor, Var};

use super::backend::product;
use super::block_weights::{BlockWeights, LinearLayer};
use super::norm::NormLayer;
use super::ops::ActivationFunction;
use super::rope::{RopeTables, Rotation};
use super::{failed, mlp};
use crate::checkpoint::config::{Config, Mixer, NormKind, QkNorm, QkOver};
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};

const LINEARS: [Role; 7] =
    [Role::Query, Role::Key, Role::Value, Role::Output, Role::Gate, Role::Up, Role::Down];

/// A block whose weights are variables.
pub struct DifferentiableBlock {
    config: Config,
    layer: usize,
    window: Option<usize>,
    rope: Option<usize>,
    activation: ActivationFunction,
    /// Weights `[out, in]` and gains, by role.
    variables: Vec<(Role, Var)>,
    /// Of linear layers and norms.
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
    /// Bug-class errors for a block that cannot be tuned ([`Config::untunable`]), and if a role is missing.
    pub fn new(config: &Config, layer: usize, mut weights: BlockWeights) -> Result<Self> {
        let (None, Mixer::Attention { window, rope }) =
            (config.untunable(), config.kind(layer).mixer)
        else {
            return Err(Error::bug("cannot differentiate a block of this kind"));
        };
        let (mut variables, mut biases) = (Vec::new(), Vec::new());
        let variable = |tensor: &Tensor| Var::from_tensor(tensor).map_err(failed);
        for role in LINEARS.into_iter().filter(|role| config.has_role(layer, *role)) {
            let LinearLayer { weight, bias } = weights.take_linear(role)?;
            variables.push((role, variable(&weight)?));
            biases.extend(bias.map(|bias| (role, bias)));
        }
        let of_states =
            [Role::AttentionNorm, Role::MlpNorm, Role::PostAttentionNorm, Role::PostMlpNorm];
        for role in of_states {
            let is_there = config.has_role(layer, role);
            let Some(norm) = weights.take_state_norm(config, is_there, role)? else { continue };
            if let Some(gain) = &norm.gain {
                variables.push((role, variable(gain)?));
            }
            biases.extend(norm.bias.map(|bias| (role, bias)));
        }
        let inner = [Role::QueryNorm, Role::KeyNorm, Role::AttendedNorm, Role::InnerNorm];
        for role in inner.into_iter().filter(|role| config.has_role(layer, *role)) {
            variables.push((role, variable(&weights.take_vector(role)?)?));
            let has_bias = config.has_bias(TensorId::block(layer, role));
            biases.extend(weights.take_norm_bias(has_bias, role)?.map(|bias| (role, bias)));
        }
        let activation = mlp::activation(config, &mut weights)?;
        Ok(DifferentiableBlock {
            config: config.clone(),
            layer,
            window,
            rope,
            activation,
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
        let placement = self.config.placement;
        let read = self.states(x, placement.before_attention, Role::AttentionNorm)?;
        let mixed = self.linear(&self.attend(&read, rope)?, Role::Output)?;
        let after = self.add(mixed, placement.after_attention, Role::PostAttentionNorm, x)?;
        let input = match (placement.parallel, placement.before_mlp) {
            (false, is_there) => self.states(&after, is_there, Role::MlpNorm)?,
            (true, true) => self.states(x, true, Role::MlpNorm)?,
            (true, false) => read,
        };
        let y = self.mlp(&input)?;
        self.add(y, placement.after_mlp, Role::PostMlpNorm, &after)
    }

    fn mlp(&self, x: &Tensor) -> CandleResult<Tensor> {
        let inner = if self.config.gated {
            let gate = self.activation.differentiable(&self.linear(x, Role::Gate)?)?;
            (gate * self.linear(x, Role::Up)?)?
        } else {
            self.activation.differentiable(&self.linear(x, Role::Up)?)?
        };
        self.linear(&self.inner_norm(inner, Role::InnerNorm)?, Role::Down)
    }

    /// `y`, normed and scaled as the family does, plus `x`.
    fn add(&self, y: Tensor, is_normed: bool, role: Role, x: &Tensor) -> CandleResult<Tensor> {
        let y = self.states(&y, is_normed, role)?;
        match self.config.residual_scale {
            1.0 => y + x,
            scale => (y * f64::from(scale))? + x,
        }
    }

    fn attend(&self, normed: &Tensor, rope: &RopeTables) -> CandleResult<Tensor> {
        let Config { heads, kv_heads, head_dim, value_dim, .. } = self.config;
        let (tokens, _) = normed.dims2()?;
        let group = heads / kv_heads;
        let of_queries = HeadProjection { role: Role::Query, norm: Role::QueryNorm, heads };
        let of_keys = HeadProjection { role: Role::Key, norm: Role::KeyNorm, heads: kv_heads };
        let q = self.heads_of(normed, of_queries, rope)?;
        let q = match self.config.query_growth {
            Some(growth) => {
                let factors = rope.growth(growth, tokens)?.reshape((1, tokens, 1))?;
                q.broadcast_mul(&factors)?.contiguous()?
            }
            None => q,
        };
        let k = self.heads_of(normed, of_keys, rope)?;
        let v = self.clipped(self.linear(normed, Role::Value)?)?;
        let v = v.reshape((tokens, kv_heads, value_dim))?.transpose(0, 1)?.contiguous()?;
        let q = (q.reshape((kv_heads, group * tokens, head_dim))? * self.attention_scale())?;
        let scores = product(&q, &k.t()?.contiguous()?)?.reshape((heads, tokens, tokens))?;
        let scores = match self.config.attention_softcap {
            Some(cap) => ((scores / cap)?.tanh()? * cap)?,
            None => scores,
        };
        let scores = scores.broadcast_add(&self.mask(tokens, scores.device())?)?;
        let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
        let weights = weights.reshape((kv_heads, group * tokens, tokens))?;
        let attended = product(&weights, &v)?.reshape((heads, tokens, value_dim))?;
        let attended = attended.transpose(0, 1)?.reshape((tokens, heads * value_dim))?;
        self.inner_norm(attended, Role::AttendedNorm)
    }

    fn attention_scale(&self) -> f64 {
        let (scale, head_dim) = (self.config.score_scale(self.layer), self.config.head_dim);
        if scale == Config::usual_scale(head_dim) {
            1.0 / (head_dim as f64).sqrt()
        } else {
            f64::from(scale)
        }
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
        let (tokens, head_dim) = (x.dim(0)?, self.config.head_dim);
        let qk_norm = self.config.qk_norm;
        let y = self.linear(x, role)?;
        let y = match qk_norm {
            Some(of) if !of.after_rope => self.norm_heads(y, heads, of, norm)?,
            _ => y,
        };
        let y = self.clipped(y)?.reshape((tokens, heads, head_dim))?.transpose(0, 1)?;
        let y = match self.rope {
            Some(index) => rotate(&y, &rope.rotation(index, tokens)?)?,
            None => y.contiguous()?,
        };
        match qk_norm {
            Some(of) if of.after_rope => {
                let flat = y.transpose(0, 1)?.reshape((tokens, heads * head_dim))?;
                let normed = self.norm_heads(flat, heads, of, norm)?;
                normed.reshape((tokens, heads, head_dim))?.transpose(0, 1)?.contiguous()
            }
            _ => Ok(y),
        }
    }

    /// The norm of the heads of `y` `[tokens, heads * head_dim]`.
    fn norm_heads(
        &self,
        y: Tensor,
        heads: usize,
        QkNorm { kind, over, .. }: QkNorm,
        role: Role,
    ) -> CandleResult<Tensor> {
        let (tokens, width) = y.dims2()?;
        let (gain, eps) = (self.find(role)?, self.config.norm.eps);
        let of_heads = (tokens, heads, self.config.head_dim);
        match over {
            QkOver::All => self.with_bias(normed(&y, kind, eps)?.broadcast_mul(gain)?, role),
            QkOver::Head => {
                let y = normed(&y.reshape(of_heads)?, kind, eps)?.broadcast_mul(gain)?;
                self.with_bias(y, role)?.reshape((tokens, width))
            }
            QkOver::HeadWithOwnGains => {
                let y = normed(&y.reshape(of_heads)?, kind, eps)?;
                self.with_bias(y.reshape((tokens, width))?.broadcast_mul(gain)?, role)
            }
        }
    }

    fn clipped(&self, y: Tensor) -> CandleResult<Tensor> {
        match self.config.clip_qkv {
            Some(clip) => y.clamp(-clip, clip),
            None => Ok(y),
        }
    }

    /// The norm of hidden states, if the family has it.
    fn states(&self, x: &Tensor, is_there: bool, role: Role) -> CandleResult<Tensor> {
        if !is_there {
            return Ok(x.clone());
        }
        let y = normed(x, self.config.norm.kind, self.config.norm.eps)?;
        let y = match self.variable(role) {
            Some(gain) => y.broadcast_mul(gain)?,
            None => y,
        };
        self.with_bias(y, role)
    }

    /// The norm before a last projection, if the family has it.
    fn inner_norm(&self, x: Tensor, role: Role) -> CandleResult<Tensor> {
        match self.variable(role) {
            Some(gain) => normed(&x, NormKind::Rms, self.config.norm.eps)?.broadcast_mul(gain),
            None => Ok(x),
        }
    }

    fn linear(&self, x: &Tensor, role: Role) -> CandleResult<Tensor> {
        self.with_bias(product(x, &self.find(role)?.t()?)?, role)
    }

    fn with_bias(&self, y: Tensor, role: Role) -> CandleResult<Tensor> {
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

/// Rotates the first dimensions of heads `[heads, tokens, head_dim]`.
fn rotate(y: &Tensor, Rotation { cos, sin }: &Rotation) -> CandleResult<Tensor> {
    let (half, head_dim) = (cos.dim(1)?, y.dim(D::Minus1)?);
    let (a, b) = (y.narrow(D::Minus1, 0, half)?, y.narrow(D::Minus1, half, half)?);
    let (cos, sin) = (cos.unsqueeze(0)?, sin.unsqueeze(0)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let mut parts = vec![first, second];
    if head_dim > 2 * half {
        parts.push(y.narrow(D::Minus1, 2 * half, head_dim - 2 * half)?);
    }
    Tensor::cat(&parts, D::Minus1)?.contiguous()
}

/// The derivatives by `x` and by the gain, if there is one, of a loss `L` of the norm of `x`; `weights`
/// `[tokens, hidden]` are the derivatives of `L` by the norm's outputs.
///
/// # Errors
/// Bug-class errors from candle.
pub fn norm_gradients(
    x: &Tensor,
    norm: &NormLayer,
    weights: &Tensor,
) -> Result<(Tensor, Option<Tensor>)> {
    let derive = || -> CandleResult<_> {
        let x = Var::from_tensor(x)?;
        let gain = norm.gain.as_ref().map(Var::from_tensor).transpose()?;
        // What is added has no part in the derivatives.
        let y = normed(&x, norm.kind, norm.eps)?;
        let y = match &gain {
            Some(gain) => y.broadcast_mul(gain)?,
            None => y,
        };
        let mut store = (y * weights)?.sum_all()?.backward()?;
        let by_gain = gain.as_ref().map(|gain| store.remove(gain));
        Ok((store.remove(&x), by_gain))
    };
    match derive().map_err(failed)? {
        (Some(by_x), None) => Ok((by_x, None)),
        (Some(by_x), Some(Some(by_gain))) => Ok((by_x, Some(by_gain))),
        _ => Err(Error::bug("candle found no gradients of a norm")),
    }
}

/// The norm of the last dimension, without gains.
fn normed(x: &Tensor, kind: NormKind, eps: f64) -> CandleResult<Tensor> {
    let x = match kind {
        NormKind::Rms => x.clone(),
        NormKind::Layer => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
    };
    let root = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&root)
}
