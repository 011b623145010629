//! Element-wise operations that are slow in candle-core on the CPU, as in-place operations for the
//! vector unit that is found at run time. On other devices candle-nn's own are used.
//!
//! Sums have a fixed number of lanes, so that results do not depend on the width of the vector
//! unit.

use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use pulp::Arch;

mod activation;

use super::backend::has_own_operations;
pub use activation::{ActivationFunction, softcap};

/// Partial sums per row: one AVX-512 register, two AVX2 ones, four NEON ones.
const LANES: usize = 16;

/// Steepness of gpt-oss's gate.
const ALPHA: f32 = 1.702;

/// RMS norm of each row of `x` `[rows, columns]` times `gain` `[columns]` (Zhang & Sennrich 2019).
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    if !has_own_operations(x.device()) {
        return candle_nn::ops::rms_norm(x, gain, eps as f32);
    }
    let out = x.copy()?;
    out.inplace_op2(gain, &NormRows { eps: eps as f32, is_centered: false })?;
    Ok(out)
}

/// Layer norm of each row of `x` `[rows, columns]` times `gain` `[columns]` (Ba et al. 2016).
pub fn layer_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    if !has_own_operations(x.device()) {
        return candle_nn::ops::layer_norm(x, gain, &gain.zeros_like()?, eps as f32);
    }
    let out = x.copy()?;
    out.inplace_op2(gain, &NormRows { eps: eps as f32, is_centered: true })?;
    Ok(out)
}

/// `silu(gate) * up`, element by element. The result replaces `gate`.
pub fn swiglu(gate: Tensor, up: &Tensor) -> Result<Tensor> {
    if !has_own_operations(gate.device()) {
        return candle_nn::ops::silu(&gate)? * up;
    }
    gate.inplace_op2(up, &SwiGlu)?;
    Ok(gate)
}

/// gpt-oss's `(up + 1) * gate * sigmoid(1.702 * gate)`, with gate clamped to at most `limit` and up
/// to ±`limit`. The result replaces `gate`.
pub fn clamped_swiglu(gate: Tensor, up: &Tensor, limit: f64) -> Result<Tensor> {
    if has_own_operations(gate.device()) {
        gate.inplace_op2(up, &ClampedSwiGlu { limit: limit as f32 })?;
        return Ok(gate);
    }
    let gate = gate.minimum(limit)?;
    let up = (up.clamp(-limit, limit)? + 1.0)?;
    up * (candle_nn::ops::sigmoid(&(&gate * f64::from(ALPHA))?)? * gate)?
}

/// Adds `b` to `a` of the same shape. The result replaces `a`.
pub fn add(a: Tensor, b: &Tensor) -> Result<Tensor> {
    if !has_own_operations(a.device()) {
        return a + b;
    }
    a.inplace_op2(b, &Add)?;
    Ok(a)
}

/// Which keys a block of queries sees.
#[derive(Debug, Clone)]
pub struct AttentionMask {
    /// Factor on the scores.
    pub scale: f32,
    /// Position of the first query, counted from the first key.
    pub first: usize,
    /// The number of last keys that a query sees, including its own; `None` for all.
    pub window: Option<usize>,
    /// For each head a logit that takes part in the softmax but attends to no key.
    pub sinks: Option<Vec<f32>>,
}

/// Softmax of `scale * scores` `[heads, queries, keys]` over the keys that a query may see: those
/// up to its own position and within its window. Other keys get weight 0.
pub fn masked_softmax(scores: Tensor, mask: &AttentionMask) -> Result<Tensor> {
    if has_own_operations(scores.device()) {
        scores.inplace_op1(mask)?;
        return Ok(scores);
    }
    let (heads, queries, keys) = scores.dims3()?;
    let device = &scores.device().clone();
    let last = (mask.first + queries) as u32;
    let query = Tensor::arange(mask.first as u32, last, device)?.unsqueeze(1)?;
    let key = Tensor::arange(0, keys as u32, device)?.unsqueeze(0)?;
    let mut hidden = key.broadcast_gt(&query)?.to_dtype(DType::F32)?;
    if let Some(window) = mask.window {
        let past = (key + window as f64)?.broadcast_le(&query)?.to_dtype(DType::F32)?;
        hidden = (hidden + past)?;
    }
    let masked = (scores * f64::from(mask.scale))?.broadcast_add(&(hidden * -1e30)?)?;
    let Some(sinks) = &mask.sinks else { return candle_nn::ops::softmax_last_dim(&masked) };
    let sinks = Tensor::new(sinks.as_slice(), device)?.reshape((heads, 1, 1))?;
    // Of an expanded tensor that is no copy, `cat` makes a result that softmax refuses.
    let sinks = sinks.expand((heads, queries, 1))?.contiguous()?;
    let with_sinks = Tensor::cat(&[masked, sinks], 2)?;
    candle_nn::ops::softmax_last_dim(&with_sinks)?.narrow(2, 0, keys)?.contiguous()
}

/// Both norms; the layer norm subtracts the mean first.
struct NormRows {
    eps: f32,
    is_centered: bool,
}

struct SwiGlu;

struct Add;

