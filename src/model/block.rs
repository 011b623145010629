//! One decoder block, which gets its weights from the caller.

use candle_core::{Result as CandleResult, Tensor};

use super::block_weights::{BlockWeights, LinearLayer, missing};
use super::inputs::{Input, InputMode};
use super::magnitude::{Activation as Seen, Watch};
use super::mixer::MixerBlock;
use super::mlp::{Mlp, PLAIN_ROLES, SHARED_ROLES};
use super::norm::NormLayer;
use super::rope::RopeTables;
use super::routing::Routed;
use super::{failed, ops, values};
use crate::checkpoint::Role;
use crate::checkpoint::config::{Config, Experts, Mixer};
use crate::error::Result;

/// One decoder block, ready to run.
///
/// ```text
/// x ─> norm ─> mixer ─> output ─> norm ─> + ─> norm ─> MLP or router ─> norm ─> +
/// ```
/// Which norms there are, and whether the MLP reads what the mixer reads, is the family's
/// [`Placement`](crate::checkpoint::config::Placement).
#[derive(Debug)]
pub struct Block {
    attention_norm: Option<NormLayer>,
    mixer: MixerBlock,
    output_role: Role,
    output: LinearLayer,
    post_attention_norm: Option<NormLayer>,
    mlp_norm: Option<NormLayer>,
    mlp: BlockMlp,
    post_mlp_norm: Option<NormLayer>,
    is_parallel: bool,
    residual_scale: f32,
    /// In packages states between layers are this much smaller.
    package_scale: f32,
}

/// The part of a block after attention.
#[derive(Debug)]
enum BlockMlp {
    Dense(Mlp),
    /// The router and the shared expert. The caller runs the other experts, one at a time.
    Experts(Box<Mixture>),
}

#[derive(Debug)]
struct Mixture {
    experts: Experts,
    router: LinearLayer,
    correction: Option<Vec<f32>>,
    shared: Option<Shared>,
}

/// The shared expert, and the projection whose sigmoid its result is multiplied by.
#[derive(Debug)]
struct Shared {
    mlp: Mlp,
    gate: Option<LinearLayer>,
}

impl Mixture {
    fn take(config: &Config, experts: &Experts, weights: &mut BlockWeights) -> Result<Self> {
        let correction = experts.has_correction();
        let gated = |shared: &crate::checkpoint::config::SharedExpert| shared.gated;
        let shared = match &experts.shared {
            None => None,
            Some(shared) => Some(Shared {
                mlp: Mlp::take(config, weights, SHARED_ROLES)?,
                gate: weights.take_linear_if(gated(shared), Role::SharedRouter)?,
            }),
        };
        Ok(Mixture {
            experts: experts.clone(),
            router: weights.take_linear(Role::Router)?,
            correction: correction
                .then(|| weights.take_numbers(Role::RouterCorrection))
                .transpose()?,
            shared,
        })
    }
}

impl Shared {
    fn run(&self, x: &Tensor, inputs: InputMode<'_>, watch: &Watch) -> CandleResult<Tensor> {
        let inner = self.mlp.inner_watched(&inputs.pass(Input::Mlp, x)?, watch)?;
        let y = self.mlp.down(&inputs.pass(Input::SharedDown, &inner)?)?;
        self.gated(x, y)
    }

    /// The result of the expert times the sigmoid of its gate for the input `x`.
    fn gated(&self, x: &Tensor, y: Tensor) -> CandleResult<Tensor> {
        match &self.gate {
            Some(gate) => y.broadcast_mul(&candle_nn::ops::sigmoid(&gate.forward(x)?)?),
            None => Ok(y),
        }
    }
}

impl Block {
    /// Block `layer` with these weights.
    ///
    /// # Errors
    /// A bug-class error if a role is missing.
    pub fn new(config: &Config, layer: usize, mut weights: BlockWeights) -> Result<Self> {
        let mlp = match config.mixture(layer) {
            None => BlockMlp::Dense(Mlp::take(config, &mut weights, PLAIN_ROLES)?),
            Some(experts) => {
                BlockMlp::Experts(Box::new(Mixture::take(config, experts, &mut weights)?))
            }
        };
        let output_role = match config.kind(layer).mixer {
            Mixer::Attention { .. } => Role::Output,
            Mixer::ShortConv => Role::ConvOutput,
        };
        let placement = config.placement;
        let mut norm = |is_there, role| weights.take_state_norm(config, is_there, role);
        Ok(Block {
            attention_norm: norm(placement.before_attention, Role::AttentionNorm)?,
            post_attention_norm: norm(placement.after_attention, Role::PostAttentionNorm)?,
            mlp_norm: norm(placement.before_mlp, Role::MlpNorm)?,
            post_mlp_norm: norm(placement.after_mlp, Role::PostMlpNorm)?,
            mixer: MixerBlock::take(config, layer, &mut weights)?,
            output: weights.take_linear(output_role)?,
            output_role,
            mlp,
            is_parallel: placement.parallel,
            residual_scale: config.residual_scale,
            package_scale: config.package_scale,
        })
    }

