//! The inputs of linear layers, and how they are rounded to int8.
//!
//! Rounding is that of Core ML's `quantize` and `dequantize` on fp16: `x` and `x / scale` are fp16,
//! ties go to the even code, codes are clamped to -128..127, and `code * scale` is fp16 again.

use candle_core::{Result, Tensor};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::checkpoint::Role;
use crate::checkpoint::config::Config;

/// An input of linear layers. Layers that read the same states share an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// Normed states before queries, keys and values.
    Attention,
    /// The result of attention, before its output projection.
    Output,
    /// Normed states before gate and up.
    Mlp,
    /// The product of gate and up, before down.
    Down,
    /// Normed states before the head.
    Head,
    /// The narrow state that queries come from, in latent attention.
    QueryLatent,
    /// The narrow state that keys and values come from, in latent attention.
    KvLatent,
    /// The inner state of a shared expert, before its down.
    SharedDown,
}

/// Names in records and errors, in the order of [`Input`].
const NAMES: [&str; 8] =
    ["attention", "output", "mlp", "down", "head", "query_latent", "kv_latent", "shared_down"];

impl Input {
    /// All inputs.
    pub const ALL: [Input; 8] = [
        Input::Attention,
        Input::Output,
        Input::Mlp,
        Input::Down,
        Input::Head,
        Input::QueryLatent,
        Input::KvLatent,
        Input::SharedDown,
    ];

    /// The inputs that a block may have, in the order of the computation.
    pub const BLOCK: [Input; 7] = [
        Input::Attention,
        Input::QueryLatent,
        Input::KvLatent,
        Input::Output,
        Input::Mlp,
        Input::SharedDown,
        Input::Down,
    ];

    /// The input of the layer with this role. `None` for the router and for roles that are not
    /// linear layers.
    pub fn of(role: Role) -> Option<Input> {
        match role {
            Role::Query | Role::Key | Role::Value => Some(Input::Attention),
            Role::QueryDown | Role::KvDown | Role::ConvInput => Some(Input::Attention),
            Role::QueryUp => Some(Input::QueryLatent),
            Role::KvUp => Some(Input::KvLatent),
            Role::Output | Role::ConvOutput => Some(Input::Output),
            Role::Gate | Role::Up | Role::SharedGate | Role::SharedUp => Some(Input::Mlp),
            Role::Down => Some(Input::Down),
            Role::SharedDown => Some(Input::SharedDown),
            Role::Head => Some(Input::Head),
            _ => None,
        }
    }

    /// The inputs of a layer's linear layers outside routed experts, in the order of the computation.
    pub fn of_layer(config: &Config, layer: usize) -> Vec<Input> {
        let ids = config.block_tensors(layer);
        let is_there =
            |input: &Input| ids.iter().any(|id| !id.bias && Input::of(id.role) == Some(*input));
        Input::BLOCK.into_iter().filter(is_there).collect()
    }

    /// Whether it is a narrow state of latent attention.
    pub fn is_latent(self) -> bool {
        matches!(self, Input::QueryLatent | Input::KvLatent)
    }

    /// Whether it is an input of what mixes tokens, and not of the MLP.
    pub fn is_of_mixer(self) -> bool {
        use Input::{Attention, KvLatent, Output, QueryLatent};
        matches!(self, Attention | Output | QueryLatent | KvLatent)
    }

    /// The input with this name.
    pub fn named(name: &str) -> Option<Input> {
        Input::ALL.into_iter().find(|input| input.name() == name)
    }

