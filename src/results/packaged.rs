//! What became of a variant's packages.

use serde::{Deserialize, Serialize};

/// A variant that was written as packages, and whether they are the model that was scored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Packaged {
    /// The variant.
    pub cell_id: String,
    /// What the packages are made for: `ios18 gpu, cache 2048, prefill 64`.
    pub design: String,
    /// Number of packages.
    pub packages: usize,
    /// Bytes of all packages as they lie on the disk.
    pub size_bytes: u64,
    /// The same, predicted from recipes and shapes before anything was coded.
    pub predicted_bytes: u64,
    /// The links of the chain of truth, in order.
    pub links: Vec<VerifiedLink>,
}

/// One link of the chain of truth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VerifiedLink {
    /// `files`, `weights`, `logits` or `steps`.
    pub link: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was compared, or what differs first.
    pub what: String,
    /// Predicted tokens that were compared; 0 where none were.
    pub tokens: usize,
    /// Sum over tokens of the KL divergence from the walk's predictions.
    pub kl_nats: f64,
    /// Largest KL divergence of a token.
    pub worst_kl_nats: f64,
    /// Tokens whose most likely next token is the walk's.
    pub top1_agree: usize,
}

impl Packaged {
    /// The first link that does not hold.
    pub fn broken(&self) -> Option<&VerifiedLink> {
        self.links.iter().find(|link| !link.holds)
    }
}
