//! Moments of intervals with a small relative error, for weights or values of a wide spread.
//!
//! A difference of prefix sums loses what is small beside the total. Here an interval is merged
//! from disjoint pieces (Chan, Golub and LeVeque 1979): no term is negative, so nothing cancels.
//! Values are taken in blocks. A piece is the end of a block, whole blocks, or the beginning of a
//! block, so that an interval has at most four pieces. Memory: `O(values)`.

/// Values in a block.
const BLOCK: usize = 16;

/// Weight, mean and sum of squared distances from the mean of some values.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Moments {
    pub weight: f64,
    pub mean: f64,
    pub square: f64,
}

impl Moments {
    fn of(value: f64, weight: f64) -> Self {
        Moments { weight, mean: value, square: 0.0 }
    }

    /// The moments of two disjoint sets together.
    #[inline]
    fn and(self, other: Self) -> Self {
        if self.weight == 0.0 {
            return other;
        }
        let weight = self.weight + other.weight;
        let share = other.weight / weight;
        let apart = other.mean - self.mean;
        Moments {
            weight,
            mean: self.mean + apart * share,
            square: self.square + other.square + apart * apart * (self.weight * share),
        }
    }
}

/// The moments of all intervals of some weighted values.
#[derive(Debug, Default, Clone)]
pub(super) struct Intervals {
    /// The values.
    singles: Vec<Moments>,
    /// From the beginning of a value's block to the value.
    heads: Vec<Moments>,
    /// From a value to the end of its block.
    tails: Vec<Moments>,
    /// Per level `l`: blocks are split at odd multiples of `2^l`; an entry holds the blocks between
    /// it and the split next to it.
    levels: Vec<Vec<Moments>>,
}

impl Intervals {
    /// The intervals of `values` under positive `weights`. Values are taken as they are: less a centre
    /// that is large beside them, close ones would lose their distance.
    pub(super) fn new(values: &[f32], weights: &[f64]) -> Self {
        let pairs = values.iter().zip(weights);
        let singles: Vec<Moments> =
            pairs.map(|(value, weight)| Moments::of(f64::from(*value), *weight)).collect();
        let (mut heads, mut tails) = (singles.clone(), singles.clone());
        heads.chunks_mut(BLOCK).for_each(run_forward);
        tails.chunks_mut(BLOCK).for_each(run_backward);
        let blocks: Vec<Moments> = tails.iter().step_by(BLOCK).copied().collect();
        let mut levels = Vec::new();
        let mut half = 1;
        while half < blocks.len() {
            let mut level = blocks.clone();
            for pair in level.chunks_mut(2 * half) {
                let (before, after) = pair.split_at_mut(half.min(pair.len()));
                run_backward(before);
                run_forward(after);
            }
            levels.push(level);
            half *= 2;
        }
        Intervals { singles, heads, tails, levels }
    }

    /// The moments of the values between positions `from < to`.
    pub(super) fn moments(&self, from: usize, to: usize) -> Moments {
        let (first, last) = (from / BLOCK, (to - 1) / BLOCK);
        if first == last {
            let inside = self.singles[from..to].iter();
            return inside.fold(Moments::default(), |all, one| all.and(*one));
        }
        let ends = (self.tails[from], self.heads[to - 1]);
        match last - first {
            1 => ends.0.and(ends.1),
            2 => ends.0.and(self.tails[(first + 1) * BLOCK]).and(ends.1),
            _ => {
                let (from, to) = (first + 1, last - 1);
                let level = &self.levels[(from ^ to).ilog2() as usize];
                ends.0.and(level[from].and(level[to])).and(ends.1)
            }
        }
    }
}

/// Replaces every entry by the moments of all entries up to it.
fn run_forward(entries: &mut [Moments]) {
    for i in 1..entries.len() {
        entries[i] = entries[i - 1].and(entries[i]);
    }
}

/// Replaces every entry by the moments of all entries from it on.
fn run_backward(entries: &mut [Moments]) {
    for i in (1..entries.len()).rev() {
        entries[i - 1] = entries[i - 1].and(entries[i]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_interval_has_the_moments_of_a_plain_sum(
            gaps in prop::collection::vec((0.001f32..1.0, -30i32..30), 1..200),
            cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let mut value = -20.0;
            let values: Vec<f32> = gaps.iter().map(|(gap, _)| { value += gap; value }).collect();
            let weights: Vec<f64> = gaps.iter().map(|(_, power)| 10f64.powi(*power)).collect();
            let intervals = Intervals::new(&values, &weights);
            let (a, b) = (cut.0.index(values.len()), cut.1.index(values.len()));
            let (from, to) = (a.min(b), a.max(b) + 1);
            let own = || values[from..to].iter().map(|v| f64::from(*v)).zip(&weights[from..to]);
            let weight: f64 = own().map(|(_, w)| w).sum();
            let mean = own().map(|(v, w)| v * w).sum::<f64>() / weight;
            let square: f64 = own().map(|(v, w)| w * (v - mean) * (v - mean)).sum();
            let found = intervals.moments(from, to);
            prop_assert!((found.weight / weight - 1.0).abs() < 1e-12);
            prop_assert!((found.mean - mean).abs() < 1e-12);
            // The plain sum itself has the rounding of the mean, squared.
            let slack = 1e-9 * square + 1e-27 * weight;
            prop_assert!((found.square - square).abs() <= slack, "{} {square}", found.square);
        }
    }
}
