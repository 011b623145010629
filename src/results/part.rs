//! What a part of a model takes to store, as records have it.

use serde::{Deserialize, Serialize};

/// Names of the parts that are the linear layers of the decoder blocks.
pub const BLOCK_PARTS: [&str; 4] = ["blocks", "attention", "mlp", "experts"];

/// Storage of one part of a model under one variant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredPart {
    /// `attention`, `mlp` or `experts`, `embedding`, `head`, `norms and biases`.
    pub part: String,
    /// How the part is coded: `palette2-g16`, `fp`.
    pub recipe: String,
    /// Number of weights in the part.
    pub weights: u64,
    /// Stored size: codes, tables and scales.
    pub size_bytes: u64,
}
