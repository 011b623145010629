//! How the weights of a file were coded: on which text, with which errors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::origin::Origin;
use crate::results::TunedLayer;

/// The calibration of a file's tensors.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calibrated {
    /// The text or moments that they were calibrated on; `None` if they were not calibrated.
    pub origin: Option<Origin>,
    /// By tensor: each step of coding and the relative error of the tensor's outputs after it.
    pub errors: BTreeMap<String, Vec<(String, f64)>>,
    /// How the tensors were coded.
    pub provenance: Provenance,
}

/// How tensors were coded, apart from the errors. It has no times, so that coding again gives the same
/// file bit for bit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Experts that received too few tokens and were coded on the tokens of all experts.
    #[serde(default)]
    pub pooled_experts: usize,
    /// Inputs of linear layers that were always zero.
    #[serde(default)]
    pub dead_inputs: usize,
    /// Tensors whose codes were found from the weights alone, because calibrated codes were worse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_free: Vec<String>,
    /// By tensor: geometric over arithmetic mean of its error weights.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flatness: BTreeMap<String, f64>,
    /// By layer: what fine-tuning did.
    #[serde(default)]
    pub tuned: BTreeMap<usize, TunedLayer>,
    /// What tuning all layers together did: mean KL divergences in nats.
    #[serde(default)]
    pub tuned_whole: Option<TunedLayer>,
}

impl Calibrated {
    /// Adds the calibration of other layers of the same variant, from another file.
    pub fn join(&mut self, other: &Calibrated) {
        self.errors.extend(other.errors.clone());
        self.provenance.pooled_experts += other.provenance.pooled_experts;
        self.provenance.dead_inputs += other.provenance.dead_inputs;
        self.provenance.data_free.extend(other.provenance.data_free.clone());
        self.provenance.flatness.extend(other.provenance.flatness.clone());
        self.provenance.tuned.extend(&other.provenance.tuned);
    }
}
