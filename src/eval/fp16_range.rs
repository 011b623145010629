//! Where a variant's activations leave the range of fp16, in which its packages compute on a phone.

use std::fmt;

use crate::model::{self, Activation, Watch};
use crate::units::significant;

/// The first activation of a window that fp16 does not hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fp16Overflow {
    /// The layer; `None` for the head.
    pub layer: Option<usize>,
    /// The activation.
    pub of: Activation,
    /// Its largest magnitude.
    pub magnitude: f32,
}

impl Fp16Overflow {
    /// Keeps what `watch` saw in `layer`, if nothing was seen before.
    pub fn note(first: &mut Option<Fp16Overflow>, layer: Option<usize>, watch: &Watch) {
        let Some(model::Overflow { of, magnitude }) = watch.first() else { return };
        first.get_or_insert(Fp16Overflow { layer, of, magnitude });
    }
}

impl fmt::Display for Fp16Overflow {
    /// `layer 3: the keys reach 81000, but fp16 holds 65504`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Some(layer) => write!(f, "layer {layer}: ")?,
            None => write!(f, "head: ")?,
        }
        let magnitude = significant(f64::from(self.magnitude), 3);
        write!(f, "{} reach {magnitude}, but fp16 holds at most 65504", self.of)
    }
}
