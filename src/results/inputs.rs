//! The text on which codes and the ranges of int8 inputs were chosen, as records have it.

use serde::{Deserialize, Serialize};

/// What codes or the ranges of int8 inputs were chosen on, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Calibration {
    /// Name of the text.
    pub text_name: String,
    /// Number of windows, of the same length as those that are scored.
    pub windows: usize,
    /// Hash of their tokens, in hexadecimal.
    pub windows_hash: String,
    /// How ranges were chosen: `minmax`, `percentile` or `entropy`; for variants without int8 inputs
    /// [`SECOND_MOMENTS`](Self::SECOND_MOMENTS).
    pub method: String,
    /// Content hash of the saved second moments by which codes were chosen, in hexadecimal; `None` if
    /// the windows were run through the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moments_hash: Option<String>,
    /// What ran the model on the windows: `accelerate` or `metal`; `None` for the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

impl Calibration {
    /// The method of variants of which only the codes are calibrated.
    pub const SECOND_MOMENTS: &str = "second moments";

    /// What distinguishes variants of one name: how ranges were chosen, and saved second moments. `None`
    /// if neither applies.
    pub(super) fn how(&self) -> Option<String> {
        let moments = self.moments_hash.as_ref().map(|hash| format!("moments {hash:.8}"));
        let words = self.ranges().map(str::to_owned).into_iter().chain(moments);
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// How ranges were chosen; `None` for variants without int8 inputs.
    pub fn ranges(&self) -> Option<&str> {
        Some(self.method.as_str()).filter(|method| *method != Self::SECOND_MOMENTS)
    }
}

/// The scale of one input that was rounded to int8: the size of a step, with 127 steps in either
/// direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InputScale {
    /// The block, from 0; `None` for the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// `attention` (queries, keys and values), `output`, `mlp` (gate and up), `down`, `head`.
    pub input: String,
    /// The scale, an fp16 number.
    pub scale: f32,
}

/// An activation that fp16 does not hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fp16Overflow {
    /// The layer; `None` for the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// What overflows where, and by how much, in words.
    pub what: String,
    /// Its largest magnitude.
    pub magnitude: f32,
}
