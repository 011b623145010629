//! What a runner answers to a request.

use serde_json::Value;

use super::outcome::RefusedRequest;

/// The logits after the token at a position.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// Index of the token.
    pub position: u32,
    /// `[vocabulary]`.
    pub values: Vec<f32>,
}

/// The answer that ends a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// A result.
    Done {
        /// The result, as JSON.
        result: Value,
        /// The logits that were sent before it.
        logits: Vec<Logits>,
        /// The attempt that produced it.
        attempt: u32,
        /// Whether it comes from the runner's journal.
        replayed: bool,
    },
    /// A refusal.
    Failed(RefusedRequest),
}