struct ClampedSwiGlu {
    limit: f32,
}

impl InplaceOp2 for NormRows {
    fn name(&self) -> &'static str {
        "norm-rows"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        l: &Layout,
        gain: &CpuStorage,
        lg: &Layout,
    ) -> Result<()> {
        let (x, gain) = (slice_mut(x, l)?, slice(gain, lg)?);
        let count = gain.len() as f32;
        Arch::new().dispatch(|| {
            for row in x.chunks_exact_mut(gain.len()) {
                if self.is_centered {
                    let mean = sum(row, |v| v) / count;
                    row.iter_mut().for_each(|v| *v -= mean);
                }
                let mean_square = sum(row, |v| v * v) / count;
                let factor = 1.0 / (mean_square + self.eps).sqrt();
                row.iter_mut().zip(gain).for_each(|(v, g)| *v = *v * factor * g);
            }
        });
        Ok(())
    }
}

impl InplaceOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &mut CpuStorage,
        l: &Layout,
        up: &CpuStorage,
        lu: &Layout,
    ) -> Result<()> {
        let (gate, up) = (slice_mut(gate, l)?, slice(up, lu)?);
        Arch::new().dispatch(|| {
            gate.iter_mut().zip(up).for_each(|(g, u)| *g = *g / (1.0 + exp(-*g)) * u);
        });
        Ok(())
    }
}

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, a: &mut CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<()> {
        let (a, b) = (slice_mut(a, la)?, slice(b, lb)?);
        Arch::new().dispatch(|| a.iter_mut().zip(b).for_each(|(a, b)| *a += b));
        Ok(())
    }
}

impl InplaceOp2 for ClampedSwiGlu {
    fn name(&self) -> &'static str {
        "clamped-swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &mut CpuStorage,
        l: &Layout,
        up: &CpuStorage,
        lu: &Layout,
    ) -> Result<()> {
        let (gate, up) = (slice_mut(gate, l)?, slice(up, lu)?);
        let limit = self.limit;
        Arch::new().dispatch(|| {
            gate.iter_mut().zip(up).for_each(|(g, u)| {
                // Written so that NaN stays NaN.
                let gate = if *g > limit { limit } else { *g };
                let up = u.clamp(-limit, limit);
                *g = (up + 1.0) * (gate / (1.0 + exp(-ALPHA * gate)));
            });
        });
        Ok(())
    }
}

impl InplaceOp1 for AttentionMask {
    fn name(&self) -> &'static str {
        "masked-softmax"
    }

    fn cpu_fwd(&self, scores: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (_, queries, keys) = layout.shape().dims3()?;
        let scores = slice_mut(scores, layout)?;
        Arch::new().dispatch(|| {
            for (index, row) in scores.chunks_exact_mut(keys).enumerate() {
                let end = (self.first + index % queries + 1).min(keys);
                let start = self.window.map_or(0, |window| end.saturating_sub(window));
                let sink = self.sinks.as_ref().map(|sinks| sinks[index / queries]);
                softmax(&mut row[start..end], self.scale, sink);
                row[..start].fill(0.0);
                row[end..].fill(0.0);
            }
        });
        Ok(())
    }
}

/// Replaces `row` by the softmax of `scale * row`, with the logit `sink` as one more term of the
/// sum.
#[inline(always)]
fn softmax(row: &mut [f32], scale: f32, sink: Option<f32>) {
    let largest = max(row) * scale;
    let largest = sink.map_or(largest, |sink| if sink > largest { sink } else { largest });
    row.iter_mut().for_each(|v| *v = exp(*v * scale - largest));
    let inverse = 1.0 / (sum(row, |v| v) + sink.map_or(0.0, |sink| exp(sink - largest)));
    row.iter_mut().for_each(|v| *v *= inverse);
}

/// The largest value of a row; negative infinity for an empty one.
#[inline(always)]
pub fn max(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(l, v)| *l = if *v > *l { *v } else { *l });
    }
    rest.iter().chain(&lanes).fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m })
}

/// The largest magnitude of a row; 0 for an empty one. NaN is passed over.
#[inline(always)]
pub fn max_magnitude(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(l, v)| *l = if v.abs() > *l { v.abs() } else { *l });
    }
    rest.iter().chain(&lanes).fold(0.0, |m, &v| if v.abs() > m { v.abs() } else { m })
}

#[inline(always)]
fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(l, v)| *l += of(*v));
    }
    rest.iter().map(|v| of(*v)).sum::<f32>() + lanes.iter().sum::<f32>()
}

/// `e^x` in f32 within 2 units in the last place, 0 below -87.3: Cody-Waite reduction and a
/// polynomial of degree 5 (Cephes `expf`), written so that it vectorizes.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let clamped = if x > -87.3 { x } else { -87.3 };
    let clamped = if clamped < 88.0 { clamped } else { 88.0 };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    let r = clamped - power * LN2_HIGH - power * LN2_LOW;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    let value = p * f32::from_bits(exponent);
    if x > -87.3 { value } else { 0.0 }
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("expected a contiguous f32 tensor"),
    }
}

fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("expected a contiguous f32 tensor"),
    }
}

#[cfg(test)]
mod tests;
