//! A function that is growing: what all its layers share, and the operations that differ between
//! the layouts.

use std::collections::BTreeMap;
use std::ops::Range;

use super::design::{Compute, Design};
use super::weights::{Vector, Weights, bias_of};
use crate::checkpoint::TensorId;
use crate::checkpoint::config::Config;
use crate::error::{Error, Result};
use crate::model::Input;
use crate::package::mil::{Convolution, FunctionBuilder, Value};
use crate::package::spec::DataType;
use crate::package::weights::Emitted;

/// One function of a piece.
pub(super) struct Body<'a> {
    /// The function.
    pub f: FunctionBuilder,
    /// The architecture.
    pub config: &'a Config,
    /// What it is made for.
    pub design: &'a Design,
    /// Where the weights are.
    pub weights: &'a Weights,
    /// Tokens per call.
    pub tokens: usize,
    /// What has been used so far.
    pub uses: Vec<Use>,
    /// Inputs of linear layers that were rounded to int8 and back, by layer and place, for the
    /// layers that share them.
    pub rounded: BTreeMap<(Option<usize>, Input), Value>,
}

/// A value of a function that is a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The value's name.
    pub value: String,
    /// What it holds.
    pub weight: Used,
}

/// What a value holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Used {
    /// These rows of a matrix, without its channel scales.
    Matrix(TensorId, Range<usize>),
    /// The channel scales of these rows.
    ChannelScales(TensorId, Range<usize>),
    /// Plain numbers.
    Vector(Vector),
}

