//! Distinct weighted values as prefix sums, on which both methods of exact k-means work.

/// Distinct values in ascending order with their weights, as prefix sums around a centre.
///
/// Position `i` is between value `i - 1` and value `i`, so that a cluster is a pair of positions.
/// Sums are f64; subtracting the centre keeps cancellation small.
#[derive(Debug, Default, Clone)]
pub(in crate::quantize) struct Points {
    /// Ascending, distinct.
    pub(in crate::quantize) values: Vec<f32>,
    pub(in crate::quantize) centre: f64,
    /// Sum `[n + 1]` of the weights of all values before a position.
    pub(in crate::quantize) weight: Vec<f64>,
    /// The same of values (less the centre) times their weights.
    pub(in crate::quantize) sum: Vec<f64>,
    /// The same of their squares times their weights.
    pub(in crate::quantize) square: Vec<f64>,
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
    pub(in crate::quantize) fn len(&self) -> usize {
        self.values.len()
    }

    /// The weighted squared error of one cluster between positions `from < to`.
    #[inline(always)]
    pub(in crate::quantize) fn cost(&self, from: usize, to: usize) -> f64 {
        let sum = self.sum[to] - self.sum[from];
        let weight = self.weight[to] - self.weight[from];
        self.square[to] - self.square[from] - sum * sum / weight
    }

    /// The mean of a cluster between positions `from < to`.
    pub(in crate::quantize) fn mean(&self, from: usize, to: usize) -> f64 {
        let weight = self.weight[to] - self.weight[from];
        self.centre + (self.sum[to] - self.sum[from]) / weight
    }

    /// [`Points::mean`] from the values themselves, free of the cancellation in prefix sums: stored
    /// entries must not depend on the centre, not even if rounding to fp16 is a tie.
    pub(in crate::quantize) fn exact_mean(&self, from: usize, to: usize) -> f64 {
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
