//! A *lane*: the states of one variant on its way through the layers.
//!
//! A walk has one lane for the reference and one for each variant; they go through the layers side by
//! side. A lane ends in scores, or in the cause of its failure.

use std::sync::Arc;

use candle_core::Tensor;

use super::calibration::InputScales;
use super::coded_file::CodedFile;
use super::divergence::{LayerRouting, Score};
use super::fp16_range::Fp16Overflow;
use super::variant::Variant;
use crate::error::{Error, Result};
use crate::model::Routed;

/// Why a variant failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What went wrong, and where.
    pub what: String,
    /// What to do about it, or empty.
    pub hint: String,
}

impl Cause {
    /// The cause of a failure by `error`.
    ///
    /// # Errors
    /// `error`, if it is none of the variant itself: see [`Error::recordable`].
    pub fn of(error: Error) -> Result<Self> {
        let error = error.recordable()?;
        Ok(Cause { what: error.cause(), hint: error.advice().unwrap_or_default().into() })
    }
}

/// The states of one variant between two layers.
#[derive(Debug)]
pub struct Lane {
    /// The variant.
    pub variant: Variant,
    /// The file of its coded weights; `None` if they are coded during the walk.
    pub file: Option<Arc<CodedFile>>,
    /// Hidden states per window `[tokens, hidden]`, calibration windows last; empty after a failure.
    pub hidden: Vec<Tensor>,
    /// Per window, the tokens that are routed to experts; empty except while a layer's experts run.
    pub routed: Vec<Routed>,
    /// Per window and finished layer, how its tokens were routed; empty without experts.
    pub routing: Vec<Vec<LayerRouting>>,
    /// Per window, its first activation that fp16 does not hold.
    pub overflows: Vec<Option<Fp16Overflow>>,
    /// The scales of its int8 inputs so far; empty if it has none.
    pub scales: InputScales,
    /// Hash over the hashes of everything coded so far.
    pub coded: [u8; 32],
    /// Why the lane failed, if it did.
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
            overflows: Vec::new(),
            scales: InputScales::default(),
            coded: [0; 32],
            failure: None,
        }
    }

    /// Whether the lane has not failed.
    pub fn is_alive(&self) -> bool {
        self.failure.is_none()
    }

    /// Adds the hash of a coded tensor to the hash of everything coded.
    pub fn add_hash(&mut self, hash: blake3::Hash) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.coded).update(hash.as_bytes());
        self.coded = *hasher.finalize().as_bytes();
    }

    /// Marks the lane as failed and frees its hidden states.
    ///
    /// # Errors
    /// `error`, if it is none of the variant itself: see [`Cause::of`].
    pub fn fail(&mut self, error: Error) -> Result<()> {
        self.end(Cause::of(error)?);
        Ok(())
    }

    /// Marks the lane as failed because of `cause` and frees its hidden states.
    pub fn end(&mut self, cause: Cause) {
        self.failure = Some(cause);
        self.hidden = Vec::new();
        self.routed = Vec::new();
    }
}

/// The result of a lane.
#[derive(Debug, Clone)]
pub struct Scored {
    /// Scores per window.
    pub scores: Vec<Score>,
    /// Hash of its coded weights.
    pub coded: [u8; 32],
    /// The scales of its int8 inputs; empty if it has none.
    pub scales: InputScales,
}

/// One variant's result, or why it failed.
pub type Outcome = std::result::Result<Scored, Cause>;

/// The saved lanes of an interrupted walk.
pub struct Resumed {
    /// The first layer that has not been walked yet.
    pub next_layer: usize,
    /// The lanes, hidden states included.
    pub lanes: Vec<Lane>,
}
