//! The packages of a variant, and what verifying them found.

use serde::{Deserialize, Serialize};

use super::finite;

/// A variant that was written as packages, and whether they hold the model that was scored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Packaged {
    /// The variant.
    pub cell_id: String,
    /// What the packages are made for: `ios18 gpu, cache 2048, prefill 64`.
    pub design: String,
    /// Number of packages.
    pub packages: usize,
    /// Bytes of all packages on disk.
    pub size_bytes: u64,
    /// The same, predicted from recipes and shapes before anything was coded.
    pub predicted_bytes: u64,
    /// The links of verification, in order.
    pub links: Vec<VerifiedLink>,
}

/// One link in the chain from the scored model to its packages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VerifiedLink {
    /// `files`, `weights`, `logits` or `steps`.
    pub link: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was compared, or what differs first.
    pub what: String,
    /// Predicted tokens that were compared; 0 for links that compare none.
    pub tokens: usize,
    /// Sum over tokens of the KL divergence from the scored model's predictions; `None` if it is not
    /// finite.
    #[serde(default, deserialize_with = "finite::option")]
    pub kl_nats: Option<f64>,
    /// Largest KL divergence of a token; `None` if it is not finite.
    #[serde(default, deserialize_with = "finite::option")]
    pub worst_kl_nats: Option<f64>,
    /// Tokens whose most likely next token is the scored model's.
    pub top1_agree: usize,
}

impl Packaged {
    /// The first link that does not hold.
    pub fn broken(&self) -> Option<&VerifiedLink> {
        self.links.iter().find(|link| !link.holds)
    }
}
