//! Builds a block's weights from decoded tensors.

use candle_core::Device;

use crate::checkpoint::{Checkpoint, Role, TensorId};
use crate::error::Result;
use crate::model::{self, BlockWeights, LinearLayer};

/// Puts decoded tensors on the device, without a copy if the device uses main memory.
///
/// # Errors
/// Bug-class errors of candle, and for a tensor that the checkpoint does not have.
pub fn block_weights(
    checkpoint: &Checkpoint,
    device: &Device,
    tensors: impl Iterator<Item = (TensorId, Vec<f32>)>,
) -> Result<BlockWeights> {
    let (mut matrices, mut biases) = (Vec::new(), Vec::new());
    let mut weights = BlockWeights::default();
    for (id, values) in tensors {
        match id.role {
            role if id.bias && role.is_norm() => {
                weights.norm_bias(role, model::vector(values, device)?);
            }
            role if id.bias => biases.push((role, model::vector(values, device)?)),
            Role::Sinks => weights.sinks(values),
            role if role.is_linear() || role.is_small_matrix() => matrices.push((id, values)),
            role => weights.vector(role, model::vector(values, device)?),
        }
    }
    for (id, values) in matrices {
        let shape = checkpoint.stored(id)?.matrix();
        let bias = biases.iter().find(|(role, _)| *role == id.role).map(|(_, b)| b.clone());
        let weight = model::matrix(values, shape, device)?;
        weights.linear(id.role, LinearLayer { weight, bias });
    }
    Ok(weights)
}
