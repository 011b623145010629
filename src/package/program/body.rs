//! A function of a piece under construction: what all its layers share, and the operations that
//! differ between the layouts.

use std::collections::BTreeMap;
use std::ops::Range;

use super::design::{Compute, Design};
use super::weights::{HalfVector, PlacedWeights, bias_of};
use crate::checkpoint::TensorId;
use crate::checkpoint::config::Config;
use crate::error::Result;
use crate::model::Input;
use crate::package::mil::{FunctionBuilder, Value};
use crate::package::spec::DataType;
use crate::package::weights::Emitted;

/// One function of a piece.
pub(super) struct FunctionBody<'a> {
    /// The builder of the function.
    pub f: FunctionBuilder,
    /// The architecture.
    pub config: &'a Config,
    /// What the package is made for.
    pub design: &'a Design,
    /// Where the weights are.
    pub weights: &'a PlacedWeights,
    /// The number of tokens per call.
    pub tokens: usize,
    /// The weights that have been used so far.
    pub uses: Vec<WeightUse>,
    /// Inputs of linear layers that were rounded to int8 and back, by block and input, for the
    /// linear layers that share them.
    pub rounded: BTreeMap<(Option<usize>, Input), Value>,
    /// The input `position_ids`, once something has asked for it.
    pub position_ids: Option<Value>,
}

/// A weight and the value of a function that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightUse {
    /// The value's name.
    pub value: String,
    /// Where its elements come from.
    pub weight: WeightSource,
}

/// Where the elements of a weight come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightSource {
    /// Rows of a matrix, without its channel scales.
    Matrix(TensorId, Range<usize>),
    /// The channel scales of rows of a matrix.
    ChannelScales(TensorId, Range<usize>),
    /// Plain fp16 numbers.
    Vector(HalfVector),
}

