//! Norms of hidden states and of states inside a layer.

use super::body::FunctionBody;
use super::weights::HalfVector;
use crate::checkpoint::config::{Norm, NormKind};
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::model::LATENT_EPS;
use crate::package::mil::Value;

impl FunctionBody<'_> {
    /// The norm of hidden states with the weights of `id`.
    pub fn norm(&mut self, x: &Value, id: TensorId) -> Result<Value> {
        let Norm { kind, gain, bias, eps } = self.config.norm;
        let channels = self.config.hidden_size;
        let gain = match gain {
            true => Some(self.per_channel(HalfVector::Tensor(id), channels)?),
            false => None,
        };
        let axis = self.channel_axis();
        let y = self.normed(kind, x, axis, gain.as_ref(), eps)?;
        if !bias {
            return Ok(y);
        }
        let bias = self.per_channel(HalfVector::Tensor(id.with_bias()), channels)?;
        self.f.add(&y, &bias)
    }

    /// The same if the architecture has this norm, else `x`.
    pub fn norm_if(&mut self, is_there: bool, x: &Value, id: TensorId) -> Result<Value> {
        if is_there { self.norm(x, id) } else { Ok(x.clone()) }
    }

    /// The RMS norm of a state inside a layer, with the gain `id`.
    pub fn inner_norm(&mut self, x: &Value, id: TensorId, channels: usize) -> Result<Value> {
        let eps = match id.role {
            Role::QueryDownNorm | Role::KvNorm => LATENT_EPS,
            _ => self.config.norm.eps,
        };
        let gain = self.per_channel(HalfVector::Tensor(id), channels)?;
        let axis = self.channel_axis();
        self.normed(NormKind::Rms, x, axis, Some(&gain), eps)
    }

    /// The norm of `x` over one axis, times `gain`.
    pub fn normed(
        &mut self,
        kind: NormKind,
        x: &Value,
        axis: isize,
        gain: Option<&Value>,
        eps: f64,
    ) -> Result<Value> {
        let y = match kind {
            NormKind::Rms => self.rms(x, axis, eps)?,
            NormKind::Layer => self.f.layer_norm(x, &[axis], eps as f32)?,
        };
        match gain {
            Some(gain) => self.f.mul(&y, gain),
            None => Ok(y),
        }
    }

    /// `x / sqrt(mean(x²) + epsilon)` over one axis.
    ///
    /// It is written as the layer norm of `x` concatenated with `-x`, which has mean 0 and variance
    /// `mean(x²)`. The engine's layer norm sums with more precision than fp16, in which squares of
    /// values above 255 overflow.
    fn rms(&mut self, x: &Value, axis: isize, eps: f64) -> Result<Value> {
        let negative = self.f.mul_by(x, -1.0)?;
        let both = self.f.concat(&[x, &negative], axis)?;
        let normed = self.f.layer_norm(&both, &[axis], eps as f32)?;
        let at = if axis < 0 { x.rank() as isize + axis } else { axis };
        let channels = x.shape()[usize::try_from(at).unwrap_or(0)];
        let halves = self.f.split(&normed, &[channels, channels], axis)?;
        halves.into_iter().next().ok_or_else(|| Error::bug("a split has no results"))
    }
}
