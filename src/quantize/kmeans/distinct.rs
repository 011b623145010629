//! The distinct values of a group of weights, each with its weight in the error: the input of
//! k-means.
//!
//! Values are sorted by radix sort of order-preserving integer keys, which is most of the cost of a
//! small palette. Passes in which all keys agree (as for weights that came from bfloat16 or fp16)
//! are skipped. Pruned weights are passed as NaN and left out.

use half::f16;
use rayon::prelude::*;

use super::points::Points;

/// Above this length sorting is shared among threads.
const PARALLEL_LEN: usize = 1 << 20;
const DIGIT_BITS: usize = 11;
const DIGITS: usize = 1 << DIGIT_BITS;
/// Passes that cover the 32 bits of a key.
const PASSES: usize = 3;

/// How much the squared error of a weight counts, and the scales by which weights are divided.
pub(in crate::quantize) struct Weighting<'a> {
    /// Weights in a row.
    pub inputs: usize,
    /// Importance `[in]` of each input channel; `None` if all count the same.
    pub importance: Option<&'a [f32]>,
    /// fp16 scale `[rows]` by which the weights of each row are divided, if there is one.
    pub scales: Option<&'a [f16]>,
}

/// Memory reused between groups.
#[derive(Default)]
pub(in crate::quantize) struct Sorter {
    keys: Vec<u32>,
    spare: Vec<u32>,
    pairs: Vec<(u32, f64)>,
    spare_pairs: Vec<(u32, f64)>,
}

/// An integer that orders as the float does. Both zeros have the same key.
#[inline(always)]
fn key(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

#[inline(always)]
fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

impl Sorter {
    /// Fills `points` with the group's values, divided by their row's scale if there is one. The
    /// weight of such a value is multiplied by the square of its scale, so that k-means minimises
    /// the error of the weights themselves.
    pub(in crate::quantize) fn points(
        &mut self,
        weights: &[f32],
        weighting: &Weighting<'_>,
        points: &mut Points,
    ) {
        let Weighting { inputs, importance, scales } = *weighting;
        if importance.is_none() && scales.is_none() {
            self.sort(weights);
            let centre = self.keys.get(self.keys.len() / 2).map_or(0.0, |key| value(*key));
            return points.refill(self.keys.iter().map(|key| (value(*key), 1.0)), centre);
        }
        self.pairs.clear();
        self.pairs.reserve(weights.len());
        for (r, row) in weights.chunks_exact(inputs).enumerate() {
            let scale = scales.map_or(1.0, |scales| scales[r].to_f32());
            let squared = f64::from(scale) * f64::from(scale);
            let row = row.iter().enumerate().filter(|(_, weight)| !weight.is_nan());
            self.pairs.extend(row.map(|(i, weight)| {
                let importance = importance.map_or(1.0, |importance| f64::from(importance[i]));
                (key(weight / scale), importance * squared)
            }));
        }
        if self.pairs.iter().all(|pair| pair.1 == 0.0) {
            self.pairs.iter_mut().for_each(|pair| pair.1 = 1.0);
        }
        // A stable sort, so that the weights of equal values are added in a fixed order.
        if self.pairs.len() > PARALLEL_LEN {
            self.pairs.par_sort_by_key(|pair| pair.0);
        } else {
            radix_sort(&mut self.pairs, &mut self.spare_pairs, |pair| pair.0);
        }
        let centre = self.pairs.get(self.pairs.len() / 2).map_or(0.0, |pair| value(pair.0));
        points.refill(self.pairs.iter().map(|pair| (value(pair.0), pair.1)), centre);
    }

    /// Smallest and largest value, divided by their row's scale if there is one. Without any values
    /// the smallest is infinity and the largest minus infinity.
    pub(in crate::quantize) fn extent(
        &self,
        weights: &[f32],
        weighting: &Weighting<'_>,
    ) -> (f64, f64) {
        let rows = weights.chunks_exact(weighting.inputs).enumerate();
        rows.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (r, row)| {
            let scale = weighting.scales.map_or(1.0, |scales| scales[r].to_f64());
            let (least, most) = row
                .iter()
                .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), w| (l.min(*w), h.max(*w)));
            (low.min(f64::from(least) / scale), high.max(f64::from(most) / scale))
        })
    }

    /// The distinct values in ascending order.
    pub(in crate::quantize) fn distinct(&mut self, weights: &[f32]) -> Vec<f32> {
        self.sort(weights);
        self.keys.dedup();
        self.keys.iter().map(|key| value(*key)).collect()
    }

    /// Leaves the sorted keys in `self.keys`.
    fn sort(&mut self, weights: &[f32]) {
        self.keys.clear();
        self.keys.reserve(weights.len());
        let kept = weights.iter().filter(|weight| !weight.is_nan());
        self.keys.extend(kept.map(|weight| key(*weight)));
        if self.keys.len() > PARALLEL_LEN {
            self.keys.par_sort_unstable();
        } else {
            radix_sort(&mut self.keys, &mut self.spare, |key| key);
        }
    }
}

/// Sorts by `key_of`, stably, leaving the result in `items`.
fn radix_sort<T: Copy + Default>(
    items: &mut Vec<T>,
    spare: &mut Vec<T>,
    key_of: impl Fn(T) -> u32,
) {
    let digit = |item: T, pass: usize| (key_of(item) >> (pass * DIGIT_BITS)) as usize % DIGITS;
    let mut counts = [[0u32; DIGITS]; PASSES];
    for item in items.iter() {
        for (pass, counts) in counts.iter_mut().enumerate() {
            counts[digit(*item, pass)] += 1;
        }
    }
    spare.resize(items.len(), T::default());
    for (pass, counts) in counts.iter_mut().enumerate() {
        if counts.iter().any(|count| *count as usize == items.len()) {
            continue;
        }
        let mut start = 0;
        for count in counts.iter_mut() {
            (*count, start) = (start, start + *count);
        }
        for item in items.iter() {
            let slot = &mut counts[digit(*item, pass)];
            spare[*slot as usize] = *item;
            *slot += 1;
        }
        std::mem::swap(items, spare);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn radix_sorting_orders_floats_and_keeps_equal_ones_in_place(
            values in prop::collection::vec(prop_oneof![-2.0f32..2.0, Just(0.0), Just(-0.0)], 0..300),
            coarse in any::<bool>(),
        ) {
            let round = |value: f32| if coarse { (value * 4.0).round() / 4.0 } else { value };
            let mut items: Vec<(u32, f64)> =
                values.iter().enumerate().map(|(i, v)| (key(round(*v)), i as f64)).collect();
            let mut expected = items.clone();
            expected.sort_by(|a, b| value(a.0).partial_cmp(&value(b.0)).unwrap());
            radix_sort(&mut items, &mut Vec::new(), |item| item.0);
            prop_assert_eq!(items, expected);
        }
    }
}
