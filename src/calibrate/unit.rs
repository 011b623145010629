//! The tensors of a block or an expert while they are coded: they are read, equalised, and one after
//! another replaced by their decoded codes.

use candle_core::{Device, Tensor};

use super::chosen::TensorJob;
use super::observed::InputStats;
use crate::checkpoint::{Checkpoint, Role, TensorId};
use crate::error::{At, Error, Result};
use crate::eval::variant::Variant;
use crate::eval::weights::block_weights;
use crate::model::{self, BlockWeights, Input};
use crate::quantize::calibrated::Coding;
use crate::quantize::{CodedTensor, REFERENCE_IS_STORED, Recipe, quantize};

/// Tensors that are read and coded together, in the order of the computation.
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

    /// The roles of its linear layers.
    pub fn linear_roles(&self) -> Vec<Role> {
        let ids = self.tensors.iter().map(|(id, _)| id);
        ids.filter(|id| id.role.is_linear() && !id.bias).map(|id| id.role).collect()
    }

    /// The roles of the linear layers that read an input, in the order of the computation.
    pub fn readers(&self, input: Input) -> Vec<Role> {
        let roles = self.linear_roles().into_iter();
        roles.filter(|role| Input::of(*role) == Some(input)).collect()
    }

    /// Takes the values of a role's weight or bias out of the unit.
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

    /// The unit as the weights of a block or an MLP.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn weights(&self, checkpoint: &Checkpoint, device: &Device) -> Result<BlockWeights> {
        block_weights(checkpoint, device, self.tensors.iter().cloned())
    }
}

/// One coded tensor, and its errors if it was calibrated.
pub struct Fitted {
    /// The tensor.
    pub id: TensorId,
    /// Its codes.
    pub tensor: CodedTensor,
    /// Its errors after each step; `None` if it was not calibrated.
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
    /// Codes all tensors except the weights of linear layers, which are coded later.
    ///
    /// # Errors
    /// Input errors: values that fp16 cannot represent.
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

    /// The unit's weights in their current state, coded or not.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn weights(&self) -> Result<BlockWeights> {
        self.unit.weights(self.checkpoint, self.device)
    }

    /// The roles of the linear layers that read an input, in the order of the computation.
    pub fn readers(&self, input: Input) -> Vec<Role> {
        self.unit.readers(input)
    }

    /// Codes the linear layer with a role and returns its decoded weights, `[out, in]`.
    ///
    /// # Errors
    /// Input errors: moments that are not finite, a recipe that does not fit.
    pub fn code(&mut self, role: Role, stats: Option<&InputStats>) -> Result<Tensor> {
        let is_it = |(id, _): &(TensorId, Vec<f32>)| id.role == role && !id.bias;
        let at = self.unit.tensors.iter().position(is_it);
        let at = at.ok_or_else(|| Error::bug(format!("a unit without {role:?}")))?;
        self.put(at, stats)?;
        let (id, values) = &self.unit.tensors[at];
        model::matrix(values.clone(), self.checkpoint.stored(*id)?.matrix(), self.device)
    }

    /// Codes a tensor and replaces its values by the decoded codes.
    fn put(&mut self, at: usize, stats: Option<&InputStats>) -> Result<()> {
        let (id, values) = &mut self.unit.tensors[at];
        let stored = self.checkpoint.stored(*id)?;
        let (recipe, shape) = (self.variant.recipe_of(*id, stored), stored.matrix());
        let steps = self.variant.method_of(*id).steps();
        let place = || format!("tensor {}", id.name());
        let (tensor, coding) = match (stats, steps) {
            (Some(stats), Some(steps)) if recipe != Recipe::Half => {
                let seed = seed(&id.name());
                let job = TensorJob { recipe, weights: values, shape, steps, seed };
                let (tensor, coding) = job.code(stats).at(place)?;
                (Some(tensor), Some(coding))
            }
            _ => (quantize(&recipe, values, shape, None).at(place)?, None),
        };
        let tensor = tensor.ok_or_else(|| Error::input(REFERENCE_IS_STORED).at(place()))?;
        *values = tensor.decode();
        self.fitted.push(Fitted { id: *id, tensor, coding });
        Ok(())
    }

    /// All coded tensors, in the order of the computation.
    pub fn finish(mut self) -> Vec<Fitted> {
        let place = |fitted: &Fitted| self.unit.tensors.iter().position(|(id, _)| *id == fitted.id);
        self.fitted.sort_by_key(place);
        self.fitted
    }
}

/// The random seed of a tensor. It depends only on the tensor's name, not on what else is coded.
fn seed(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    hash.as_bytes()[..8].iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}
