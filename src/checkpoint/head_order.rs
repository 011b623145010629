//! The order in which files have the rows of queries and keys.

use super::config::{Config, QkOver};
use super::names::TensorId;
use super::roles::Role;
use super::stored::RowOrder;

/// The order of the rows of what is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadOrder {
    /// As here.
    Own,
    /// Pairs are neighbours.
    Neighbours,
    /// llama.cpp's permutation of Llama's own order.
    Permuted,
}

impl HeadOrder {
    /// The order of the rows of `id`; `None` if it is ours.
    pub fn of(self, config: &Config, id: TensorId) -> Option<RowOrder> {
        let rotated = config.ropes.first()?.rotated;
        if let Some(latent) = config.latent {
            let (heads, first) = match id.role {
                Role::Query | Role::QueryUp => (config.heads, config.head_dim - latent.rope_dim),
                Role::KvDown => (1, latent.kv_rank),
                _ => return None,
            };
            return Some(match latent.in_halves {
                true => RowOrder::HeadsInHalves { heads, first, rotated },
                false => RowOrder::Heads { heads, first, rotated },
            });
        }
        let own = config.qk_norm.is_some_and(|norm| norm.over != QkOver::Head);
        let heads = match id.role {
            Role::Query => config.heads,
            Role::Key => config.kv_heads,
            Role::QueryNorm if own => config.heads,
            Role::KeyNorm if own => config.kv_heads,
            Role::QueryNorm | Role::KeyNorm => 1,
            _ => return None,
        };
        match self {
            HeadOrder::Own => None,
            HeadOrder::Neighbours => Some(RowOrder::Heads { heads, first: 0, rotated }),
            HeadOrder::Permuted if id.role.is_norm() => None,
            HeadOrder::Permuted => Some(RowOrder::Interleaved { heads }),
        }
    }
}