    /// Runs the block on `x` `[tokens, hidden]`. A dense block returns its output, of the same
    /// shape. A mixture of experts returns the states to which the experts' outputs are added, and the
    /// routing of each token.
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
        let after = self.attention(x, rope, inputs, watch).map_err(failed)?;
        let normed = self.mlp_input(x, &after).map_err(failed)?;
        watch.see(Seen::MlpInput, &normed).map_err(failed)?;
        match &self.mlp {
            BlockMlp::Dense(mlp) => {
                let y = mlp.run(&normed, inputs, watch).and_then(|y| self.add_mlp(y, &after));
                let y = y.map_err(failed)?;
                watch.see_scaled(Seen::StatesAfterMlp, &y, self.package_scale).map_err(failed)?;
                Ok((y, None))
            }
            BlockMlp::Experts(mixture) => {
                let after = match &mixture.shared {
                    Some(shared) => {
                        let y = shared.run(&normed, inputs, watch).map_err(failed)?;
                        self.add_mlp(y, &after).map_err(failed)?
                    }
                    None => after,
                };
                Ok((after, self.route_watched(normed, watch)?))
            }
        }
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
        let attended = self.mixer.attended(&normed, rope, inputs, watch)?;
        let states = self.output(&inputs.pass(Input::Output, &attended)?, x)?;
        watch.see_scaled(Seen::StatesAfterAttention, &states, self.package_scale)?;
        Ok(states)
    }

    /// The input of what mixes tokens: `x` `[tokens, hidden]`, normed.
    ///
    /// # Errors
    /// Candle's errors, as for all stages.
    pub fn attention_input(&self, x: &Tensor) -> CandleResult<Tensor> {
        normed(&self.attention_norm, x)
    }

    /// The narrow state that other projections of latent attention read, from the normed states.
    ///
    /// # Errors
    /// Bug-class errors if the block has no such state.
    pub fn latent_input(&self, input: Input, normed: &Tensor) -> Result<Tensor> {
        self.mixer.latent_input(input, normed)?.map_err(failed)
    }

    /// The input of the output projection, from the normed states of one window.
    pub fn attended(&self, normed: &Tensor, rope: &RopeTables) -> CandleResult<Tensor> {
        self.mixer.attended(normed, rope, InputMode::AsComputed, &Watch::off())
    }

    /// The states after attention: the output projection of `attended`, normed if the family does,
    /// plus `x`.
    pub fn output(&self, attended: &Tensor, x: &Tensor) -> CandleResult<Tensor> {
        self.add(&self.post_attention_norm, self.projected(attended)?, x)
    }

    /// The output projection of `attended`, before its norm.
    pub fn projected(&self, attended: &Tensor) -> CandleResult<Tensor> {
        self.output.forward(attended)
    }

    /// The input of the MLP or the router. `x` are the states before the block, `after` those after
    /// attention.
    pub fn mlp_input(&self, x: &Tensor, after: &Tensor) -> CandleResult<Tensor> {
        match (self.is_parallel, &self.mlp_norm) {
            (false, norm) => normed(norm, after),
            (true, None) => self.attention_input(x),
            (true, norm) => normed(norm, x),
        }
    }

    /// The states after the MLP: its output, normed if the family does, plus `after`.
    pub fn add_mlp(&self, y: Tensor, after: &Tensor) -> CandleResult<Tensor> {
        self.add(&self.post_mlp_norm, y, after)
    }

    fn add(&self, norm: &Option<NormLayer>, y: Tensor, x: &Tensor) -> CandleResult<Tensor> {
        let y = match norm {
            Some(norm) => norm.forward(&y)?,
            None => y,
        };
        let y = if self.residual_scale == 1.0 { y } else { (y * f64::from(self.residual_scale))? };
        ops::add(y, x)
    }

    /// The factor on what is added to the states.
    pub fn residual_scale(&self) -> f32 {
        self.residual_scale
    }

    /// The MLP, or `None` for a mixture of experts.
    pub fn mlp(&self) -> Option<&Mlp> {
        match &self.mlp {
            BlockMlp::Dense(mlp) => Some(mlp),
            BlockMlp::Experts(..) => None,
        }
    }

    /// The shared expert, if there is one.
    pub fn shared(&self) -> Option<&Mlp> {
        match &self.mlp {
            BlockMlp::Dense(_) => None,
            BlockMlp::Experts(mixture) => mixture.shared.as_ref().map(|shared| &shared.mlp),
        }
    }

    /// The states to which the outputs of routed experts are added: `after` plus the shared expert's
    /// output for `inner`, the result of its first projections; `normed` is its input.
    pub fn add_shared(
        &self,
        normed: &Tensor,
        inner: &Tensor,
        after: &Tensor,
    ) -> CandleResult<Tensor> {
        let BlockMlp::Experts(mixture) = &self.mlp else { return Ok(after.clone()) };
        let Some(shared) = &mixture.shared else { return Ok(after.clone()) };
        let y = shared.gated(normed, shared.mlp.down(inner)?)?;
        self.add_mlp(y, after)
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
        let BlockMlp::Experts(mixture) = &self.mlp else { return Ok(None) };
        let logits = mixture.router.forward(&normed).map_err(failed)?;
        watch.see(Seen::Router, &logits).map_err(failed)?;
        let logits = values(&logits)?;
        let correction = mixture.correction.as_deref();
        Ok(Some(Routed::new(normed, &logits, correction, &mixture.experts)))
    }

    /// The linear layer with a role.
    fn linear_mut(&mut self, role: Role) -> Option<&mut LinearLayer> {
        if role == self.output_role {
            return Some(&mut self.output);
        }
        if !role.is_of_mlp() {
            return self.mixer.linear_mut(role);
        }
        match &mut self.mlp {
            BlockMlp::Dense(mlp) => mlp.linear_mut(role),
            BlockMlp::Experts(mixture) => mixture.shared.as_mut()?.mlp.linear_mut(role),
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
}

/// `x`, normed if there is a norm.
fn normed(norm: &Option<NormLayer>, x: &Tensor) -> CandleResult<Tensor> {
    match norm {
        Some(norm) => norm.forward(x),
        None => Ok(x.clone()),
    }
}
