//! The reference: a decoder in candle. Callers give it its weights; it owns none.
//!
//! There is one decoder for all families, which differ by switches in [`Config`]. Everything works
//! on one window at a time: `[tokens, hidden]`, positions counted from the window's first token,
//! causal attention. Since each window is computed by itself, results do not depend on batches or
//! threads.

mod attention;
mod backend;
mod block;
mod block_weights;
mod device;
mod gemm;
mod gradient;
mod inputs;
mod magnitude;
mod mixer;
mod mlp;
mod norm;
mod ops;
mod rope;
mod routing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_demo;

use candle_core::{CpuStorage, Device, Storage, Tensor};
use half::f16;

pub use attention::QUERY_BLOCK;
pub use backend::product;
pub use block::Block;
pub use block_weights::{BlockWeights, LATENT_EPS, LinearLayer};
pub use device::{Backend, FAST_MATH, device};
pub use gradient::{DifferentiableBlock, norm_gradients};
pub use inputs::{Input, InputMode};
pub use magnitude::{Activation, FP16_OVERFLOW, Overflow, Watch};
pub use mlp::Mlp;
pub use norm::NormLayer;
pub use ops::{exp, max};
pub use rope::RopeTables;
pub use routing::Routed;

use crate::checkpoint::config::Config;
use crate::error::{Error, Result};

/// The error for a failure of candle. Shapes have been checked before, so it is a bug or a lack of
/// memory.
pub(crate) fn failed(cause: candle_core::Error) -> Error {
    Error::bug("candle refused an operation").because(cause)
}

/// `[rows, columns]` on `device`, from row-major values.
///
/// # Errors
/// A bug-class error if the number of values is not rows × columns.
pub fn matrix(values: Vec<f32>, [rows, columns]: [usize; 2], device: &Device) -> Result<Tensor> {
    Tensor::from_vec(values, (rows, columns), device).map_err(failed)
}

/// The values of a tensor, row-major.
///
/// # Errors
/// Bug-class errors from candle.
pub fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).map_err(failed)
}

/// Calls `use_them` with the values of a contiguous tensor, without copying them if they are in
/// main memory.
///
/// # Errors
/// Bug-class errors from candle.
pub fn with_values<T>(tensor: &Tensor, use_them: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(CpuStorage::F32(all)), Some((start, end))) =
        (&*storage, layout.contiguous_offsets())
    {
        return Ok(use_them(&all[start..end]));
    }
    drop(storage);
    Ok(use_them(&values(tensor)?))
}

/// `[len]` on `device`.
///
/// # Errors
/// Bug-class errors from candle.
pub fn vector(values: Vec<f32>, device: &Device) -> Result<Tensor> {
    let len = values.len();
    Tensor::from_vec(values, len, device).map_err(failed)
}

/// Indices as a tensor on the device of `tensor`.
fn vector_like(indices: &[u32], tensor: &Tensor) -> Result<Tensor> {
    Tensor::new(indices, tensor.device()).map_err(failed)
}

/// The final norm of the rows `scored` of a window's hidden states `[tokens, hidden]`.
///
/// # Errors
/// Bug-class errors from candle.
pub fn final_norm(
    hidden: &Tensor,
    norm: &NormLayer,
    scored: std::ops::Range<usize>,
) -> Result<Tensor> {
    let rows = hidden.narrow(0, scored.start, scored.len()).and_then(|rows| rows.contiguous());
    norm.forward(&rows.map_err(failed)?).map_err(failed)
}

/// The tensor that a layer gets if its input is rounded to int8 with this scale.
///
/// # Errors
/// Bug-class errors from candle.
pub fn in_int8(x: &Tensor, scale: f16) -> Result<Tensor> {
    inputs::in_int8(x, scale).map_err(failed)
}

/// A slice of the head.
#[derive(Debug)]
pub struct HeadSlice {
    /// `[rows, hidden]`.
    pub weight: Tensor,
    /// `[rows]`.
    pub bias: Option<Tensor>,
}

/// Logits `[tokens, rows]` of one slice of the head.
///
/// # Errors
/// Bug-class errors from candle.
pub fn logits(normed: &Tensor, head: &HeadSlice, config: &Config) -> Result<Tensor> {
    let compute = || {
        let logits = product(normed, &head.weight.t()?)?;
        let logits = match &head.bias {
            Some(bias) => logits.broadcast_add(bias)?,
            None => logits,
        };
        match config.logit_softcap {
            Some(cap) => ops::softcap(logits, config.logit_scale, cap),
            None if config.logit_scale != 1.0 => logits * f64::from(config.logit_scale),
            None => Ok(logits),
        }
    };
    compute().map_err(failed)
}
