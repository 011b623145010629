//! Inputs of linear layers that a variant rounds to int8, as records have them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the ranges of int8 inputs were chosen on, and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Name of the text.
    pub text_name: String,
    /// Windows, as long as those that are scored.
    pub windows: usize,
    /// Hash of their tokens, in hexadecimal.
    pub windows_hash: String,
    /// `minmax`, `percentile` or `entropy`.
    pub method: String,
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Calibration { text_name, windows, method, .. } = self;
        write!(f, "by {method} on {windows} windows of {text_name}")
    }
}

/// The scale of one input that was rounded to int8: steps of this size, 127 in either direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InputScale {
    /// The block, from 0; none for the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// `attention` (queries, keys and values), `output`, `mlp` (gate and up), `down`, `head`.
    pub input: String,
    /// The scale, an fp16 number.
    pub scale: f32,
}
