//! Exact one-dimensional weighted k-means: the globally optimal lookup table.
//!
//! Sorted values make clusters intervals, so a clustering is a choice of boundaries and the
//! optimum is a shortest path. Two methods find it, both exact up to f64 rounding of sums:
//! `pruned.rs` (dynamic programming inside certified windows; fast for few clusters) and
//! `lagrange.rs` (a price per cluster; linear memory, fast for many). Nothing here is random.

use super::lagrange;
use super::pruned;

/// Above this many clusters the priced path is faster than the windows.
const WINDOWS_MAX_CLUSTERS: usize = 16;

/// Distinct values in ascending order with weights, as prefix sums around a centre.
///
/// Position `i` stands between value `i - 1` and value `i`, so that a cluster is a pair of
/// positions. Sums are f64; the centre keeps cancellation small.
#[derive(Debug, Default, Clone)]
pub(super) struct Points {
    /// Ascending, distinct.
    pub(super) values: Vec<f32>,
    pub(super) centre: f64,
    /// `[n + 1]`: weight, weighted value and weighted square of everything before a position.
    pub(super) weight: Vec<f64>,
    pub(super) sum: Vec<f64>,
    pub(super) square: Vec<f64>,
}

impl Points {
    /// Replaces the content by `(value, weight)` pairs in ascending order of value. Equal values
    /// are merged, values without weight left out.
    pub(super) fn refill(&mut self, sorted: impl Iterator<Item = (f32, f64)>, centre: f32) {
        self.values.clear();
        self.centre = f64::from(centre);
        for prefix in [&mut self.weight, &mut self.sum, &mut self.square] {
            prefix.clear();
            prefix.push(0.0);
        }
        let mut weight_here = 0.0;
        let mut last = f32::NAN;
        for (value, weight) in sorted {
            if value != last {
                self.push(last, weight_here);
                (last, weight_here) = (value, 0.0);
            }
            weight_here += weight;
        }
        self.push(last, weight_here);
    }

    fn push(&mut self, value: f32, weight: f64) {
        if weight <= 0.0 {
            return;
        }
        let offset = f64::from(value) - self.centre;
        let at = self.values.len();
        self.values.push(value + 0.0);
        self.weight.push(self.weight[at] + weight);
        self.sum.push(self.sum[at] + weight * offset);
        self.square.push(self.square[at] + weight * offset * offset);
    }

    /// The number of distinct values.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The weighted squared error of one cluster between positions `from < to`.
    #[inline(always)]
    pub(super) fn cost(&self, from: usize, to: usize) -> f64 {
        let sum = self.sum[to] - self.sum[from];
        let weight = self.weight[to] - self.weight[from];
        self.square[to] - self.square[from] - sum * sum / weight
    }

    /// The mean of a cluster between positions `from < to`.
    pub(super) fn mean(&self, from: usize, to: usize) -> f64 {
        let weight = self.weight[to] - self.weight[from];
        self.centre + (self.sum[to] - self.sum[from]) / weight
    }

    /// The squared error of the clusters between successive boundaries, outer ones included.
    pub(super) fn total_cost(&self, boundaries: &[usize]) -> f64 {
        boundaries.windows(2).map(|pair| self.cost(pair[0], pair[1])).sum()
    }
}

/// Memory that a thread reuses from one clustering to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) pruned: pruned::Scratch,
}

/// The boundaries of the optimal clustering into `clusters`: positions `0 .. n`, outer ones
/// included. With no more values than clusters every value is a cluster of its own.
pub(super) fn boundaries(points: &Points, clusters: usize, scratch: &mut Scratch) -> Vec<usize> {
    let len = points.len();
    if len <= clusters {
        return (0..=len).collect();
    }
    match clusters {
        0 | 1 => vec![0, len],
        2 => vec![0, best_split(points), len],
        _ if clusters <= WINDOWS_MAX_CLUSTERS => {
            pruned::boundaries(points, clusters, &mut scratch.pruned)
        }
        _ => lagrange::boundaries(points, clusters),
    }
}

/// The cluster means of the optimal clustering, ascending; at most `clusters` of them.
pub(super) fn means(points: &Points, clusters: usize, scratch: &mut Scratch) -> Vec<f64> {
    let boundaries = boundaries(points, clusters, scratch);
    boundaries.windows(2).map(|pair| points.mean(pair[0], pair[1])).collect()
}

/// The best boundary between two clusters. The squared error of both is the whole square sum less
/// `S² / W` of either side, so the largest of those sums wins; ties go to the lower boundary.
fn best_split(points: &Points) -> usize {
    const LANES: usize = 8;
    let len = points.len();
    let (all_weight, all_sum) = (points.weight[len], points.sum[len]);
    let gain = |weight: f64, sum: f64| {
        let rest = all_sum - sum;
        sum * sum / weight + rest * rest / (all_weight - weight)
    };
    pulp::Arch::new().dispatch(|| {
        let weights = &points.weight[1..len];
        let sums = &points.sum[1..len];
        let (weight_chunks, weight_rest) = weights.as_chunks::<LANES>();
        let (sum_chunks, sum_rest) = sums.as_chunks::<LANES>();
        let mut best = [f64::NEG_INFINITY; LANES];
        let mut best_chunk = [0u64; LANES];
        for (i, (weight, sum)) in weight_chunks.iter().zip(sum_chunks).enumerate() {
            for lane in 0..LANES {
                let gain = gain(weight[lane], sum[lane]);
                let better = gain > best[lane];
                best[lane] = if better { gain } else { best[lane] };
                best_chunk[lane] = if better { i as u64 } else { best_chunk[lane] };
            }
        }
        let (mut most, mut position) = (f64::NEG_INFINITY, 1);
        let tail = weight_chunks.len() * LANES;
        let lanes = (0..LANES).map(|lane| (best[lane], best_chunk[lane] as usize * LANES + lane));
        let rest = weight_rest.iter().zip(sum_rest).enumerate();
        let rest = rest.map(|(i, (weight, sum))| (gain(*weight, *sum), tail + i));
        for (gain, index) in lanes.chain(rest) {
            if gain > most || (gain == most && index + 1 < position) {
                (most, position) = (gain, index + 1);
            }
        }
        position
    })
}
