//! The pieces into which a model is cut.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::checkpoint::config::Config;
use crate::checkpoint::{Role, TensorId};

/// A part of a model that becomes one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Consecutive parts of the model: the embedding, blocks, the head, or only some of these.
    Chain {
        /// Whether the embedding is included, so that the input is token ids.
        embedding: bool,
        /// The blocks. A block with a mixture of experts is alone, and ends at the router.
        layers: Range<usize>,
        /// Whether the head is included, so that the output is logits.
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

    /// Its layers with attention.
    pub(super) fn attending(&self, config: &Config) -> Vec<usize> {
        match self {
            Piece::Chain { layers, .. } => {
                layers.clone().filter(|layer| config.has_attention(*layer)).collect()
            }
            Piece::Experts { .. } => Vec::new(),
        }
    }

    /// Its tensors in the order in which they are used. A tied head is listed as a head.
    pub fn tensors(&self, config: &Config) -> Vec<TensorId> {
        match self {
            Piece::Chain { embedding, layers, head } => {
                let mut ids = Vec::new();
                ids.extend(embedding.then_some(TensorId::model(Role::Embedding)));
                let positions = *embedding && config.learned_positions;
                ids.extend(positions.then_some(TensorId::model(Role::Positions)));
                ids.extend(layers.clone().flat_map(|layer| config.block_tensors(layer)));
                if *head {
                    let head = TensorId::model(Role::Head);
                    ids.extend(config.final_norm_tensors());
                    ids.push(head);
                    ids.extend(config.head_bias.then_some(head.with_bias()));
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

/// The rotary embeddings of some layers, by their places in the model.
pub(super) fn ropes_of(config: &Config, layers: &[usize]) -> BTreeSet<usize> {
    layers.iter().filter_map(|layer| config.rope(*layer)).collect()
}
