//! The weights of a block or of an expert, as the caller hands them over: tensors by role.

use candle_core::{Result as CandleResult, Tensor};

use super::backend::product;
use crate::checkpoint::Role;
use crate::error::{Error, Result};

/// A linear layer: `x Wᵀ + b`.
#[derive(Debug, Clone)]
pub struct LinearLayer {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
}

impl LinearLayer {
    pub(super) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
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
    norms: Vec<(Role, Tensor)>,
    pub(super) sinks: Option<Vec<f32>>,
}

impl BlockWeights {
    /// Adds a linear layer.
    pub fn linear(&mut self, role: Role, linear: LinearLayer) {
        self.linears.push((role, linear));
    }

    /// Adds a norm's gain.
    pub fn norm(&mut self, role: Role, gain: Tensor) {
        self.norms.push((role, gain));
    }

    /// Adds the attention sinks: one logit per query head.
    pub fn sinks(&mut self, sinks: Vec<f32>) {
        self.sinks = Some(sinks);
    }

    pub(super) fn take_linear(&mut self, role: Role) -> Result<LinearLayer> {
        let at = self.linears.iter().position(|(found, _)| *found == role);
        at.map(|at| self.linears.swap_remove(at).1).ok_or_else(|| missing(role))
    }

    pub(super) fn take_norm(&mut self, role: Role) -> Result<Tensor> {
        let at = self.norms.iter().position(|(found, _)| *found == role);
        at.map(|at| self.norms.swap_remove(at).1).ok_or_else(|| missing(role))
    }
}

/// The error for a role that a block lacks.
pub(super) fn missing(role: Role) -> Error {
    Error::bug(format!("expected a tensor of role {role:?} in a block, found none"))
}