impl Body<'_> {
    /// The axis of hidden states on which channels lie.
    pub fn channel_axis(&self) -> isize {
        match self.design.compute {
            Compute::Gpu => -1,
            Compute::Ane => 1,
        }
    }

    /// The shape of something with `channels` channels per token.
    pub fn shape(&self, channels: usize) -> Vec<usize> {
        match self.design.compute {
            Compute::Gpu => vec![1, self.tokens, channels],
            Compute::Ane => vec![1, channels, 1, self.tokens],
        }
    }

    /// An fp16 input with `channels` channels per token.
    pub fn hidden_input(&mut self, name: &str, channels: usize) -> Result<Value> {
        let shape = self.shape(channels);
        self.f.input(name, DataType::Float16, &shape)
    }

    /// A weight applied to `x`, with its bias where the architecture has one: `[out]` channels.
    pub fn project(&mut self, x: &Value, id: TensorId) -> Result<Value> {
        match self.project_parts(x, id)? {
            parts if parts.len() == 1 => Ok(parts[0].clone()),
            parts => {
                let parts: Vec<&Value> = parts.iter().collect();
                let axis = self.channel_axis();
                self.f.concat(&parts, axis)
            }
        }
    }

    /// The same in the parts in which the weight is stored.
    pub fn project_parts(&mut self, x: &Value, id: TensorId) -> Result<Vec<Value>> {
        let bias = bias_of(self.config, id);
        let x = &self.given(x, id)?;
        let mut parts = Vec::new();
        for (emitted, rows) in self.emit(id)? {
            let out = rows.len();
            let y = match self.design.compute {
                // A bias is added after the channel scales, which are no part of it.
                Compute::Gpu => self.f.linear(x, &emitted.weight, None)?,
                Compute::Ane => self.f.conv(x, &emitted.weight, None, Convolution::default())?,
            };
            let y = match &emitted.channel_scales {
                Some(scales) => self.f.mul(&y, scales)?,
                None => y,
            };
            parts.push(match bias {
                Some(bias) => {
                    let bias = self.per_channel(Vector::Tensor(bias), out)?;
                    self.f.add(&y, &bias)?
                }
                None => y,
            });
        }
        Ok(parts)
    }

    /// The parts of a matrix as values, each with its rows.
    pub fn emit(&mut self, id: TensorId) -> Result<Vec<(Emitted, Range<usize>)>> {
        let (mut parts, mut first) = (Vec::new(), 0);
        for stored in self.weights.matrix(id)? {
            let emitted = stored.emit(&mut self.f)?;
            let rows = first..first + stored.shape()[0];
            first = rows.end;
            self.note(&emitted.weight, Used::Matrix(id, rows.clone()));
            if let Some(scales) = &emitted.channel_scales {
                self.note(scales, Used::ChannelScales(id, rows.clone()));
            }
            parts.push((emitted, rows));
        }
        Ok(parts)
    }

    /// Plain numbers in the shape that they are used in.
    pub fn vector(&mut self, name: &str, vector: Vector, shape: &[usize]) -> Result<Value> {
        let value = self.f.blob(name, &self.weights.vector(vector, shape)?)?;
        self.note(&value, Used::Vector(vector));
        Ok(value)
    }

    fn note(&mut self, value: &Value, weight: Used) {
        self.uses.push(Use { value: value.name().to_owned(), weight });
    }

    /// What the matrix `id` multiplies: `x`, or `x` rounded to int8 and back.
    fn given(&mut self, x: &Value, id: TensorId) -> Result<Value> {
        let (Some(scale), Some(input)) = (self.weights.scale(id), Input::of(id.role)) else {
            return Ok(x.clone());
        };
        if let Some(rounded) = self.rounded.get(&(id.layer, input)) {
            return Ok(rounded.clone());
        }
        let codes = self.f.quantize(x, scale, 0)?;
        let rounded = self.f.dequantize(&codes, scale, 0)?;
        self.rounded.insert((id.layer, input), rounded.clone());
        Ok(rounded)
    }

    /// A vector with a number for each of `channels` channels, shaped to broadcast.
    pub fn per_channel(&mut self, vector: Vector, channels: usize) -> Result<Value> {
        let shape = match self.design.compute {
            Compute::Gpu => vec![channels],
            Compute::Ane => vec![1, channels, 1, 1],
        };
        self.vector("vector", vector, &shape)
    }

    /// RMS norm of hidden states with the gain `id`.
    pub fn norm(&mut self, x: &Value, id: TensorId) -> Result<Value> {
        let gain = self.per_channel(Vector::Tensor(id), self.config.hidden_size)?;
        let axis = self.channel_axis();
        self.rms_norm(x, axis, &gain)
    }

    /// `x / sqrt(mean(x²) + epsilon) * gain` over one axis.
    ///
    /// As a layer norm of `x` beside `-x`, whose mean is 0 and whose variance is `mean(x²)`: the
    /// engine's own kernel sums in more than fp16, where squares above 255² overflow.
    pub fn rms_norm(&mut self, x: &Value, axis: isize, gain: &Value) -> Result<Value> {
        let negative = self.f.mul_by(x, -1.0)?;
        let both = self.f.concat(&[x, &negative], axis)?;
        let normed =
            self.f.layer_norm(&both, &[axis], None, None, self.config.rms_norm_eps as f32)?;
        let at = if axis < 0 { x.rank() as isize + axis } else { axis };
        let channels = x.shape()[usize::try_from(at).unwrap_or(0)];
        let halves = self.f.split(&normed, &[channels, channels], axis)?;
        let half = halves.first().ok_or_else(|| Error::bug("a split into nothing"))?;
        self.f.mul(half, gain)
    }

    /// Heads `[1, heads, tokens, head_dim]` of projected states.
    pub fn split_heads(&mut self, y: &Value, heads: usize) -> Result<Value> {
        let head_dim = self.config.head_dim;
        match self.design.compute {
            Compute::Gpu => {
                let y = self.f.reshape(y, &[1, self.tokens, heads, head_dim])?;
                self.f.transpose(&y, &[0, 2, 1, 3])
            }
            Compute::Ane => {
                let y = self.f.reshape(y, &[1, heads, head_dim, self.tokens])?;
                self.f.transpose(&y, &[0, 1, 3, 2])
            }
        }
    }

    /// Heads `[1, heads, tokens, head_dim]` back to hidden states.
    pub fn merge_heads(&mut self, y: &Value, heads: usize) -> Result<Value> {
        let perm = match self.design.compute {
            Compute::Gpu => [0, 2, 1, 3],
            Compute::Ane => [0, 1, 3, 2],
        };
        let y = self.f.transpose(y, &perm)?;
        let shape = self.shape(heads * self.config.head_dim);
        self.f.reshape(&y, &shape)
    }
}
