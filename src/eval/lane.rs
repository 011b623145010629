//! One variant on its way through the layers: its hidden states, and what became of it.

use std::sync::Arc;

use candle_core::Tensor;

use super::calibration::InputScales;
use super::coded_file::CodedFile;
use super::divergence::{LayerRouting, Score};
use super::variant::Variant;
use crate::error::Error;
use crate::model::Routed;

/// Why a variant gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What went wrong, and where.
    pub what: String,
    /// How to mend it, or empty.
    pub hint: String,
}

impl From<&Error> for Cause {
    fn from(error: &Error) -> Self {
        Cause { what: error.cause(), hint: error.advice().unwrap_or_default().into() }
    }
}

/// A variant's state between two layers.
#[derive(Debug)]
pub struct Lane {
    /// What is being walked.
    pub variant: Variant,
    /// Where its coded weights are read from, if they are not coded in the walk.
    pub file: Option<Arc<CodedFile>>,
    /// Per window `[tokens, hidden]`, calibration windows after those that are scored; empty once
    /// the lane has failed.
    pub hidden: Vec<Tensor>,
    /// Per window where its tokens go, while a layer's experts run; empty otherwise.
    pub routed: Vec<Routed>,
    /// Per window and layer so far where its tokens went; empty without experts.
    pub routing: Vec<Vec<LayerRouting>>,
    /// The scales of its int8 inputs so far; empty for variants without.
    pub scales: InputScales,
    /// Hash over the hashes of everything coded so far.
    pub coded: [u8; 32],
    /// Set when the variant's weights could not be coded.
    pub failure: Option<Cause>,
}

impl Lane {
    /// A lane before its first layer.
    pub fn new(variant: Variant) -> Self {
        Lane {
            variant,
            file: None,
            hidden: Vec::new(),
            routed: Vec::new(),
            routing: Vec::new(),
            scales: InputScales::default(),
            coded: [0; 32],
            failure: None,
        }
    }

    /// Whether the lane still runs.
    pub fn is_alive(&self) -> bool {
        self.failure.is_none()
    }

    /// Notes that a tensor with this hash was coded.
    pub fn note(&mut self, hash: blake3::Hash) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.coded).update(hash.as_bytes());
        self.coded = *hasher.finalize().as_bytes();
    }

    /// Ends the lane; its hidden states are given back.
    pub fn fail(&mut self, error: &Error) {
        self.failure = Some(error.into());
        self.hidden = Vec::new();
        self.routed = Vec::new();
    }
}

/// What a lane found.
#[derive(Debug, Clone)]
pub struct Scored {
    /// Per window.
    pub scores: Vec<Score>,
    /// Hash of its coded weights.
    pub coded: [u8; 32],
    /// The scales of its int8 inputs; empty for variants without.
    pub scales: InputScales,
}

/// One variant's result, or why there is none.
pub type Outcome = std::result::Result<Scored, Cause>;

/// A walk's lanes as they were kept.
pub struct Resumed {
    /// The first layer that is still to be walked.
    pub next_layer: usize,
    /// The lanes, hidden states included.
    pub lanes: Vec<Lane>,
}
