//! Distinct weighted values, and the cost of clusters of them, on which both methods of exact
//! k-means work.

use super::intervals::Intervals;

/// A weight below this share of the total loses too much of itself in prefix sums.
const SMALLEST_SHARE: f64 = 1.0 / (1u64 << 36) as f64;
/// Prefix sums are used if their rounding is at most this share of the error of the clusters.
const ROUNDING_SHARE: f64 = 1.0 / (1u64 << 12) as f64;

/// Distinct values in ascending order with their weights, as prefix sums around a centre.
///
/// Position `i` is between value `i - 1` and value `i`, so that a cluster is a pair of positions.
/// Sums are f64; subtracting the centre keeps cancellation small. Where that is not enough, the
/// points are [`wide`](Points::widen).
#[derive(Debug, Default, Clone)]
pub(in crate::quantize) struct Points {
    /// Ascending, distinct.
    pub(in crate::quantize) values: Vec<f32>,
    pub(in crate::quantize) centre: f64,
    /// The weight of each value.
    own: Vec<f64>,
    /// Sum `[n + 1]` of the weights of all values before a position.
    pub(in crate::quantize) weight: Vec<f64>,
    /// The same of values (less the centre) times their weights.
    pub(in crate::quantize) sum: Vec<f64>,
    /// The same of their squares times their weights.
    pub(in crate::quantize) square: Vec<f64>,
    /// Costs that are not differences of prefix sums; `None` if those are precise enough.
    intervals: Option<Intervals>,
}

impl Points {
    /// Replaces the content by `(value, weight)` pairs in ascending order of value. Equal values
    /// are merged; values of weight 0 are left out.
    pub(in crate::quantize) fn refill(
        &mut self,
        sorted: impl Iterator<Item = (f32, f64)>,
        centre: f32,
    ) {
        self.values.clear();
        self.own.clear();
        self.intervals = None;
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
        let least = self.own.iter().fold(f64::INFINITY, |least, weight| least.min(*weight));
        if least < self.weight[self.len()] * SMALLEST_SHARE {
            self.widen();
        }
    }

    fn push(&mut self, value: f32, weight: f64) {
        if weight <= 0.0 {
            return;
        }
        let offset = f64::from(value) - self.centre;
        let at = self.values.len();
        self.values.push(value + 0.0);
        self.own.push(weight);
        self.weight.push(self.weight[at] + weight);
        self.sum.push(self.sum[at] + weight * offset);
        self.square.push(self.square[at] + weight * offset * offset);
    }

    /// From now on costs have a small relative error for weights and values of any spread. They
    /// take longer than differences of prefix sums.
    pub(super) fn widen(&mut self) {
        self.intervals = Some(Intervals::new(&self.values, &self.own));
    }

    /// Whether costs have a small relative error, not only a small share of all squares.
    pub(super) fn is_wide(&self) -> bool {
        self.intervals.is_some()
    }

    /// Whether the clusters between `boundaries` cost so much that the rounding of prefix sums does
    /// not matter beside it.
    pub(super) fn resolves(&self, boundaries: &[usize]) -> bool {
        /// Roundings in the choice of clusters besides one in each of them.
        const OTHERS: usize = 128;
        let roundings = (4 * boundaries.len() + OTHERS) as f64 * f64::EPSILON / 2.0;
        let cost: f64 = boundaries.windows(2).map(|pair| self.plain_cost(pair[0], pair[1])).sum();
        roundings * self.square[self.len()] <= ROUNDING_SHARE * cost
    }

    /// [`Points::cost`] summed value by value.
    fn plain_cost(&self, from: usize, to: usize) -> f64 {
        let mean = self.exact_mean(from, to);
        let own = self.values[from..to].iter().zip(&self.own[from..to]);
        own.map(|(value, weight)| (f64::from(*value) - mean).powi(2) * weight).sum()
    }

    /// The number of distinct values.
    pub(in crate::quantize) fn len(&self) -> usize {
        self.values.len()
    }

    /// The weighted squared error of one cluster between positions `from < to`.
    #[inline(always)]
    pub(in crate::quantize) fn cost(&self, from: usize, to: usize) -> f64 {
        if let Some(intervals) = &self.intervals {
            return intervals.moments(from, to).square;
        }
        let sum = self.sum[to] - self.sum[from];
        let weight = self.weight[to] - self.weight[from];
        self.square[to] - self.square[from] - sum * sum / weight
    }

    /// What `cost` may be wrong by, given the `share` of rounding in it.
    pub(super) fn margin(&self, share: f64, cost: f64) -> f64 {
        share * if self.is_wide() { cost } else { self.square[self.len()] }
    }

    /// The mean of a cluster between positions `from < to`.
    pub(in crate::quantize) fn mean(&self, from: usize, to: usize) -> f64 {
        if let Some(intervals) = &self.intervals {
            return intervals.moments(from, to).mean;
        }
        let weight = self.weight[to] - self.weight[from];
        self.centre + (self.sum[to] - self.sum[from]) / weight
    }

    /// [`Points::mean`] from the values themselves, free of the cancellation in prefix sums: stored
    /// entries must not depend on the centre, not even if rounding to fp16 is a tie.
    pub(in crate::quantize) fn exact_mean(&self, from: usize, to: usize) -> f64 {
        if self.is_wide() {
            let own = self.values[from..to].iter().zip(&self.own[from..to]);
            let weighted = own.map(|(value, weight)| f64::from(*value) * weight);
            return weighted.sum::<f64>() / self.own[from..to].iter().sum::<f64>();
        }
        let weights = self.weight[from..=to].windows(2).map(|pair| pair[1] - pair[0]);
        let weighted = self.values[from..to].iter().zip(weights).map(|(v, w)| f64::from(*v) * w);
        weighted.sum::<f64>() / (self.weight[to] - self.weight[from])
    }

    /// The squared error of the clusters between successive boundaries; `boundaries` include the
    /// outer two.
    pub(in crate::quantize) fn total_cost(&self, boundaries: &[usize]) -> f64 {
        boundaries.windows(2).map(|pair| self.cost(pair[0], pair[1])).sum()
    }
}