impl FunctionBody<'_> {
    /// The axis of hidden states that counts channels.
    pub fn channel_axis(&self) -> isize {
        match self.design.compute {
            Compute::Gpu => -1,
            Compute::Ane => 1,
        }
    }

    /// The shape of a value with `channels` channels per token.
    pub fn shape(&self, channels: usize) -> Vec<usize> {
        match self.design.compute {
            Compute::Gpu => vec![1, self.tokens, channels],
            Compute::Ane => vec![1, channels, 1, self.tokens],
        }
    }

    /// The positions of the tokens, `[tokens]`.
    pub fn positions(&mut self) -> Result<Value> {
        if let Some(known) = &self.position_ids {
            return Ok(known.clone());
        }
        let ids = self.f.input("position_ids", DataType::Int32, &[self.tokens])?;
        self.position_ids = Some(ids.clone());
        Ok(ids)
    }

    /// Declares an fp16 input with `channels` channels per token.
    pub fn hidden_input(&mut self, name: &str, channels: usize) -> Result<Value> {
        let shape = self.shape(channels);
        self.f.input(name, DataType::Float16, &shape)
    }

    /// Multiplies `x` by a weight and adds its bias, if the architecture has one: `[out]` channels.
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

    /// As [`project`](Self::project), separately for each part of the weight that is stored.
    pub fn project_parts(&mut self, x: &Value, id: TensorId) -> Result<Vec<Value>> {
        let bias = bias_of(self.config, id);
        let x = &self.layer_input(x, id)?;
        let mut parts = Vec::new();
        for (emitted, rows) in self.emit(id)? {
            let out = rows.len();
            let y = match self.design.compute {
                // The bias is added after the channel scales, since these do not apply to it.
                Compute::Gpu => self.f.linear(x, &emitted.weight)?,
                Compute::Ane => self.f.conv(x, &emitted.weight)?,
            };
            let y = match &emitted.channel_scales {
                Some(scales) => self.f.mul(&y, scales)?,
                None => y,
            };
            parts.push(match bias {
                Some(bias) => {
                    let bias = self.weights.bias_part(bias, &rows);
                    let bias = self.per_channel(bias, out)?;
                    self.f.add(&y, &bias)?
                }
                None => y,
            });
        }
        Ok(parts)
    }

    /// The parts of a matrix as values, each with the rows that it holds.
    pub fn emit(&mut self, id: TensorId) -> Result<Vec<(Emitted, Range<usize>)>> {
        let (mut parts, mut first) = (Vec::new(), 0);
        for stored in self.weights.matrix(id)? {
            let emitted = stored.emit(&mut self.f)?;
            let rows = first..first + stored.shape()[0];
            first = rows.end;
            self.note(&emitted.weight, WeightSource::Matrix(id, rows.clone()));
            if let Some(scales) = &emitted.channel_scales {
                self.note(scales, WeightSource::ChannelScales(id, rows.clone()));
            }
            parts.push((emitted, rows));
        }
        Ok(parts)
    }

    /// Plain numbers in the shape in which they are used.
    pub fn vector(&mut self, name: &str, vector: HalfVector, shape: &[usize]) -> Result<Value> {
        let value = self.f.blob(name, &self.weights.vector(vector, shape)?)?;
        self.note(&value, WeightSource::Vector(vector));
        Ok(value)
    }

    fn note(&mut self, value: &Value, weight: WeightSource) {
        self.uses.push(WeightUse { value: value.name().to_owned(), weight });
    }

    /// The input of the matrix `id`: `x`, or `x` rounded to int8 and back.
    fn layer_input(&mut self, x: &Value, id: TensorId) -> Result<Value> {
        let (Some(scale), Some(input)) = (self.weights.scale(id), Input::of(id.role)) else {
            return Ok(x.clone());
        };
        if let Some(rounded) = self.rounded.get(&(id.layer, input)) {
            return Ok(rounded.clone());
        }
        let codes = self.f.quantize(x, scale)?;
        let rounded = self.f.dequantize(&codes, scale)?;
        self.rounded.insert((id.layer, input), rounded.clone());
        Ok(rounded)
    }

    /// `x` times `scale`, or `cap · tanh(scale · x / cap)`.
    pub fn scaled(&mut self, x: &Value, scale: f32, cap: Option<f64>) -> Result<Value> {
        let Some(cap) = cap.map(|cap| cap as f32) else {
            return self.f.mul_by(x, scale);
        };
        let x = self.f.mul_by(x, scale / cap)?;
        let x = self.f.tanh(&x)?;
        self.f.mul_by(&x, cap)
    }

    /// A vector with one number per channel, in a shape that broadcasts over tokens.
    pub fn per_channel(&mut self, vector: HalfVector, channels: usize) -> Result<Value> {
        let shape = match self.design.compute {
            Compute::Gpu => vec![channels],
            Compute::Ane => vec![1, channels, 1, 1],
        };
        self.vector("vector", vector, &shape)
    }

    /// Splits projected states into heads `[1, heads, tokens, width]`.
    pub fn split_heads(&mut self, y: &Value, heads: usize, width: usize) -> Result<Value> {
        match self.design.compute {
            Compute::Gpu => {
                let y = self.f.reshape(y, &[1, self.tokens, heads, width])?;
                self.f.transpose(&y, &[0, 2, 1, 3])
            }
            Compute::Ane => {
                let y = self.f.reshape(y, &[1, heads, width, self.tokens])?;
                self.f.transpose(&y, &[0, 1, 3, 2])
            }
        }
    }

    /// Merges heads `[1, heads, tokens, width]` into states.
    pub fn merge_heads(&mut self, y: &Value, heads: usize, width: usize) -> Result<Value> {
        let perm = match self.design.compute {
            Compute::Gpu => [0, 2, 1, 3],
            Compute::Ane => [0, 1, 3, 2],
        };
        let y = self.f.transpose(y, &perm)?;
        let shape = self.shape(heads * width);
        self.f.reshape(&y, &shape)
    }
}
