//! The pieces that a model is cut into.

use std::ops::Range;

use crate::checkpoint::config::Config;
use crate::checkpoint::{Role, TensorId};

/// A part of a model that is one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Consecutive stages of a chain: perhaps the embedding, some blocks, perhaps the head.
    Chain {
        /// Whether token ids go in.
        embedding: bool,
        /// The blocks; in a mixture at most one, which ends at the router.
        layers: Range<usize>,
        /// Whether logits come out.
        head: bool,
    },
    /// The experts of one layer, each with functions of its own.
    Experts {
        /// The layer.
        layer: usize,
    },
}

impl Piece {
    /// The whole model.
    pub fn whole(config: &Config) -> Self {
        Piece::Chain { embedding: true, layers: 0..config.layers, head: true }
    }

    /// Whether there is attention in it.
    pub(super) fn rotates(&self) -> bool {
        matches!(self, Piece::Chain { layers, .. } if !layers.is_empty())
    }

    /// Its tensors, in the order of the computation. A tied head is a head all the same.
    pub fn tensors(&self, config: &Config) -> Vec<TensorId> {
        match self {
            Piece::Chain { embedding, layers, head } => {
                let mut ids = Vec::new();
                ids.extend(embedding.then_some(TensorId::model(Role::Embedding)));
                ids.extend(layers.clone().flat_map(|layer| config.block_tensors(layer)));
                if *head {
                    ids.extend([Role::FinalNorm, Role::Head].map(TensorId::model));
                }
                ids
            }
            Piece::Experts { layer } => {
                let count = config.experts.as_ref().map_or(0, |experts| experts.count);
                (0..count).flat_map(|expert| config.expert_tensors(*layer, expert)).collect()
            }
        }
    }
}
