//! Allocates bits to tensors: predicts the cost of each recipe of each tensor, and finds the choice with
//! the lowest cost within a budget.
//!
//! [`Probe`] measures in one walk how errors in the parts of each layer change the predictions.
//! [`predicted_kl_nats`] derives from that the cost of each recipe of each tensor, [`choose`] solves the
//! allocation, and [`Blocks`](crate::eval::mixed::Blocks) is the choice with its name.

mod experts;
mod knapsack;
mod part;
mod predict;
mod sensitivity;

use crate::eval::mixed::{ROLES, place_of};
pub use knapsack::{Chosen, Item, choose};
pub use predict::predicted_kl_nats;
pub use sensitivity::{LayerErrors, Probe, Sensitivities, errors_fit};

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::eval::sizes::size_bytes;
use crate::eval::variant::Variant;

/// Exact stored bytes by tensor and candidate; `None` if the candidate cannot code the shape. Tensors are
/// layer by layer, in the order of [`ROLES`]; tensors that stand in one place, such as the experts of a layer,
/// are summed, and places that a layer does not have take no bytes. Weights are read only for recipes whose sizes depend on them.
///
/// # Errors
/// Input errors of the checkpoint.
pub fn sizes_bytes(
    checkpoint: &Checkpoint,
    candidates: &[Variant],
) -> Result<Vec<Vec<Option<u64>>>> {
    let tensors = checkpoint.config.layers * ROLES.len();
    let mut sizes = vec![vec![Some(0u64); candidates.len()]; tensors];
    for (id, stored) in checkpoint.tensors().filter(|(id, _)| !id.bias) {
        let (Some(layer), Some(role)) = (id.layer, place_of(id.role)) else { continue };
        for (size, candidate) in sizes[layer * ROLES.len() + role].iter_mut().zip(candidates) {
            let recipe = candidate.recipe_of(id, stored);
            match recipe.check_shape(stored.matrix()) {
                Ok(()) => {
                    let own = size_bytes(checkpoint, id, recipe)?;
                    *size = size.map(|size| size + own);
                }
                Err(_) => *size = None,
            }
        }
    }
    Ok(sizes)
}

/// The candidates whose KL divergence is measured, called *anchors*: among those that can code every
/// tensor, the smallest and then the middle one by size. They are fewer if there are not two.
pub fn anchors(sizes: &[Vec<Option<u64>>]) -> Vec<usize> {
    let candidates = sizes.first().map_or(0, Vec::len);
    let total = |candidate: usize| -> Option<u64> {
        sizes.iter().map(|tensor| tensor[candidate]).sum::<Option<u64>>()
    };
    let mut whole: Vec<(u64, usize)> =
        (0..candidates).filter_map(|candidate| Some((total(candidate)?, candidate))).collect();
    whole.sort_unstable();
    let places = [0, whole.len() / 2];
    let mut anchors: Vec<usize> = places.iter().filter_map(|at| Some(whole.get(*at)?.1)).collect();
    anchors.dedup();
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_candidates_that_code_everything() {
        let sizes =
            vec![vec![Some(9), None, Some(2), Some(4)], vec![Some(9), Some(1), Some(2), Some(4)]];
        assert_eq!(anchors(&sizes), [2, 3]);
        assert_eq!(anchors(&[vec![None, Some(1)]]), [1]);
        assert!(anchors(&[vec![None]]).is_empty());
    }
}
