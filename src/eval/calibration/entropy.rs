//! Finds the range that loses the least information, by the search over KL divergences known from
//! TensorRT's int8 calibration (Migacz, *8-bit inference with TensorRT*, GTC 2017).
//!
//! A histogram has the magnitudes in equal bins. Each number of leading bins is a candidate range.
//! `P` is the counts of those bins, plus all larger values in the last bin, because clipping moves them
//! there. `Q` is the counts of the bins without the larger values, merged into as many levels as int8
//! has magnitudes; each level's count is spread evenly over its bins that are not empty. The range is
//! the candidate with the smallest `KL(P || Q)`, and the smallest range among equals.

/// Bins of a histogram: fine enough that a level has several bins.
pub const BINS: usize = 2048;
/// Magnitudes of int8: 0 to 127.
pub const LEVELS: usize = 128;

/// The number of leading bins of `counts` that form the best range for `levels` levels; all bins if
/// there are no more bins than levels.
pub fn best_bins(counts: &[u64], levels: usize) -> usize {
    let mut best = (f64::INFINITY, counts.len());
    let mut beyond: u64 = counts.iter().skip(levels).sum();
    for bins in levels..=counts.len() {
        let divergence = divergence(&counts[..bins], beyond, levels);
        if divergence < best.0 {
            best = (divergence, bins);
        }
        beyond -= counts.get(bins).unwrap_or(&0);
    }
    best.1
}

/// `KL(P || Q)` in nats for the range of `bins`, with `beyond` values outside it; infinite if a bin is
/// empty in `Q` but not in `P`.
fn divergence(bins: &[u64], beyond: u64, levels: usize) -> f64 {
    let inside: u64 = bins.iter().sum();
    let (inside_total, total) = (inside as f64, (inside + beyond) as f64);
    let mut divergence = 0.0;
    for level in 0..levels {
        let (start, end) = (level * bins.len() / levels, (level + 1) * bins.len() / levels);
        let merged = &bins[start..end];
        let occupied = merged.iter().filter(|count| **count > 0).count();
        let spread = merged.iter().sum::<u64>() as f64 / occupied as f64 / inside_total;
        for (bin, count) in (start..).zip(merged) {
            let clipped = if bin + 1 == bins.len() { beyond } else { 0 };
            match (count + clipped, count) {
                (0, _) => {}
                (_, 0) => return f64::INFINITY,
                (all, _) => {
                    let share = all as f64 / total;
                    divergence += share * (share / spread).ln();
                }
            }
        }
    }
    divergence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divergence_of_a_small_case_is_that_of_the_definition() {
        // Two levels of two bins; one value beyond. P = (1, 3, 2, 2 + 1) / 9, Q = (2, 2, 2, 2) / 8.
        let p = [1.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0f64];
        let expected: f64 = p.iter().map(|p| p * (p / 0.25).ln()).sum();
        assert!((divergence(&[1, 3, 2, 2], 1, 2) - expected).abs() < 1e-15);
        // An empty bin takes no part: Q = (4, 0, 2, 2) / 8.
        let p = [4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0f64];
        let q = [0.5, 0.25, 0.25];
        let expected: f64 = p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum();
        assert!((divergence(&[4, 0, 2, 2], 1, 2) - expected).abs() < 1e-15);
        assert_eq!(divergence(&[4, 1, 2, 0], 1, 2), f64::INFINITY);
    }

    #[test]
    fn a_lone_outlier_is_cut_off_and_a_flat_distribution_is_kept_whole() {
        // Four levels; eight busy bins that are equal in pairs, then one value far out.
        let outlier = [50, 50, 40, 40, 30, 30, 20, 20, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(best_bins(&outlier, 4), 8);
        assert_eq!(best_bins(&[10; 16], 4), 16);
        assert_eq!(best_bins(&[3, 4], 4), 2);
    }
}
