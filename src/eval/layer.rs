//! Runs one layer for every lane: a dense block, or a block and then its experts one at a time.
//!
//! A *unit* is read, coded, run and dropped together. It is a block without its experts, or one expert.
//! Memory holds one unit at a time, not a whole layer.

use std::time::Instant;

use rayon::prelude::*;

use super::calibration::InputHistograms;
use super::divergence::LayerRouting;
use super::fp16_range::Fp16Overflow;
use super::lane::Lane;
use super::setting::Walk;
use super::timing::{Phase, Timings};
use super::weights::block_weights;
use crate::checkpoint::config::Config;
use crate::checkpoint::{Checkpoint, TensorId};
use crate::error::{At, Result};
use crate::model::{
    self, Activation, Block, BlockWeights, Input, InputMode, Mlp, RopeTables, Routed, Watch,
};
use crate::quantize::{CodedTensor, quantize};

/// A unit's tensors in a variant, in the order of the computation.
pub type CodedUnit = Vec<(TensorId, Form)>;

/// One tensor in a variant.
pub enum Form {
    /// Coded.
    Coded(CodedTensor),
    /// Unchanged from the checkpoint, because the part's recipe is `fp`.
    AsStored(Vec<f32>),
}

impl Form {
    /// The weights, row-major.
    pub fn decode(self) -> Vec<f32> {
        match self {
            Form::Coded(tensor) => tensor.decode(),
            Form::AsStored(values) => values,
        }
    }
}

/// One layer of a walk.
pub struct Layer<'a> {
    /// The walk.
    pub walk: &'a Walk<'a>,
    /// The layer's index.
    pub layer: usize,
    /// Rotary tables for the positions of the longest window.
    pub rope: &'a RopeTables,
}

impl Layer<'_> {
    /// Takes every lane through the layer.
    ///
    /// # Errors
    /// Input errors of the checkpoint, bug-class errors from candle. If a lane's weights cannot be coded,
    /// only that lane fails.
    pub fn run(&self, lanes: &mut [Lane], timings: &mut Timings) -> Result<()> {
        let config = &self.walk.checkpoint.config;
        let ids = config.block_tensors(self.layer);
        self.unit(
            &ids,
            lanes,
            timings,
            |lane| !lane.hidden.is_empty(),
            |weights, lane| {
                let block = Block::new(config, self.layer, weights)?;
                if lane.variant.needs_ranges() {
                    self.choose_scales(&block, lane)?;
                }
                self.attend(&block, lane)
            },
        )?;
        let experts = config.expert_count(self.layer);
        if experts > 0 {
            add_routing(lanes, experts);
        }
        for expert in 0..experts {
            let ids = config.expert_tensors(self.layer, expert);
            let needs = |lane: &Lane| lane.routed.iter().any(|routed| routed.needs(expert));
            self.unit(&ids, lanes, timings, needs, |weights, lane| {
                let mlp = Mlp::new(config, weights)?;
                lane.overflows.resize(lane.routed.len(), None);
                let windows = lane.routed.par_iter_mut().zip(&mut lane.overflows);
                windows.try_for_each(|(routed, overflow)| {
                    let watch = Watch::default();
                    routed.apply(expert, |x| mlp.forward_watched(x, &watch))?;
                    Fp16Overflow::note(overflow, Some(self.layer), &watch);
                    Ok(())
                })
            })?;
        }
        lanes.iter_mut().try_for_each(|lane| finish(lane, config))?;
        if experts > 0 {
            lanes.iter_mut().try_for_each(|lane| self.watch_states(lane))?;
        }
        Ok(())
    }

    /// Looks at the states after a mixture of experts.
    fn watch_states(&self, lane: &mut Lane) -> Result<()> {
        lane.hidden.par_iter().zip(&mut lane.overflows).try_for_each(|(hidden, overflow)| {
            let watch = Watch::default();
            watch.see(Activation::StatesAfterMlp, hidden).map_err(model::failed)?;
            Fp16Overflow::note(overflow, Some(self.layer), &watch);
            Ok(())
        })
    }

    /// Runs the calibration windows with unrounded inputs of this layer and chooses the scales of its int8
    /// inputs. The lane fails if an input has no range.
    fn choose_scales(&self, block: &Block, lane: &mut Lane) -> Result<()> {
        let Some(calibration) = self.walk.calibration else { return Ok(()) };
        let inputs = Input::of_layer(&self.walk.checkpoint.config, self.layer).into_iter();
        let inputs: Vec<Input> = inputs.filter(|input| lane.variant.has_int8(*input)).collect();
        let histograms = InputHistograms::default();
        let show = |input: Input, values: &[f32]| {
            if inputs.contains(&input) {
                histograms.count(input, values);
            }
        };
        let states = self.walk.calibration_states(lane).par_iter();
        states.try_for_each(|hidden| {
            let inputs = InputMode::Shown(&show);
            block.forward_with(hidden, self.rope, inputs, &Watch::off()).map(drop)
        })?;
        let layer = Some(self.layer);
        if let Err(error) = histograms.choose(calibration.method, layer, &inputs, &mut lane.scales)
        {
            lane.fail(error)?;
        }
        Ok(())
    }

    /// Runs a block over every window of a lane; a block with experts runs up to its router.
    fn attend(&self, block: &Block, lane: &mut Lane) -> Result<()> {
        lane.overflows.resize(lane.hidden.len(), None);
        let Lane { hidden, overflows, scales, variant, .. } = lane;
        let scale_of = |input: Input| scales.get(Some(self.layer), input);
        let inputs =
            if variant.needs_ranges() { InputMode::Int8(&scale_of) } else { InputMode::AsComputed };
        let routed = hidden.par_iter_mut().zip(overflows).map(|(hidden, overflow)| {
            let watch = Watch::default();
            let (next, routed) = block.forward_with(hidden, self.rope, inputs, &watch)?;
            Fp16Overflow::note(overflow, Some(self.layer), &watch);
            *hidden = next;
            Ok(routed)
        });
        lane.routed = routed.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(())
    }

    /// Reads a unit's tensors once, codes them for every lane, and runs the lanes that need it.
    fn unit(
        &self,
        ids: &[TensorId],
        lanes: &mut [Lane],
        timings: &mut Timings,
        needs: impl Fn(&Lane) -> bool,
        run: impl Fn(BlockWeights, &mut Lane) -> Result<()>,
    ) -> Result<()> {
        let checkpoint = self.walk.checkpoint;
        let tensors = timings.measure(Phase::Read, || {
            ids.iter().map(|id| Ok((*id, checkpoint.read(*id)?))).collect::<Result<Vec<_>>>()
        })?;
        let mut coded: Vec<Option<CodedUnit>> = timings.measure(Phase::Code, || {
            lanes.iter_mut().map(|lane| code(lane, checkpoint, &tensors)).collect::<Result<_>>()
        })?;
        if needs(&lanes[0]) {
            let weights = block_weights(checkpoint, self.walk.device, tensors.into_iter())?;
            timings.measure(Phase::ReferenceForward, || run(weights, &mut lanes[0]))?;
        } else {
            drop(tensors);
        }
        for (lane, coded) in lanes.iter_mut().zip(&mut coded).skip(1) {
            let Some(coded) = coded.take().filter(|_| needs(lane)) else { continue };
            let start = Instant::now();
            let decoded = coded.into_iter().map(|(id, tensor)| (id, tensor.decode()));
            let weights = block_weights(checkpoint, self.walk.device, decoded)?;
            timings.add(Phase::Decode, start.elapsed());
            timings.measure(Phase::Forward, || run(weights, lane))?;
        }
        Ok(())
    }
}

