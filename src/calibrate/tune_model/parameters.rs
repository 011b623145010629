//! The parameters of a model that is tuned: tables and scales of its linear layers and gains of its norms.
//! Codes do not change. Every layer has a file of coded weights, from which it is run, and a file of the
//! optimizer's state. Each step writes both again without replacing those of the previous step, so that
//! memory holds one layer and an interrupted step can be repeated.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;
use half::f16;
use rayon::prelude::*;

use super::numbers::{read_numbers, write_numbers};
use super::tuning::ModelTuning;
use crate::calibrate::part_file::{part_path, write_tensors};
use crate::calibrate::tune_block::NORM_RATE;
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::eval::coded_file::CodedFile;
use crate::eval::coder::Coder;
use crate::eval::provenance::Calibrated;
use crate::eval::weights::block_weights;
use crate::model::{self, BlockWeights, NormLayer};
use crate::quantize::calibrated::{Adam, Tunable};
use crate::quantize::{CodedTensor, Recipe, quantize};

/// All tuned parameters after some step.
pub struct Parameters<'a> {
    tuning: &'a ModelTuning<'a>,
    /// The state file; the names of layers' files begin with its name.
    state: &'a Path,
    /// Number of steps done.
    step: usize,
    /// The current file of each layer.
    layers: Vec<Arc<CodedFile>>,
    /// The files that the current step has written so far, the last layer first.
    next: Vec<Arc<CodedFile>>,
    /// The gain of the final norm, if it has one.
    last: Option<Gain>,
    /// The bias of the final norm, which is not tuned.
    last_bias: Option<Tensor>,
}

/// The progress of an interrupted tuning.
struct Progress {
    step: usize,
    before_nats: f64,
}

impl<'a> Parameters<'a> {
    /// Begins with the parameters of the variant's file, or resumes from the state file `state`, and then
    /// also returns the loss before the first step.
    ///
    /// # Errors
    /// Input errors of the file.
    pub fn new(tuning: &'a ModelTuning<'a>, state: &'a Path) -> Result<(Self, Option<f64>)> {
        let layers = tuning.walk.checkpoint.config.layers;
        let (mut last, mut last_bias) = (None, None);
        for id in tuning.walk.checkpoint.config.final_norm_tensors() {
            let values = coder(tuning, tuning.file).tensor(id)?.decode();
            if id.bias {
                last_bias = Some(model::vector(values, tuning.walk.device)?);
            } else {
                last = Some(Gain::new(values));
            }
        }
        let mut parameters = Parameters {
            tuning,
            state,
            step: 0,
            layers: vec![Arc::clone(tuning.file); layers],
            next: Vec::new(),
            last,
            last_bias,
        };
        let before_nats = parameters.resume().map(|progress| progress.before_nats);
        Ok((parameters, before_nats))
    }

    /// Resumes an interrupted tuning if all of its files exist.
    fn resume(&mut self) -> Option<Progress> {
        let numbers = read_numbers(self.state).ok()?;
        let (head, gain) = numbers.split_first_chunk::<3>()?;
        let bits = u64::from(head[1].to_bits()) << 32 | u64::from(head[2].to_bits());
        let progress =
            Progress { step: head[0].to_bits() as usize, before_nats: f64::from_bits(bits) };
        let layers = 0..self.layers.len();
        let files =
            layers.map(|layer| CodedFile::open(&self.coded_path(layer, progress.step)).ok());
        let files: Option<Vec<_>> = files.collect();
        let files = files.filter(|files| files.iter().all(|file| self.is_ours(file)))?;
        let last = self.last.as_mut();
        last.map_or(Ok(()), |last| last.restore(&mut gain.iter().copied())).ok()?;
        self.step = progress.step;
        self.layers = files.into_iter().map(Arc::new).collect();
        Some(progress)
    }

    /// Whether a layer's file belongs to this variant, model and text.
    fn is_ours(&self, file: &CodedFile) -> bool {
        let tuning = self.tuning.file;
        file.variant == tuning.variant
            && file.model_hash == tuning.model_hash
            && file.calibrated.origin == tuning.calibrated.origin
    }

    /// Number of steps done.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The current weights of a block.
    ///
    /// # Errors
    /// Input errors of the file, bug-class errors of candle.
    pub fn weights(&self, layer: usize) -> Result<BlockWeights> {
        let walk = self.tuning.walk;
        let ids = walk.checkpoint.config.block_tensors(layer);
        let coder = coder(self.tuning, &self.layers[layer]);
        let decoded = ids.par_iter().map(|id| Ok((*id, coder.tensor(*id)?.decode())));
        let decoded = decoded.collect::<Result<Vec<_>>>()?;
        block_weights(walk.checkpoint, walk.device, decoded.into_iter())
    }

