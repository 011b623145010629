//! The norms of hidden states and of states inside a layer.

use candle_core::{Result as CandleResult, Tensor};

use super::ops;
use crate::checkpoint::config::{Norm, NormKind};

/// A norm with its weights.
#[derive(Debug, Clone)]
pub struct NormLayer {
    /// The formula.
    pub kind: NormKind,
    /// Added before the root.
    pub eps: f64,
    /// Factors `[len]`, if there are any.
    pub gain: Option<Tensor>,
    /// Summands `[len]`, if there are any.
    pub bias: Option<Tensor>,
}

impl NormLayer {
    /// The norm of hidden states with these weights.
    pub fn of_states(norm: Norm, gain: Option<Tensor>, bias: Option<Tensor>) -> Self {
        NormLayer { kind: norm.kind, eps: norm.eps, gain, bias }
    }

    /// An RMS norm with this gain.
    pub fn rms(gain: Tensor, eps: f64) -> Self {
        NormLayer { kind: NormKind::Rms, eps, gain: Some(gain), bias: None }
    }

    /// The norm of each row of `x` `[rows, len]`.
    ///
    /// # Errors
    /// Candle's errors.
    pub fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let gain = match &self.gain {
            Some(gain) => gain.clone(),
            None => Tensor::ones(x.dim(candle_core::D::Minus1)?, x.dtype(), x.device())?,
        };
        let normed = match self.kind {
            NormKind::Rms => ops::rms_norm(x, &gain, self.eps)?,
            NormKind::Layer => ops::layer_norm(x, &gain, self.eps)?,
        };
        match &self.bias {
            Some(bias) => normed.broadcast_add(bias),
            None => Ok(normed),
        }
    }

    /// What is normed already `[rows, len]`, times the gain and plus the bias.
    ///
    /// # Errors
    /// Candle's errors.
    pub(super) fn weigh(&self, normed: Tensor) -> CandleResult<Tensor> {
        let weighed = match &self.gain {
            Some(gain) => normed.broadcast_mul(gain)?,
            None => normed,
        };
        match &self.bias {
            Some(bias) => weighed.broadcast_add(bias),
            None => Ok(weighed),
        }
    }
}