/// Codes a unit for one lane; `None` for the reference and for a lane that has failed.
///
/// # Errors
/// Bug-class errors. If a recipe cannot code a tensor, the lane fails instead.
pub fn code(
    lane: &mut Lane,
    checkpoint: &Checkpoint,
    tensors: &[(TensorId, Vec<f32>)],
) -> Result<Option<CodedUnit>> {
    if lane.variant.is_reference() || !lane.is_alive() {
        return Ok(None);
    }
    let mut coded = Vec::with_capacity(tensors.len());
    for (id, values) in tensors {
        let stored = checkpoint.stored(*id)?;
        let recipe = lane.variant.recipe_of(*id, stored);
        let coded_tensor = match &lane.file {
            Some(file) if !recipe.is_reference() => {
                file.tensor(&id.name(), recipe, stored.matrix()).map(Some)
            }
            _ => quantize(&recipe, values, stored.matrix(), None)
                .at(|| format!("tensor {}", id.name())),
        };
        match coded_tensor {
            Ok(Some(tensor)) => {
                lane.add_hash(tensor.hash());
                coded.push((*id, Form::Coded(tensor)));
            }
            Ok(None) => coded.push((*id, Form::AsStored(values.clone()))),
            Err(error) => {
                lane.fail(error)?;
                return Ok(None);
            }
        }
    }
    Ok(Some(coded))
}

/// Adds the layer's routing to every lane: tokens per expert, and tokens routed as in the reference.
fn add_routing(lanes: &mut [Lane], experts: usize) {
    let Some((reference, variants)) = lanes.split_first_mut() else { return };
    let routing = |own: &Routed, base: &Routed| LayerRouting {
        agree: own.agreement(base),
        load: own.load(experts),
    };
    for lane in variants {
        let all: Vec<_> = lane
            .routed
            .iter()
            .zip(&reference.routed)
            .map(|(own, base)| routing(own, base))
            .collect();
        push_routing(lane, all);
    }
    let all = reference.routed.iter().map(|own| routing(own, own)).collect();
    push_routing(reference, all);
}

fn push_routing(lane: &mut Lane, windows: Vec<LayerRouting>) {
    lane.routing.resize(windows.len(), Vec::new());
    lane.routing.iter_mut().zip(windows).for_each(|(layers, layer)| layers.push(layer));
}

/// Adds the experts' outputs to the hidden states.
pub fn finish(lane: &mut Lane, config: &Config) -> Result<()> {
    let routed = std::mem::take(&mut lane.routed);
    for (hidden, routed) in lane.hidden.iter_mut().zip(routed) {
        *hidden = routed.finish(hidden, config.residual_scale)?;
    }
    Ok(())
}
