//! The tensors of a block or an expert while they are being coded: as they are read, equalised, and
//! one after another replaced by what their codes decode to.

use candle_core::{Device, Tensor};

use crate::checkpoint::{Checkpoint, Role, TensorId};
use crate::error::{At, Error, Result};
use crate::eval::variant::Variant;
use crate::eval::weights::block_weights;
use crate::model::{self, BlockWeights};
use crate::quantize::calibrated::{self, Coding, Moments, asymmetric_target};
use crate::quantize::{CodedTensor, Recipe, quantize};

/// Tensors that are read together, in the order of the computation.
#[derive(Debug, Clone)]
pub struct Unit {
    tensors: Vec<(TensorId, Vec<f32>)>,
}

impl Unit {
    /// Reads tensors.
    ///
    /// # Errors
    /// Input errors of the checkpoint.
    pub fn read(checkpoint: &Checkpoint, ids: &[TensorId]) -> Result<Self> {
        let read = |id: &TensorId| Ok((*id, checkpoint.read(*id)?));
        Ok(Unit { tensors: ids.iter().map(read).collect::<Result<_>>()? })
    }

    /// The values of a role's weight, or of its bias, leaving none.
    pub fn take(&mut self, role: Role, bias: bool) -> Option<Vec<f32>> {
        self.find(role, bias).map(std::mem::take)
    }

    /// Puts values back.
    pub fn put(&mut self, role: Role, bias: bool, values: Vec<f32>) {
        if let Some(place) = self.find(role, bias) {
            *place = values;
        }
    }

    fn find(&mut self, role: Role, bias: bool) -> Option<&mut Vec<f32>> {
        let found = self.tensors.iter_mut().find(|(id, _)| id.role == role && id.bias == bias);
        found.map(|(_, values)| values)
    }

    /// The unit as a block or an MLP takes it.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn weights(&self, checkpoint: &Checkpoint, device: &Device) -> Result<BlockWeights> {
        block_weights(checkpoint, device, self.tensors.iter().cloned())
    }
}

/// What calibration knows of the inputs of linear layers when they are coded.
pub struct Seen {
    /// The second moment of what they are given.
    pub own: Moments,
    /// What they are to make up for.
    pub wanted: Wanted,
}

/// What a linear layer is to make up for beside its own coding.
pub enum Wanted {
    /// Nothing: its target are the weights.
    Nothing,
    /// That its inputs are not the reference's: `E[x x̂ᵀ]` `[in, in]`, the reference's first.
    Inputs(Vec<f64>),
    /// What its outputs lack of the reference's: `E[(y - ŷ) x̂ᵀ]` `[out, in]`.
    Outputs(Vec<f64>),
}

/// One coded tensor, and what its steps were worth where it was calibrated.
pub struct Fitted {
    /// Which.
    pub id: TensorId,
    /// Its codes.
    pub tensor: CodedTensor,
    /// Errors after each step.
    pub coding: Option<Coding>,
}

/// Codes the tensors of a unit one by one.
pub struct Coder<'a> {
    checkpoint: &'a Checkpoint,
    variant: &'a Variant,
    device: &'a Device,
    unit: Unit,
    fitted: Vec<Fitted>,
}

impl<'a> Coder<'a> {
    /// Codes what is no linear layer, which is stored at fp16, and leaves the others as they are.
    ///
    /// # Errors
    /// Input errors: values that fp16 does not hold.
    pub fn new(
        checkpoint: &'a Checkpoint,
        variant: &'a Variant,
        device: &'a Device,
        unit: Unit,
    ) -> Result<Self> {
        let mut coder = Coder { checkpoint, variant, device, unit, fitted: Vec::new() };
        for at in 0..coder.unit.tensors.len() {
            let (id, _) = coder.unit.tensors[at];
            if id.bias || !id.role.is_linear() {
                coder.put(at, None)?;
            }
        }
        Ok(coder)
    }

    /// The unit as it is by now.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn weights(&self) -> Result<BlockWeights> {
        self.unit.weights(self.checkpoint, self.device)
    }

    /// Codes the linear layer with a role, and gives what its codes decode to, `[out, in]`.
    ///
    /// # Errors
    /// Input errors: moments that are not finite, a recipe that does not fit.
    pub fn code(&mut self, role: Role, seen: Option<&Seen>) -> Result<Tensor> {
        let is_it = |(id, _): &(TensorId, Vec<f32>)| id.role == role && !id.bias;
        let at = self.unit.tensors.iter().position(is_it);
        let at = at.ok_or_else(|| Error::bug(format!("a unit without {role:?}")))?;
        self.put(at, seen)?;
        let (id, values) = &self.unit.tensors[at];
        model::matrix(values.clone(), self.checkpoint.stored(*id)?.matrix(), self.device)
    }

    /// Codes a tensor and puts what the codes decode to in its place.
    fn put(&mut self, at: usize, seen: Option<&Seen>) -> Result<()> {
        let (id, values) = &mut self.unit.tensors[at];
        let stored = self.checkpoint.stored(*id)?;
        let (recipe, shape) = (self.variant.recipe_of(*id, stored), stored.matrix());
        let steps = self.variant.method_of(*id).steps();
        let place = || format!("tensor {}", id.name());
        let (tensor, coding) = match (seen, steps) {
            (Some(seen), Some(steps)) if recipe != Recipe::Half => {
                let target = seen.target(values, shape).at(place)?;
                let seed = seed(&id.name());
                let (tensor, coding) =
                    calibrated::code(&recipe, &target, shape, &seen.own, steps, seed).at(place)?;
                (Some(tensor), Some(coding))
            }
            _ => (quantize(&recipe, values, shape, None).at(place)?, None),
        };
        let tensor = tensor
            .ok_or_else(|| Error::input(format!("{recipe} has no coded form")).at(place()))?;
        *values = tensor.decode();
        self.fitted.push(Fitted { id: *id, tensor, coding });
        Ok(())
    }

    /// Everything coded, in the order of the computation.
    pub fn finish(mut self) -> Vec<Fitted> {
        let place = |fitted: &Fitted| self.unit.tensors.iter().position(|(id, _)| *id == fitted.id);
        self.fitted.sort_by_key(place);
        self.fitted
    }
}

impl Seen {
    /// What weights `[out, in]` should be, given all this.
    fn target(&self, weights: &[f32], shape: [usize; 2]) -> Result<Vec<f32>> {
        match &self.wanted {
            Wanted::Nothing => Ok(weights.to_vec()),
            Wanted::Inputs(cross) => {
                asymmetric_target(weights, shape, Some(cross), &self.own, None)
            }
            Wanted::Outputs(lack) => asymmetric_target(weights, shape, None, &self.own, Some(lack)),
        }
    }
}

/// Where random choices of a tensor start: its own place, whatever else is coded.
fn seed(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    hash.as_bytes()[..8].iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}
