//! What is tuned of a whole model: the tables and scales of its linear layers and the gains of its
//! norms. Codes stay in their file and are read where they are needed.

use candle_core::Tensor;
use half::f16;
use rayon::prelude::*;

use super::Whole;
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::eval::coder::Coder;
use crate::eval::tuning::fine::NORM_RATE;
use crate::eval::weights::block_weights;
use crate::model::{self, BlockWeights};
use crate::quantize::calibrated::{Adam, TunableTables};
use crate::quantize::{CodedTensor, Recipe, quantize};

/// One tensor of a block.
struct Parameter {
    id: TensorId,
    kind: Kind,
}

enum Kind {
    /// A linear layer with tables.
    Tables(TunableTables),
    /// A norm's gain.
    Gain(Gain),
    /// Anything else stays.
    Fixed,
}

/// A norm's gain, with its step.
struct Gain {
    values: Vec<f32>,
    adam: Adam,
    rate: f32,
}

/// Everything that is tuned.
pub struct Parameters<'a> {
    whole: &'a Whole<'a>,
    /// By layer.
    layers: Vec<Vec<Parameter>>,
    last: Gain,
}

impl<'a> Parameters<'a> {
    /// Takes what the file has.
    ///
    /// # Errors
    /// Input errors of the file.
    pub fn new(whole: &'a Whole<'a>) -> Result<Self> {
        let config = &whole.walk.checkpoint.config;
        let coder = coder(whole);
        let parameter = |id: &TensorId| -> Result<Parameter> {
            let tensor = coder.tensor(*id)?;
            let kind = match id.role {
                _ if id.bias => Kind::Fixed,
                role if role.is_linear() => {
                    TunableTables::of(&tensor)?.map_or(Kind::Fixed, Kind::Tables)
                }
                Role::AttentionNorm | Role::MlpNorm | Role::QueryNorm | Role::KeyNorm => {
                    Kind::Gain(Gain::new(tensor.decode()))
                }
                _ => Kind::Fixed,
            };
            Ok(Parameter { id: *id, kind })
        };
        let layer = |layer| config.block_tensors(layer).iter().map(parameter).collect();
        let layers = (0..config.layers).map(layer).collect::<Result<_>>()?;
        let last = Gain::new(coder.tensor(TensorId::model(Role::FinalNorm))?.decode());
        Ok(Parameters { whole, layers, last })
    }

    /// The weights of a block as they are by now.
    ///
    /// # Errors
    /// Input errors of the file, bug-class errors of candle.
    pub fn weights(&self, layer: usize) -> Result<BlockWeights> {
        let walk = self.whole.walk;
        let decode = |parameter: &Parameter| -> Result<(TensorId, Vec<f32>)> {
            let tensor = || coder(self.whole).tensor(parameter.id);
            let values = match &parameter.kind {
                Kind::Tables(tables) => tables.decoded(&tensor()?)?,
                Kind::Gain(gain) => gain.values.clone(),
                Kind::Fixed => tensor()?.decode(),
            };
            Ok((parameter.id, values))
        };
        let decoded = self.layers[layer].iter().map(decode).collect::<Result<Vec<_>>>()?;
        block_weights(walk.checkpoint, walk.device, decoded.into_iter())
    }

    /// Moves a block's parameters against the derivatives by its weights.
    ///
    /// # Errors
    /// Input errors of the file, bug-class errors of candle.
    pub fn step(&mut self, layer: usize, gradients: &[(Role, Tensor)], pace: f32) -> Result<()> {
        let whole = self.whole;
        self.layers[layer].par_iter_mut().try_for_each(|parameter| {
            let is_it = |(role, _): &&(Role, Tensor)| *role == parameter.id.role;
            let Some((_, gradient)) = gradients.iter().find(is_it) else { return Ok(()) };
            let derivatives = model::values(gradient)?;
            match &mut parameter.kind {
                Kind::Tables(tables) => {
                    tables.step(&coder(whole).tensor(parameter.id)?, &derivatives, pace)
                }
                Kind::Gain(gain) => {
                    gain.step(&derivatives, pace);
                    Ok(())
                }
                Kind::Fixed => Ok(()),
            }
        })
    }

