//! Norms of hidden states and of states inside a layer.

use super::body::FunctionBody;
use super::weights::HalfVector;
use crate::checkpoint::config::{Norm, NormKind};
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::model::LATENT_EPS;
use crate::package::mil::Value;

/// The smallest positive fp16. A smaller epsilon would become 0, and a row of zeros NaN. Where it stands
/// for a smaller one, it is still far below the mean square of hidden states.
const SMALLEST_EPS: f64 = 1.0 / 16_777_216.0;

impl FunctionBody<'_> {
    /// The norm of hidden states, which are in the scale of packages, with the weights of `id`.
    pub fn norm(&mut self, x: &Value, id: TensorId) -> Result<Value> {
        let scale = f64::from(self.config.package_scale);
        let eps = match scale {
            1.0 => self.config.norm.eps,
            scale => (self.config.norm.eps * scale * scale).max(SMALLEST_EPS),
        };
        self.norm_with(x, id, eps, false)
    }

    /// What attention or MLP returned, normed if the architecture does that, in the scale of packages.
    pub fn branch(&mut self, is_normed: bool, y: &Value, id: TensorId) -> Result<Value> {
        match is_normed {
            true => self.norm_with(y, id, self.config.norm.eps, true),
            false => self.in_package_scale(y),
        }
    }

    /// `x` in the scale of packages.
    pub fn in_package_scale(&mut self, x: &Value) -> Result<Value> {
        match self.config.package_scale {
            1.0 => Ok(x.clone()),
            scale => self.f.mul_by(x, scale),
        }
    }

    /// The norm of `x`. `into_scale` puts it into the scale of packages before gains, which may be large.
    fn norm_with(&mut self, x: &Value, id: TensorId, eps: f64, into_scale: bool) -> Result<Value> {
        let Norm { kind, gain, bias, .. } = self.config.norm;
        let channels = self.config.hidden_size;
        let gain = match gain {
            true => Some(self.per_channel(HalfVector::Tensor(id), channels)?),
            false => None,
        };
        let axis = self.channel_axis();
        let mut y = self.normed(kind, x, axis, None, eps)?;
        if into_scale {
            y = self.in_package_scale(&y)?;
        }
        if let Some(gain) = gain {
            y = self.f.mul(&y, &gain)?;
        }
        if !bias {
            return Ok(y);
        }
        let mut bias = self.per_channel(HalfVector::Tensor(id.with_bias()), channels)?;
        if into_scale {
            bias = self.in_package_scale(&bias)?;
        }
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
