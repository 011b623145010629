//! The MLP of a dense block, one expert, or the shared expert of a mixture.

use candle_core::{Result as CandleResult, Tensor};

use super::block_weights::{BlockWeights, LinearLayer, missing};
use super::failed;
use super::inputs::{Input, InputMode};
use super::magnitude::{Activation as Seen, Watch};
use super::norm::NormLayer;
use super::ops::ActivationFunction;
use crate::checkpoint::Role;
use crate::checkpoint::config::{Activation, Config};
use crate::error::Result;

/// The roles of an MLP's linear layers: gate, up, down.
pub type MlpRoles = [Role; 3];

/// Those of a dense block and of an expert.
pub const PLAIN_ROLES: MlpRoles = [Role::Gate, Role::Up, Role::Down];
/// Those of a shared expert.
pub const SHARED_ROLES: MlpRoles = [Role::SharedGate, Role::SharedUp, Role::SharedDown];

/// The gate, up and down projections of a dense block or of one expert.
#[derive(Debug)]
pub struct Mlp {
    roles: MlpRoles,
    gate: Option<LinearLayer>,
    up: LinearLayer,
    down: LinearLayer,
    activation: ActivationFunction,
    /// The norm before `down`.
    inner_norm: Option<NormLayer>,
}

/// The activation function of a block or an expert, with its learned numbers.
pub(super) fn activation(
    config: &Config,
    weights: &mut BlockWeights,
) -> Result<ActivationFunction> {
    let xielu = match config.activation {
        Activation::Xielu => {
            let mut one = |role| weights.take_numbers(role).map(|found| found[0]);
            let stored = [one(Role::XieluPositive)?, one(Role::XieluNegative)?];
            ActivationFunction::xielu_factors(stored)
        }
        _ => [0.0; 2],
    };
    Ok(ActivationFunction { kind: config.activation, xielu })
}

impl Mlp {
    /// An MLP with these weights.
    ///
    /// # Errors
    /// A bug-class error if a role is missing.
    pub fn new(config: &Config, mut weights: BlockWeights) -> Result<Self> {
        Self::take(config, &mut weights, PLAIN_ROLES)
    }

    pub(super) fn take(
        config: &Config,
        weights: &mut BlockWeights,
        roles: MlpRoles,
    ) -> Result<Self> {
        let [gate, up, down] = roles;
        let is_block = roles == PLAIN_ROLES;
        let activation = match is_block {
            true => activation(config, weights)?,
            false => ActivationFunction { kind: config.activation, xielu: [0.0; 2] },
        };
        let has_norm = config.sub_norms && is_block;
        Ok(Mlp {
            roles,
            gate: weights.take_linear_if(config.gated, gate)?,
            up: weights.take_linear(up)?,
            down: weights.take_linear(down)?,
            activation,
            inner_norm: weights.take_inner_norm(config, has_norm, Role::InnerNorm)?,
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

    pub(super) fn run(
        &self,
        x: &Tensor,
        inputs: InputMode<'_>,
        watch: &Watch,
    ) -> CandleResult<Tensor> {
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

    pub(super) fn inner_watched(&self, x: &Tensor, watch: &Watch) -> CandleResult<Tensor> {
        let up = self.up.forward(x)?;
        let inner = match &self.gate {
            Some(gate) => {
                let gate = gate.forward(x)?;
                // An infinite gate is clamped as any other.
                if !matches!(self.activation.kind, Activation::ClampedSwiGlu { .. }) {
                    watch.see(Seen::Gate, &gate)?;
                    watch.see(Seen::Up, &up)?;
                }
                self.activation.gated(gate, &up)?
            }
            None => {
                watch.see(Seen::Up, &up)?;
                self.activation.of(up)?
            }
        };
        watch.see(Seen::Product, &inner)?;
        match &self.inner_norm {
            Some(norm) => norm.forward(&inner),
            None => Ok(inner),
        }
    }

    /// The MLP's output `[tokens, hidden]`, from the result of [`inner`](Self::inner).
    ///
    /// # Errors
    /// Candle's errors.
    pub fn down(&self, inner: &Tensor) -> CandleResult<Tensor> {
        self.down.forward(inner)
    }

    /// The roles of the layers that read the MLP's input, in the order of the computation.
    pub fn first_roles(&self) -> Vec<Role> {
        let [gate, up, _] = self.roles;
        if self.gate.is_some() { vec![gate, up] } else { vec![up] }
    }

    /// The linear layer with a role.
    pub(super) fn linear_mut(&mut self, role: Role) -> Option<&mut LinearLayer> {
        let [gate, up, down] = self.roles;
        match role {
            _ if role == gate => self.gate.as_mut(),
            _ if role == up => Some(&mut self.up),
            _ if role == down => Some(&mut self.down),
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