    /// Updates a block by the gradients of its weights. The update takes effect after
    /// [`finish_step`](Parameters::finish_step). Layers must come in turn, the last one first.
    ///
    /// # Errors
    /// Input errors of the files, and of tables, scales or gains that exceed fp16; surroundings errors of
    /// the disk; bug-class errors of candle.
    pub fn update_layer(
        &mut self,
        layer: usize,
        gradients: &[(Role, Tensor)],
        lr_factor: f32,
    ) -> Result<()> {
        let ids = self.tuning.walk.checkpoint.config.block_tensors(layer);
        let coder = coder(self.tuning, &self.layers[layer]);
        let mut parameters = ids
            .iter()
            .map(|id| Parameter::of(*id, coder.tensor(*id)?))
            .collect::<Result<Vec<_>>>()?;
        if self.step > 0 {
            let mut numbers = read_numbers(&self.numbers_path(layer, self.step))?.into_iter();
            parameters.iter_mut().try_for_each(|parameter| parameter.restore(&mut numbers))?;
        }
        parameters.par_iter_mut().try_for_each(|parameter| {
            let is_it = |(role, _): &&(Role, Tensor)| *role == parameter.id.role;
            gradients.iter().find(is_it).map_or(Ok(()), |(_, gradient)| {
                parameter.step(&model::values(gradient)?, lr_factor)
            })
        })?;
        let numbers: Vec<f32> = parameters.iter().flat_map(Parameter::numbers).collect();
        write_numbers(&self.numbers_path(layer, self.step + 1), &numbers)?;
        let path = self.coded_path(layer, self.step + 1);
        let calibrated = Calibrated {
            origin: self.tuning.file.calibrated.origin.clone(),
            ..Calibrated::default()
        };
        let coded: Vec<(TensorId, &CodedTensor)> =
            parameters.iter().map(|parameter| (parameter.id, &parameter.tensor)).collect();
        write_tensors(
            &path,
            self.tuning.walk.checkpoint,
            self.tuning.variant,
            &coded,
            &calibrated,
        )?;
        self.next.push(Arc::new(CodedFile::open(&path)?));
        Ok(())
    }

    /// Ends a step in which every layer was updated, and saves it.
    ///
    /// # Errors
    /// Surroundings errors of the disk.
    pub fn finish_step(&mut self, before_nats: f64) -> Result<()> {
        self.layers = std::mem::take(&mut self.next).into_iter().rev().collect();
        self.step += 1;
        let bits = before_nats.to_bits();
        let head = [self.step as u32, (bits >> 32) as u32, bits as u32].map(f32::from_bits);
        let numbers: Vec<f32> =
            head.into_iter().chain(self.last.iter().flat_map(Gain::numbers)).collect();
        write_numbers(self.state, &numbers)
    }

    /// The final norm in its current form.
    fn last_norm(&self) -> Result<NormLayer> {
        let walk = self.tuning.walk;
        let gain = self.last.as_ref().map(|last| model::vector(last.stored(), walk.device));
        let norm = walk.checkpoint.config.norm;
        Ok(NormLayer::of_states(norm, gain.transpose()?, self.last_bias.clone()))
    }

    /// The head's inputs, from states after the last block.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn normed(&self, states: &[Tensor]) -> Result<Vec<Tensor>> {
        let last = self.last_norm()?;
        let norm = |x: &Tensor| {
            let tokens = x.dim(0).map_err(model::failed)?;
            model::final_norm(x, &last, 0..tokens)
        };
        states.par_iter().map(norm).collect()
    }

    /// Turns gradients by the outputs of [`normed`](Parameters::normed) into gradients by its states, and
    /// updates the gain.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn final_norm(
        &mut self,
        states: &[Tensor],
        by_normed: &[Tensor],
        lr_factor: f32,
    ) -> Result<Vec<Tensor>> {
        let last = self.last_norm()?;
        let windows = states.par_iter().zip(by_normed);
        let all = windows.map(|(x, by)| model::norm_gradients(x, &last, by));
        let all: Vec<(Tensor, Option<Tensor>)> = all.collect::<Result<_>>()?;
        let mut by_states = Vec::with_capacity(all.len());
        let mut by_gain: Vec<f32> = Vec::new();
        for (states, gain) in all {
            if let Some(gain) = gain {
                let values = model::values(&gain)?;
                by_gain.resize(values.len(), 0.0);
                by_gain.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
            by_states.push(states);
        }
        if let Some(last) = &mut self.last {
            last.step(&by_gain, lr_factor);
        }
        Ok(by_states)
    }

    /// A tensor in its current form.
    ///
    /// # Errors
    /// Input errors of the files.
    pub fn tensor(&self, id: TensorId) -> Result<CodedTensor> {
        let file = id.layer.map_or(self.tuning.file, |layer| &self.layers[layer]);
        let tensor = coder(self.tuning, file).tensor(id)?;
        match &self.last {
            Some(last) if id == TensorId::model(Role::FinalNorm) => {
                half(&last.stored(), tensor.shape())
            }
            _ => Ok(tensor),
        }
    }

    /// Even and odd steps have different files.
    fn coded_path(&self, layer: usize, step: usize) -> PathBuf {
        part_path(self.state, &format!("layer{layer}.{}", step % 2))
    }

    fn numbers_path(&self, layer: usize, step: usize) -> PathBuf {
        part_path(self.state, &format!("layer{layer}.{}.numbers", step % 2))
    }
}

