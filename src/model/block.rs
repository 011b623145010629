//! One decoder block, which gets its weights from the caller.

use candle_core::{Result as CandleResult, Tensor};

use super::block_weights::{BlockWeights, LinearLayer, missing};
use super::inputs::{Input, InputMode};
use super::magnitude::{Activation as Seen, Watch};
use super::rope::RopeTables;
use super::routing::Routed;
use super::{attention, failed, ops, values};
use crate::checkpoint::Role;
use crate::checkpoint::config::{Activation, Config, Experts};
use crate::error::Result;

/// One decoder block, ready to run.
#[derive(Debug)]
pub struct Block {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    eps: f64,
    attention_norm: Tensor,
    query: LinearLayer,
    key: LinearLayer,
    value: LinearLayer,
    head_norms: Option<(Tensor, Tensor)>,
    output: LinearLayer,
    sinks: Option<Vec<f32>>,
    window: Option<usize>,
    mlp_norm: Tensor,
    mlp: BlockMlp,
}

/// The part of a block after attention.
#[derive(Debug)]
enum BlockMlp {
    Dense(Mlp),
    /// The router. The caller runs the experts, one at a time.
    Experts(Experts, LinearLayer),
}

/// The gate, up and down projections of a dense block or of one expert.
#[derive(Debug)]
pub struct Mlp {
    gate: LinearLayer,
    up: LinearLayer,
    down: LinearLayer,
    activation: Activation,
}

impl Mlp {
    /// An MLP with these weights.
    ///
    /// # Errors
    /// A bug-class error if a role is missing.
    pub fn new(config: &Config, mut weights: BlockWeights) -> Result<Self> {
        Self::take(config, &mut weights)
    }

    fn take(config: &Config, weights: &mut BlockWeights) -> Result<Self> {
        let activation = config.experts.as_ref().map_or(Activation::SwiGlu, |e| e.activation);
        Ok(Mlp {
            gate: weights.take_linear(Role::Gate)?,
            up: weights.take_linear(Role::Up)?,
            down: weights.take_linear(Role::Down)?,
            activation,
        })
    }

    /// The MLP's output for `x` `[tokens, hidden]`, which is normed; same shape.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_watched(x, &Watch::off())
    }

    /// The same, seen by `watch`.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn forward_watched(&self, x: &Tensor, watch: &Watch) -> Result<Tensor> {
        self.run(x, InputMode::AsComputed, watch).map_err(failed)
    }

    fn run(&self, x: &Tensor, inputs: InputMode<'_>, watch: &Watch) -> CandleResult<Tensor> {
        let inner = self.inner_watched(&inputs.pass(Input::Mlp, x)?, watch)?;
        self.down.forward(&inputs.pass(Input::Down, &inner)?)
    }

    /// The input `[tokens, intermediate]` of `down`, from normed states `[tokens, hidden]`.
    ///
    /// # Errors
    /// Candle's errors.
    pub fn inner(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.inner_watched(x, &Watch::off())
    }

    fn inner_watched(&self, x: &Tensor, watch: &Watch) -> CandleResult<Tensor> {
        let (gate, up) = (self.gate.forward(x)?, self.up.forward(x)?);
        let inner = match self.activation {
            Activation::SwiGlu => {
                watch.see(Seen::Gate, &gate)?;
                watch.see(Seen::Up, &up)?;
                ops::swiglu(gate, &up)?
            }
            // An infinite gate is clamped as any other.
            Activation::ClampedSwiGlu { limit } => ops::clamped_swiglu(gate, &up, limit)?,
        };
        watch.see(Seen::Product, &inner)?;
        Ok(inner)
    }

    /// The MLP's output `[tokens, hidden]`, from the result of [`inner`](Self::inner).
    ///
    /// # Errors
    /// Candle's errors.
    pub fn down(&self, inner: &Tensor) -> CandleResult<Tensor> {
        self.down.forward(inner)
    }

    /// The linear layer with a role.
    fn linear_mut(&mut self, role: Role) -> Option<&mut LinearLayer> {
        match role {
            Role::Gate => Some(&mut self.gate),
            Role::Up => Some(&mut self.up),
            Role::Down => Some(&mut self.down),
            _ => None,
        }
    }

    /// The weight `[out, in]` of a linear layer.
    ///
    /// # Errors
    /// A bug-class error if an MLP does not have the role.
    pub fn weight(&mut self, role: Role) -> Result<Tensor> {
        self.linear_mut(role).map(|linear| linear.weight.clone()).ok_or_else(|| missing(role))
    }

    /// Replaces the weight `[out, in]` of a linear layer.
    ///
    /// # Errors
    /// A bug-class error if an MLP does not have the role.
    pub fn replace(&mut self, role: Role, weight: Tensor) -> Result<()> {
        let linear = self.linear_mut(role).ok_or_else(|| missing(role))?;
        linear.weight = weight;
        Ok(())
    }
}

