//! The range that loses the least information: the search by KL divergence that TensorRT's int8
//! calibration made known (Migacz, *8-bit inference with TensorRT*, GTC 2017).
//!
//! Of a histogram of magnitudes in equal bins, each number of leading bins is a candidate range.
//! `P` is what those bins hold, with everything beyond them in the last one, because that is where
//! clipping puts it. `Q` is what is left of the bins themselves (without what lies beyond) when
//! they are merged into as many levels as int8 has magnitudes, and each level's count is spread
//! evenly over those of its bins that are not empty. The range is the candidate with the smallest
//! `KL(P || Q)`, and of equals the smallest range.

/// Bins of a histogram: so fine that several make a level.
pub const BINS: usize = 2048;
/// Magnitudes of int8: 0 to 127.
pub const LEVELS: usize = 128;

/// How many leading bins of `counts` make the best range for `levels` levels; all of them where
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

/// `KL(P || Q)` in nats for the range that `bins` make, with `beyond` values outside it; infinite
/// where `Q` has nothing in a bin that `P` has something in.
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
