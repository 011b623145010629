//! Watches the tensors of a forward pass for values that fp16 does not hold.
//!
//! The reference computes in f32. A package computes in fp16 on a phone, where a larger value becomes
//! infinite. What a package computes and the reference does not, such as the halves of a rotation or
//! products before channel scales, is not watched.

use std::cell::Cell;
use std::fmt;

use candle_core::{Result, Tensor};
use pulp::Arch;

use super::backend::has_own_operations;
use super::{ops, with_values};

/// The smallest magnitude that becomes infinite when it is rounded to fp16.
pub const FP16_OVERFLOW: f32 = 65_520.0;

/// A tensor of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Activation {
    AttentionInput,
    Query,
    Key,
    Value,
    Scores,
    Attended,
    StatesAfterAttention,
    MlpInput,
    Gate,
    Up,
    Product,
    Router,
    StatesAfterMlp,
    HeadInput,
    Logits,
}

impl Activation {
    /// All of them, in the order of the computation.
    pub const ALL: [Activation; 15] = [
        Activation::AttentionInput,
        Activation::Query,
        Activation::Key,
        Activation::Value,
        Activation::Scores,
        Activation::Attended,
        Activation::StatesAfterAttention,
        Activation::MlpInput,
        Activation::Gate,
        Activation::Up,
        Activation::Product,
        Activation::Router,
        Activation::StatesAfterMlp,
        Activation::HeadInput,
        Activation::Logits,
    ];
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activation::AttentionInput => "the normed input of attention",
            Activation::Query => "the queries",
            Activation::Key => "the keys",
            Activation::Value => "the values",
            Activation::Scores => "the attention scores",
            Activation::Attended => "the result of attention",
            Activation::StatesAfterAttention => "the hidden states after attention",
            Activation::MlpInput => "the normed input of the MLP",
            Activation::Gate => "the gate projection",
            Activation::Up => "the up projection",
            Activation::Product => "the product of gate and up",
            Activation::Router => "the router's logits",
            Activation::StatesAfterMlp => "the hidden states after the MLP",
            Activation::HeadInput => "the normed input of the head",
            Activation::Logits => "the logits",
        })
    }
}

/// A tensor with a value that fp16 does not hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overflow {
    /// The tensor.
    pub of: Activation,
    /// Its largest magnitude.
    pub magnitude: f32,
}

/// Watches one forward pass of one window, on one thread.
#[derive(Debug, Default)]
pub struct Watch {
    is_off: bool,
    first: Cell<Option<Overflow>>,
}

impl Watch {
    /// Watches nothing and costs nothing.
    pub fn off() -> Self {
        Watch { is_off: true, first: Cell::new(None) }
    }

    /// The first tensor that overflowed.
    pub fn first(&self) -> Option<Overflow> {
        self.first.get()
    }

    /// Looks at a tensor.
    ///
    /// # Errors
    /// Candle's errors.
    pub fn see(&self, of: Activation, x: &Tensor) -> Result<()> {
        self.see_scaled(of, x, 1.0)
    }

    /// Looks at a tensor times `scale`, which is positive.
    ///
    /// # Errors
    /// Candle's errors.
    pub fn see_scaled(&self, of: Activation, x: &Tensor, scale: f32) -> Result<()> {
        if self.is_off || self.first.get().is_some() {
            return Ok(());
        }
        let magnitude = if has_own_operations(x.device()) {
            with_values(x, |values| Arch::new().dispatch(|| ops::max_magnitude(values)))
                .map_err(|e| candle_core::Error::Msg(e.to_string()))?
        } else {
            x.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?
        };
        let magnitude = magnitude * scale;
        if magnitude >= FP16_OVERFLOW {
            self.first.set(Some(Overflow { of, magnitude }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_first_tensor_beyond_fp16_is_kept() {
        let x = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let watch = Watch::default();
        watch.see(Activation::Query, &x(&[65_519.0, -65_504.0, f32::NAN, 1.0])).unwrap();
        assert_eq!(watch.first(), None);
        let long: Vec<f32> = (0..100).map(|at| if at == 77 { -65_520.0 } else { 1.0 }).collect();
        watch.see_scaled(Activation::Scores, &x(&long), 0.5).unwrap();
        assert_eq!(watch.first(), None);
        watch.see(Activation::Key, &x(&long)).unwrap();
        watch.see(Activation::Value, &x(&[f32::INFINITY])).unwrap();
        let expected = Overflow { of: Activation::Key, magnitude: 65_520.0 };
        assert_eq!(watch.first(), Some(expected));
        let off = Watch::off();
        off.see(Activation::Value, &x(&[f32::INFINITY])).unwrap();
        assert_eq!(off.first(), None);
    }
}
