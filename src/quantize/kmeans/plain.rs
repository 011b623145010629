//! Exact clustering by the textbook recurrence, for few values.
//!
//! The other methods leave out candidates that can be proven worse. Where costs of very different
//! size are added, rounding makes such a proof wrong; here every candidate is compared.

use super::points::Points;

/// Most comparisons: beyond them the other methods are used.
const MOST: usize = 1 << 24;

/// Whether the recurrence is fast enough.
pub(super) fn is_fast(points: &Points, clusters: usize) -> bool {
    points.len().saturating_mul(points.len()).saturating_mul(clusters) <= MOST
}

/// The optimal boundaries, for more values than clusters and at least two clusters.
pub(super) fn boundaries(points: &Points, clusters: usize) -> Vec<usize> {
    let len = points.len();
    let mut cost = vec![f64::INFINITY; len + 1];
    for (to, cost) in cost.iter_mut().enumerate().skip(1) {
        *cost = points.cost(0, to);
    }
    let mut parents = Vec::with_capacity(clusters - 1);
    for before in 1..clusters {
        let mut next = vec![(f64::INFINITY, 0); len + 1];
        for (to, best) in next.iter_mut().enumerate().skip(before + 1) {
            for (from, cost) in cost.iter().enumerate().take(to).skip(before) {
                let cost = cost + points.cost(from, to);
                if cost < best.0 {
                    *best = (cost, from);
                }
            }
        }
        cost = next.iter().map(|best| best.0).collect();
        parents.push(next.into_iter().map(|best| best.1).collect::<Vec<usize>>());
    }
    let mut path = vec![len];
    let mut at = len;
    for parent in parents.iter().rev() {
        at = parent[at];
        path.push(at);
    }
    path.push(0);
    path.reverse();
    path
}