impl Block {
    /// Block `layer` with these weights.
    ///
    /// # Errors
    /// A bug-class error if a role is missing.
    pub fn new(config: &Config, layer: usize, mut weights: BlockWeights) -> Result<Self> {
        let head_norms = if config.qk_norm {
            Some((weights.take_norm(Role::QueryNorm)?, weights.take_norm(Role::KeyNorm)?))
        } else {
            None
        };
        let mlp = match &config.experts {
            None => BlockMlp::Dense(Mlp::take(config, &mut weights)?),
            Some(experts) => BlockMlp::Experts(experts.clone(), weights.take_linear(Role::Router)?),
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
            sinks: weights.sinks.take(),
            window: config.window_tokens(layer),
            mlp,
        })
    }

    /// Runs the block on `x` `[tokens, hidden]`. A dense block returns its output, of the same
    /// shape. A mixture of experts returns the states after attention and the routing of each
    /// token.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn forward(&self, x: &Tensor, rope: &RopeTables) -> Result<(Tensor, Option<Routed>)> {
        self.forward_with(x, rope, InputMode::AsComputed, &Watch::off())
    }

    /// The same, with the inputs of linear layers treated as `inputs` says, except the router's, and
    /// seen by `watch`.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn forward_with(
        &self,
        x: &Tensor,
        rope: &RopeTables,
        inputs: InputMode<'_>,
        watch: &Watch,
    ) -> Result<(Tensor, Option<Routed>)> {
        let x = self.attention(x, rope, inputs, watch).map_err(failed)?;
        let normed = self.mlp_input(&x).map_err(failed)?;
        watch.see(Seen::MlpInput, &normed).map_err(failed)?;
        if let Some(mlp) = self.mlp() {
            let y = mlp.run(&normed, inputs, watch).and_then(|y| ops::add(y, &x));
            let y = y.map_err(failed)?;
            watch.see(Seen::StatesAfterMlp, &y).map_err(failed)?;
            return Ok((y, None));
        }
        Ok((x, self.route_watched(normed, watch)?))
    }

    fn attention(
        &self,
        x: &Tensor,
        rope: &RopeTables,
        inputs: InputMode<'_>,
        watch: &Watch,
    ) -> CandleResult<Tensor> {
        let normed = inputs.pass(Input::Attention, &self.attention_input(x)?)?;
        watch.see(Seen::AttentionInput, &normed)?;
        let attended = self.attended_watched(&normed, rope, watch)?;
        let states = self.output(&inputs.pass(Input::Output, &attended)?, x)?;
        watch.see(Seen::StatesAfterAttention, &states)?;
        Ok(states)
    }

    /// The input of queries, keys and values: `x` `[tokens, hidden]`, normed.
    ///
    /// # Errors
    /// Candle's errors, as for all stages.
    pub fn attention_input(&self, x: &Tensor) -> CandleResult<Tensor> {
        ops::rms_norm(x, &self.attention_norm, self.eps)
    }

    /// The input `[tokens, heads * head_dim]` of the output projection, from the normed states of
    /// one window.
    pub fn attended(&self, normed: &Tensor, rope: &RopeTables) -> CandleResult<Tensor> {
        self.attended_watched(normed, rope, &Watch::off())
    }

    fn attended_watched(
        &self,
        normed: &Tensor,
        rope: &RopeTables,
        watch: &Watch,
    ) -> CandleResult<Tensor> {
        let (tokens, _) = normed.dims2()?;
        let (query_norm, key_norm) = self.head_norms.as_ref().map(|(q, k)| (q, k)).unzip();
        let q = self.heads_of(&self.query, normed, self.heads, query_norm, rope)?;
        let k = self.heads_of(&self.key, normed, self.kv_heads, key_norm, rope)?;
        let v = self.value.forward(normed)?.reshape((tokens, self.kv_heads, self.head_dim))?;
        watch.see(Seen::Query, &q)?;
        watch.see(Seen::Key, &k)?;
        watch.see(Seen::Value, &v)?;
        let attended = attention::attend(&q, &k, &v, self.window, self.sinks.as_ref(), watch)?;
        watch.see(Seen::Attended, &attended)?;
        Ok(attended)
    }

    /// The states after attention: the output projection of `attended`, plus `x`.
    pub fn output(&self, attended: &Tensor, x: &Tensor) -> CandleResult<Tensor> {
        ops::add(self.output.forward(attended)?, x)
    }

    /// The input of the MLP or the router: the states after attention, normed.
    pub fn mlp_input(&self, x: &Tensor) -> CandleResult<Tensor> {
        ops::rms_norm(x, &self.mlp_norm, self.eps)
    }

    /// The MLP, or `None` for a mixture of experts.
    pub fn mlp(&self) -> Option<&Mlp> {
        match &self.mlp {
            BlockMlp::Dense(mlp) => Some(mlp),
            BlockMlp::Experts(..) => None,
        }
    }

    /// The routing of each token, from the result of [`mlp_input`](Self::mlp_input), or `None` for
    /// a dense block.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn route(&self, normed: Tensor) -> Result<Option<Routed>> {
        self.route_watched(normed, &Watch::off())
    }

    fn route_watched(&self, normed: Tensor, watch: &Watch) -> Result<Option<Routed>> {
        let BlockMlp::Experts(experts, router) = &self.mlp else { return Ok(None) };
        let logits = router.forward(&normed).map_err(failed)?;
        watch.see(Seen::Router, &logits).map_err(failed)?;
        let logits = values(&logits)?;
        Ok(Some(Routed::new(normed, &logits, experts)))
    }

    /// The linear layer with a role.
    fn linear_mut(&mut self, role: Role) -> Option<&mut LinearLayer> {
        match role {
            Role::Query => Some(&mut self.query),
            Role::Key => Some(&mut self.key),
            Role::Value => Some(&mut self.value),
            Role::Output => Some(&mut self.output),
            _ => match &mut self.mlp {
                BlockMlp::Dense(mlp) => mlp.linear_mut(role),
                BlockMlp::Experts(..) => None,
            },
        }
    }

    /// The weight `[out, in]` of a linear layer.
    ///
    /// # Errors
    /// A bug-class error if the block does not have the role.
    pub fn weight(&mut self, role: Role) -> Result<Tensor> {
        self.linear_mut(role).map(|linear| linear.weight.clone()).ok_or_else(|| missing(role))
    }

    /// Replaces the weight `[out, in]` of a linear layer.
    ///
    /// # Errors
    /// A bug-class error if the block does not have the role.
    pub fn replace(&mut self, role: Role, weight: Tensor) -> Result<()> {
        let linear = self.linear_mut(role).ok_or_else(|| missing(role))?;
        linear.weight = weight;
        Ok(())
    }

    /// Projects to heads, norms them if the family does, and rotates: `[tokens, heads, head_dim]`.
    fn heads_of(
        &self,
        projection: &LinearLayer,
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
}