fn coder<'a>(tuning: &'a ModelTuning<'_>, file: &'a Arc<CodedFile>) -> Coder<'a> {
    Coder {
        checkpoint: tuning.walk.checkpoint,
        variant: tuning.variant,
        file: Some(file),
        scales: None,
    }
}

/// One tensor of a block.
struct Parameter {
    id: TensorId,
    tensor: CodedTensor,
    kind: Kind,
}

enum Kind {
    /// A linear layer with tables.
    Coded(Tunable),
    /// A norm's gain.
    Gain(Gain),
    /// A tensor that is not tuned.
    Fixed,
}

impl Parameter {
    fn of(id: TensorId, tensor: CodedTensor) -> Result<Self> {
        let kind = match id.role {
            _ if id.bias => Kind::Fixed,
            role if role.is_linear() => Tunable::of(&tensor)?.map_or(Kind::Fixed, Kind::Coded),
            role if role.is_norm() => Kind::Gain(Gain::new(tensor.decode())),
            _ => Kind::Fixed,
        };
        Ok(Parameter { id, tensor, kind })
    }

    fn step(&mut self, derivatives: &[f32], lr_factor: f32) -> Result<()> {
        match &mut self.kind {
            Kind::Coded(coded) => {
                coded.step_tables(derivatives, lr_factor);
                self.tensor = coded.coded()?;
            }
            Kind::Gain(gain) => {
                gain.step(derivatives, lr_factor);
                self.tensor = half(&gain.stored(), self.tensor.shape())?;
            }
            Kind::Fixed => {}
        }
        Ok(())
    }

    fn numbers(&self) -> Vec<f32> {
        match &self.kind {
            Kind::Coded(coded) => coded.numbers(),
            Kind::Gain(gain) => gain.numbers().collect(),
            Kind::Fixed => Vec::new(),
        }
    }

    fn restore(&mut self, numbers: &mut dyn Iterator<Item = f32>) -> Result<()> {
        match &mut self.kind {
            Kind::Coded(coded) => coded.restore(numbers),
            Kind::Gain(gain) => gain.restore(numbers),
            Kind::Fixed => Ok(()),
        }
    }
}

/// A norm's gain, its optimizer and its learning rate.
struct Gain {
    values: Vec<f32>,
    adam: Adam,
    rate: f32,
}

impl Gain {
    fn new(values: Vec<f32>) -> Self {
        let mean = values.iter().map(|gain| gain.abs()).sum::<f32>() / values.len().max(1) as f32;
        Gain { adam: Adam::new(values.len()), values, rate: mean * NORM_RATE }
    }

    fn step(&mut self, derivatives: &[f32], lr_factor: f32) {
        self.adam.step(&mut self.values, derivatives, lr_factor * self.rate);
    }

    /// The gain rounded to fp16, as it is stored.
    fn stored(&self) -> Vec<f32> {
        self.values.iter().map(|value| f16::from_f32(*value).to_f32()).collect()
    }

    fn numbers(&self) -> impl Iterator<Item = f32> {
        let rate = std::iter::once(self.rate);
        rate.chain(self.values.iter().copied()).chain(self.adam.numbers())
    }

    fn restore(&mut self, mut numbers: &mut dyn Iterator<Item = f32>) -> Result<()> {
        for value in std::iter::once(&mut self.rate).chain(&mut self.values) {
            *value =
                numbers.next().ok_or_else(|| Error::input("the state of tuning is too short"))?;
        }
        self.adam.restore(&mut numbers)
    }
}

/// Values coded as fp16.
fn half(values: &[f32], shape: [usize; 2]) -> Result<CodedTensor> {
    let coded = quantize(&Recipe::Half, values, shape, None)?;
    coded.ok_or_else(|| Error::bug("a gain has no coded form"))
}