    /// Its name: `attention`, `output`, `mlp`, `down`, `head`, or one of those of latent attention and
    /// shared experts.
    pub fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// How the inputs of a block's linear layers are treated.
#[derive(Clone, Copy)]
pub enum InputMode<'a> {
    /// They are used as they are computed.
    AsComputed,
    /// They are used as they are computed, and passed, row-major, to this function, on the thread
    /// that computes them.
    Shown(&'a (dyn Fn(Input, &[f32]) + Sync)),
    /// An input for which this function gives a scale is rounded to int8.
    Int8(&'a (dyn Fn(Input) -> Option<f16> + Sync)),
}

impl InputMode<'_> {
    /// The tensor that the layer gets for `x`, which is `input`.
    pub(super) fn pass(&self, input: Input, x: &Tensor) -> Result<Tensor> {
        match self {
            InputMode::AsComputed => Ok(x.clone()),
            InputMode::Shown(show) => {
                show(input, &x.flatten_all()?.to_vec1::<f32>()?);
                Ok(x.clone())
            }
            InputMode::Int8(scale_of) => match scale_of(input) {
                Some(scale) => in_int8(x, scale),
                None => Ok(x.clone()),
            },
        }
    }
}

/// `x` rounded to int8 with this scale.
pub(super) fn in_int8(x: &Tensor, scale: f16) -> Result<Tensor> {
    let mut values = x.flatten_all()?.to_vec1::<f32>()?;
    round_to_int8(&mut values, scale);
    Tensor::from_vec(values, x.shape(), x.device())
}

/// Rounds values to int8 with this scale, and back. NaN stays NaN.
fn round_to_int8(values: &mut [f32], scale: f16) {
    /// Values at a time, as many as fit in a first-level cache.
    const CHUNK: usize = 1024;
    let scale = scale.to_f32();
    let mut halves = [f16::ZERO; CHUNK];
    for chunk in values.chunks_mut(CHUNK) {
        let halves = &mut halves[..chunk.len()];
        round_to_half(chunk, halves);
        chunk.iter_mut().for_each(|value| *value /= scale);
        round_to_half(chunk, halves);
        chunk.iter_mut().for_each(|v| *v = v.round_ties_even().clamp(-128.0, 127.0) * scale);
        round_to_half(chunk, halves);
    }
}

fn round_to_half(values: &mut [f32], halves: &mut [f16]) {
    halves.convert_from_f32_slice(values);
    halves.convert_to_f32_slice(values);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        scale: u16,
        inputs: Vec<u16>,
        codes: Vec<i8>,
        outputs: Vec<u16>,
    }

    /// `tests/peers/activations_coremltools.py` makes and checks the file.
    #[test]
    fn inputs_are_rounded_as_coremltools_rounds_them() {
        let golden = include_str!("../../tests/golden/activations_coremltools.json");
        let cases: Vec<Case> = serde_json::from_str(golden).unwrap();
        assert_eq!(cases.len(), 5);
        let floats = |bits: &[u16]| -> Vec<f32> {
            bits.iter().map(|bits| f16::from_bits(*bits).to_f32()).collect()
        };
        for case in cases {
            let scale = f16::from_bits(case.scale);
            let mut values = floats(&case.inputs);
            round_to_int8(&mut values, scale);
            let expected = floats(&case.outputs);
            assert_eq!(values, expected, "scale {scale}");
            let decoded = case.codes.iter().map(|code| f32::from(*code) * scale.to_f32());
            let decoded: Vec<f32> = decoded.map(|v| f16::from_f32(v).to_f32()).collect();
            assert_eq!(values, decoded, "scale {scale}");
        }
    }

    #[test]
    fn a_quotient_is_fp16_before_it_is_rounded_and_nan_is_kept() {
        // 2.490234 / 0.019996643 is 124.53, which is 124.5 in fp16, and then the even 124.
        let mut values = [2.490_234_4, f32::NAN, f32::INFINITY];
        round_to_int8(&mut values, f16::from_f32(0.02));
        assert_eq!(values[0], f16::from_f32(124.0 * f16::from_f32(0.02).to_f32()).to_f32());
        assert!(values[1].is_nan());
        assert_eq!(values[2], f16::from_f32(127.0 * f16::from_f32(0.02).to_f32()).to_f32());
    }
}
