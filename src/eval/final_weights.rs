//! The final norm, and the bias of the head: what the head has besides its matrix.

use std::ops::Range;

use candle_core::{Device, Tensor};

use crate::checkpoint::config::Config;
use crate::checkpoint::{Checkpoint, Role, TensorId};
use crate::error::Result;
use crate::model::{self, HeadSlice, NormLayer};

/// The final norm, and the bias of the head.
#[derive(Debug, Clone)]
pub struct FinalWeights {
    /// The norm.
    pub norm: NormLayer,
    /// The bias `[vocab]`, if the family has one.
    head_bias: Option<Tensor>,
}

impl FinalWeights {
    /// Their tensors, in the order of the computation.
    pub fn ids(config: &Config) -> Vec<TensorId> {
        let bias = TensorId::model(Role::Head).with_bias();
        config.final_norm_tensors().into_iter().chain(config.head_bias.then_some(bias)).collect()
    }

    /// The weights with these values.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn new(
        config: &Config,
        device: &Device,
        tensors: impl Iterator<Item = (TensorId, Vec<f32>)>,
    ) -> Result<Self> {
        let (mut gain, mut bias, mut head_bias) = (None, None, None);
        for (id, values) in tensors {
            let place = match (id.role, id.bias) {
                (Role::Head, _) => &mut head_bias,
                (_, true) => &mut bias,
                (_, false) => &mut gain,
            };
            *place = Some(model::vector(values, device)?);
        }
        Ok(FinalWeights { norm: NormLayer::of_states(config.norm, gain, bias), head_bias })
    }

    /// The reference's.
    ///
    /// # Errors
    /// Input errors of the checkpoint.
    pub fn read(checkpoint: &Checkpoint, device: &Device) -> Result<Self> {
        let read = |id: TensorId| Ok((id, checkpoint.read(id)?));
        let tensors = Self::ids(&checkpoint.config).into_iter().map(read);
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        Self::new(&checkpoint.config, device, tensors.into_iter())
    }

    /// The head's rows `rows` with the bias that belongs to them.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn slice(&self, weight: Tensor, rows: Range<usize>) -> Result<HeadSlice> {
        let narrow = |bias: &Tensor| bias.narrow(0, rows.start, rows.len());
        let bias = self.head_bias.as_ref().map(narrow).transpose().map_err(model::failed)?;
        Ok(HeadSlice { weight, bias })
    }
}