    /// What the head is given, from states after the last block.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn normed(&self, states: &[Tensor]) -> Result<Vec<Tensor>> {
        let walk = self.whole.walk;
        let gain = model::vector(self.last.values.clone(), walk.device)?;
        let norm = |x: &Tensor| {
            let tokens = x.dim(0).map_err(model::failed)?;
            model::final_norm(x, &gain, 0..tokens, &walk.checkpoint.config)
        };
        states.par_iter().map(norm).collect()
    }

    /// From derivatives by what [`normed`](Parameters::normed) gives to those by its states; the
    /// gain is moved.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn final_norm(
        &mut self,
        states: &[Tensor],
        by_normed: &[Tensor],
        pace: f32,
    ) -> Result<Vec<Tensor>> {
        let walk = self.whole.walk;
        let gain = model::vector(self.last.values.clone(), walk.device)?;
        let eps = walk.checkpoint.config.rms_norm_eps;
        let windows = states.par_iter().zip(by_normed);
        let all = windows.map(|(x, by)| model::norm_gradients(x, &gain, eps, by));
        let all: Vec<(Tensor, Tensor)> = all.collect::<Result<_>>()?;
        let mut by_gain = vec![0.0f32; self.last.values.len()];
        let mut by_states = Vec::with_capacity(all.len());
        for (states, gain) in all {
            let values = model::values(&gain)?;
            by_gain.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            by_states.push(states);
        }
        self.last.step(&by_gain, pace);
        Ok(by_states)
    }

    /// A tensor of the file, tuned where it is a parameter.
    ///
    /// # Errors
    /// Input errors of the file, and where tables, scales or gains left the range of fp16.
    pub fn tensor(&self, id: TensorId) -> Result<CodedTensor> {
        let tensor = coder(self.whole).tensor(id)?;
        let all = self.layers.iter().flatten();
        let kind = all.into_iter().find(|p| p.id == id).map(|parameter| &parameter.kind);
        match kind {
            Some(Kind::Tables(tables)) => tables.coded(&tensor),
            Some(Kind::Gain(gain)) => gain.coded(&tensor),
            None if id == TensorId::model(Role::FinalNorm) => self.last.coded(&tensor),
            Some(Kind::Fixed) | None => Ok(tensor),
        }
    }

    /// Everything becomes what is stored of it.
    ///
    /// # Errors
    /// As [`tensor`](Parameters::tensor).
    pub fn round(&mut self) -> Result<()> {
        let coder = coder(self.whole);
        for parameter in self.layers.iter_mut().flatten() {
            match &mut parameter.kind {
                Kind::Tables(tables) => {
                    let coded = tables.coded(&coder.tensor(parameter.id)?)?;
                    let rounded = TunableTables::of(&coded)?;
                    *tables = rounded.ok_or_else(|| Error::bug("tables that are none"))?;
                }
                Kind::Gain(gain) => gain.round(),
                Kind::Fixed => {}
            }
        }
        self.last.round();
        Ok(())
    }

    /// Everything that moves, for [`restore`](Parameters::restore).
    pub fn numbers(&self) -> Vec<f32> {
        let mut numbers = Vec::new();
        for parameter in self.layers.iter().flatten() {
            match &parameter.kind {
                Kind::Tables(tables) => numbers.extend(tables.numbers()),
                Kind::Gain(gain) => numbers.extend(gain.numbers()),
                Kind::Fixed => {}
            }
        }
        numbers.extend(self.last.numbers());
        numbers
    }

    /// Takes what [`numbers`](Parameters::numbers) gave for the same file.
    ///
    /// # Errors
    /// An input error where there are other than as many.
    pub fn restore(&mut self, numbers: &[f32]) -> Result<()> {
        let mut numbers = numbers.iter().copied();
        for parameter in self.layers.iter_mut().flatten() {
            match &mut parameter.kind {
                Kind::Tables(tables) => tables.restore(&mut numbers)?,
                Kind::Gain(gain) => gain.restore(&mut numbers)?,
                Kind::Fixed => {}
            }
        }
        self.last.restore(&mut numbers)?;
        match numbers.next() {
            None => Ok(()),
            Some(_) => Err(Error::input("a tuning state is too long")),
        }
    }
}

fn coder<'a>(whole: &'a Whole<'_>) -> Coder<'a> {
    Coder {
        checkpoint: whole.walk.checkpoint,
        variant: whole.variant,
        file: Some(whole.file),
        scales: None,
    }
}

impl Gain {
    fn new(values: Vec<f32>) -> Self {
        let mean = values.iter().map(|gain| gain.abs()).sum::<f32>() / values.len().max(1) as f32;
        Gain { adam: Adam::new(values.len()), values, rate: mean * NORM_RATE }
    }

    fn step(&mut self, derivatives: &[f32], pace: f32) {
        self.adam.step(&mut self.values, derivatives, pace * self.rate);
    }

    fn round(&mut self) {
        self.values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
    }

    fn coded(&self, tensor: &CodedTensor) -> Result<CodedTensor> {
        let coded = quantize(&Recipe::Half, &self.values, tensor.shape(), None)?;
        coded.ok_or_else(|| Error::bug("a gain without a form"))
    }

    fn numbers(&self) -> impl Iterator<Item = f32> {
        self.values.iter().copied().chain(self.adam.numbers())
    }

    fn restore(&mut self, numbers: &mut impl Iterator<Item = f32>) -> Result<()> {
        for value in &mut self.values {
            *value = numbers.next().ok_or_else(|| Error::input("a tuning state is too short"))?;
        }
        self.adam.restore(numbers)
    }
}
