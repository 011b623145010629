//! The weights of a block or of an expert, as the caller hands them over: tensors by role.

use candle_core::{Result as CandleResult, Tensor};

use super::backend::product;
use super::failed;
use super::norm::NormLayer;
use crate::checkpoint::Role;
use crate::checkpoint::config::{Config, QkNorm};
use crate::error::{Error, Result};

/// The epsilon of the norms inside latent attention, which no key changes (transformers,
/// `DeepseekV3RMSNorm`).
pub const LATENT_EPS: f64 = 1e-6;

/// A linear layer: `x Wᵀ + b`.
#[derive(Debug, Clone)]
pub struct LinearLayer {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
}

impl LinearLayer {
    /// `x` `[tokens, in]` times the weights.
    ///
    /// # Errors
    /// Candle's errors.
    pub fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let y = product(x, &self.weight.t()?)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// The weights of a block or of an expert: tensors by role.
#[derive(Debug, Default)]
pub struct BlockWeights {
    linears: Vec<(Role, LinearLayer)>,
    vectors: Vec<(Role, Tensor)>,
    biases: Vec<(Role, Tensor)>,
    pub(super) sinks: Option<Vec<f32>>,
}

impl BlockWeights {
    /// Adds a linear layer.
    pub fn linear(&mut self, role: Role, linear: LinearLayer) {
        self.linears.push((role, linear));
    }

    /// Adds a vector: a norm's gain, or learned numbers.
    pub fn vector(&mut self, role: Role, vector: Tensor) {
        self.vectors.push((role, vector));
    }

    /// Adds the bias of a norm.
    pub fn norm_bias(&mut self, role: Role, bias: Tensor) {
        self.biases.push((role, bias));
    }

    /// Adds the attention sinks: one logit per query head.
    pub fn sinks(&mut self, sinks: Vec<f32>) {
        self.sinks = Some(sinks);
    }

    pub(super) fn take_linear(&mut self, role: Role) -> Result<LinearLayer> {
        let at = self.linears.iter().position(|(found, _)| *found == role);
        at.map(|at| self.linears.swap_remove(at).1).ok_or_else(|| missing(role))
    }

    pub(super) fn take_linear_if(
        &mut self,
        is_there: bool,
        role: Role,
    ) -> Result<Option<LinearLayer>> {
        is_there.then(|| self.take_linear(role)).transpose()
    }

    /// A vector with a role.
    pub(super) fn take_vector(&mut self, role: Role) -> Result<Tensor> {
        self.take_optional(role).ok_or_else(|| missing(role))
    }

    fn take_optional(&mut self, role: Role) -> Option<Tensor> {
        let at = self.vectors.iter().position(|(found, _)| *found == role);
        at.map(|at| self.vectors.swap_remove(at).1)
    }

    /// The norm of hidden states with a role, if the architecture has it.
    pub(super) fn take_state_norm(
        &mut self,
        config: &Config,
        is_there: bool,
        role: Role,
    ) -> Result<Option<NormLayer>> {
        if !is_there {
            return Ok(None);
        }
        let gain = config.norm.gain.then(|| self.take_vector(role)).transpose()?;
        let bias = self.take_norm_bias(config.norm.bias, role)?;
        Ok(Some(NormLayer::of_states(config.norm, gain, bias)))
    }

    /// The norm of queries or keys with a role.
    pub(super) fn take_head_norm(
        &mut self,
        config: &Config,
        QkNorm { kind, bias, .. }: QkNorm,
        role: Role,
    ) -> Result<NormLayer> {
        let gain = Some(self.take_vector(role)?);
        let bias = self.take_norm_bias(bias, role)?;
        Ok(NormLayer { kind, eps: config.norm.eps, gain, bias })
    }

    /// The bias of a norm with a role, which is there or not.
    pub(super) fn take_norm_bias(&mut self, is_there: bool, role: Role) -> Result<Option<Tensor>> {
        let at = self.biases.iter().position(|(found, _)| *found == role);
        let bias = at.map(|at| self.biases.swap_remove(at).1);
        if is_there != bias.is_some() {
            return Err(missing(role));
        }
        Ok(bias)
    }

    /// The RMS norm of a state inside a layer.
    pub(super) fn take_inner_norm(
        &mut self,
        config: &Config,
        is_there: bool,
        role: Role,
    ) -> Result<Option<NormLayer>> {
        let eps = match role {
            Role::QueryDownNorm | Role::KvNorm => LATENT_EPS,
            _ => config.norm.eps,
        };
        is_there.then(|| self.take_vector(role).map(|gain| NormLayer::rms(gain, eps))).transpose()
    }

    /// A vector's numbers on the host.
    pub(super) fn take_numbers(&mut self, role: Role) -> Result<Vec<f32>> {
        self.take_vector(role)?.to_vec1::<f32>().map_err(failed)
    }
}

/// The error for a role that a block lacks.
pub(super) fn missing(role: Role) -> Error {
    Error::bug(format!("expected a tensor of role {role:?} in a block, found none"))
}
