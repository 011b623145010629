//! Exact one-dimensional weighted k-means: the globally optimal lookup table.
//!
//! In one dimension clusters are intervals of the sorted values, so a clustering is a choice of
//! boundaries and the optimum is a shortest path. Two methods find it, both exact up to f64
//! rounding of sums: `windows.rs` (dynamic programming inside certified windows; fast for few
//! clusters) and `lagrange.rs` (a price per cluster; linear memory, fast for many). Costs are
//! differences of prefix sums, or if these would lose small weights or small errors beside large
//! ones, merged moments (`intervals.rs`). Nothing here is random.

pub(super) mod distinct;
mod intervals;
mod lagrange;
mod plain;
pub(super) mod points;
mod windows;

use points::Points;

/// Above this number of clusters the priced path is faster than the windows.
const WINDOWS_MAX_CLUSTERS: usize = 16;

/// Memory that a thread reuses from one clustering to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    windows: windows::WindowScratch,
}

/// The boundaries of the optimal clustering into `clusters`, as positions from 0 to the number of
/// values, both included. If there are no more values than clusters, each value is a cluster.
pub(super) fn boundaries(points: &Points, clusters: usize, scratch: &mut Scratch) -> Vec<usize> {
    let len = points.len();
    if len <= clusters {
        return (0..=len).collect();
    }
    let found = solve(points, clusters, scratch);
    if points.is_wide() || points.resolves(&found) {
        return found;
    }
    let mut wide = points.clone();
    wide.widen();
    solve(&wide, clusters, scratch)
}

/// [`boundaries`] for more values than clusters.
fn solve(points: &Points, clusters: usize, scratch: &mut Scratch) -> Vec<usize> {
    let len = points.len();
    match clusters {
        0 | 1 => vec![0, len],
        2 if points.is_wide() => vec![0, best_wide_split(points), len],
        _ if points.is_wide() && plain::is_fast(points, clusters) => {
            plain::boundaries(points, clusters)
        }
        2 => vec![0, best_split(points), len],
        _ => {
            let priced = (clusters > WINDOWS_MAX_CLUSTERS)
                .then(|| lagrange::boundaries(points, clusters))
                .flatten();
            priced.unwrap_or_else(|| windows::boundaries(points, clusters, &mut scratch.windows))
        }
    }
}

/// The cluster means of the optimal clustering, ascending; at most `clusters` of them.
pub(super) fn means(points: &Points, clusters: usize, scratch: &mut Scratch) -> Vec<f64> {
    let boundaries = boundaries(points, clusters, scratch);
    boundaries.windows(2).map(|pair| points.exact_mean(pair[0], pair[1])).collect()
}

/// The best boundary between two clusters. Their squared error is the sum of all squares less
/// `S² / W` of each side, so the boundary with the largest `S² / W` in total wins; of equal ones
/// the lowest.
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

/// [`best_split`] for weights or values of a wide spread.
fn best_wide_split(points: &Points) -> usize {
    let len = points.len();
    let cost = |position: usize| points.cost(0, position) + points.cost(position, len);
    let costs = (1..len).map(|position| (cost(position), position));
    let first = (f64::INFINITY, 1);
    costs.fold(first, |best, one| if one.0 < best.0 { one } else { best }).1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points(pairs: &[(f32, f64)]) -> Points {
        let mut pairs = pairs.to_vec();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut points = Points::default();
        points.refill(pairs.iter().copied(), pairs.get(pairs.len() / 2).map_or(0.0, |pair| pair.0));
        points
    }

    /// The least cost over all ways to cut `from ..` into `clusters` intervals.
    fn brute_force(points: &Points, from: usize, clusters: usize) -> f64 {
        let len = points.len();
        if clusters == 1 {
            return points.cost(from, len);
        }
        (from + 1..=len - (clusters - 1))
            .map(|cut| points.cost(from, cut) + brute_force(points, cut, clusters - 1))
            .fold(f64::INFINITY, f64::min)
    }

    fn check(points: &Points, boundaries: &[usize], clusters: usize, optimum: f64) {
        assert_eq!(boundaries.len(), clusters + 1);
        assert!(boundaries.windows(2).all(|pair| pair[0] < pair[1]), "{boundaries:?}");
        assert_eq!((boundaries[0], boundaries[clusters]), (0, points.len()));
        let cost = points.total_cost(boundaries);
        let tolerance = 1e-12 * optimum.abs() + 1e-15 * points.square[points.len()];
        assert!((cost - optimum).abs() <= tolerance, "{clusters}: {cost} against {optimum}");
    }

    fn three_ways(points: &Points, clusters: usize, optimum: f64) {
        let mut scratch = Scratch::default();
        check(points, &boundaries(points, clusters, &mut scratch), clusters, optimum);
        let windowed = windows::boundaries(points, clusters, &mut scratch.windows);
        check(points, &windowed, clusters, optimum);
        check(points, &lagrange::boundaries(points, clusters).unwrap(), clusters, optimum);
    }

    proptest! {
        #[test]
        fn small_clusterings_equal_brute_force(
            raw in prop::collection::vec((-6i32..6, 0u8..4), 1..13),
            fine in prop::collection::vec(-1.0f32..1.0, 13),
            grid in any::<bool>(),
            clusters in 2usize..6,
        ) {
            let value = |i: usize, v: i32| if grid { v as f32 } else { v as f32 + fine[i] };
            let pairs: Vec<_> = raw.iter().enumerate()
                .map(|(i, (v, weight))| (value(i, *v), f64::from(*weight))).collect();
            let points = points(&pairs);
            if points.len() <= clusters {
                let all = boundaries(&points, clusters, &mut Scratch::default());
                prop_assert_eq!(all, (0..=points.len()).collect::<Vec<_>>());
            } else {
                three_ways(&points, clusters, brute_force(&points, 0, clusters));
            }
        }
    }

    proptest! {
        // The textbook recurrence it is compared with takes quadratic time.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn both_methods_find_the_same_cost(
            seed in any::<u64>(), len in 20usize..2000, clusters in 2usize..40, shape in 0u8..4,
        ) {
            let pairs = sample(seed, len, shape);
            let points = points(&pairs);
            if points.len() > clusters {
                three_ways(&points, clusters, recurrence(&points, clusters));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn weights_and_values_of_any_spread_are_clustered_exactly(
            seed in any::<u64>(), len in 3usize..60, clusters in 2usize..20, wide in 0u8..3,
        ) {
            use rand::{RngExt, SeedableRng};
            let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let mut power = |most: f64, on: bool| if on {
                10f64.powf((random.random::<f64>() * 2.0 - 1.0) * most)
            } else {
                0.5 + random.random::<f64>()
            };
            let pairs: Vec<_> = (0..len).map(|i| {
                let size = power(12.0, wide != 0) as f32;
                let value = if i % 2 == 0 { size } else { -size };
                (value, power(30.0, wide != 1))
            }).collect();
            let points = points(&pairs);
            if points.len() > clusters {
                let mut exact = points.clone();
                exact.widen();
                let optimum = recurrence(&exact, clusters);
                let mut scratch = Scratch::default();
                let of = |found: &[usize]| {
                    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
                    assert_eq!((found.len(), found[clusters]), (clusters + 1, exact.len()));
                    exact.total_cost(found)
                };
                // Prefix sums are used where their rounding is a small share of the error.
                let slack = if points.is_wide() { 1e-11 } else { 5e-4 };
                let found = of(&boundaries(&points, clusters, &mut scratch));
                prop_assert!(found <= optimum * (1.0 + slack), "{found} {optimum}");
                let table = means(&points, clusters, &mut scratch);
                prop_assert!(table.iter().all(|mean| mean.is_finite()), "{table:?}");
            }
        }
    }

    #[test]
    fn a_weight_that_a_prefix_sum_loses_has_its_own_mean() {
        let pairs = [(0.0, 1.0), (1.0, 1.0), (5.0, 1e-20), (6.0, 1e-20), (100.0, 1e-20)];
        for (clusters, expected) in [(4, vec![0.0, 1.0, 5.5, 100.0]), (3, vec![0.0, 1.0, 100.0])] {
            let found = means(&points(&pairs), clusters, &mut Scratch::default());
            assert_eq!(found.len(), clusters);
            let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
            assert!(found.iter().zip(&expected).all(near), "{found:?}");
        }
        // One value far from the others hides their squares.
        let mut pairs: Vec<(f32, f64)> = (0..40).map(|i| (i as f32, 1.0)).collect();
        pairs.push((1e12, 1.0));
        let found = means(&points(&pairs), 5, &mut Scratch::default());
        assert_eq!(found, [4.5, 14.5, 24.5, 34.5, 1e12f32.into()]);
    }

    /// The textbook quadratic recurrence over prefixes.
    fn recurrence(points: &Points, clusters: usize) -> f64 {
        let len = points.len();
        let mut best: Vec<f64> =
            (0..=len).map(|to| if to == 0 { f64::INFINITY } else { points.cost(0, to) }).collect();
        for _ in 1..clusters {
            best = (0..=len)
                .map(|to| {
                    let costs = (1..to).map(|from| best[from] + points.cost(from, to));
                    costs.fold(f64::INFINITY, f64::min)
                })
                .collect();
        }
        best[len]
    }

    /// Bell-shaped, even, two-humped or coarsely rounded values with weights.
    fn sample(seed: u64, len: usize, shape: u8) -> Vec<(f32, f64)> {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut bell = move || (0..6).map(|_| random.random::<f32>() - 0.5).sum::<f32>();
        (0..len)
            .map(|i| match shape {
                0 => (bell(), 1.0),
                1 => (i as f32, 1.0 + f64::from(bell().abs())),
                2 => (bell() * 0.2 + if i % 3 == 0 { 40.0 } else { 1.0 }, 1.0),
                _ => ((bell() * 200.0).round() / 200.0, 1.0),
            })
            .collect()
    }

    #[test]
    fn a_price_that_leaves_a_choice_still_gives_the_number_asked_for() {
        // Equal gaps everywhere: whole ranges of cluster counts share one price.
        let pairs: Vec<_> = (0..512).map(|i| (i as f32, 1.0)).collect();
        let points = points(&pairs);
        for clusters in [17, 31, 100, 255, 256, 257, 300, 511] {
            let found = lagrange::boundaries(&points, clusters).unwrap();
            let optimum = recurrence(&points, clusters);
            check(&points, &found, clusters, optimum);
        }
    }

    #[test]
    fn equal_values_and_no_values_are_one_cluster_and_none() {
        let mut scratch = Scratch::default();
        assert_eq!(means(&points(&[(0.5, 1.0), (0.5, 3.0)]), 4, &mut scratch), [0.5]);
        assert!(means(&points(&[]), 4, &mut scratch).is_empty());
        assert!(means(&points(&[(1.0, 0.0)]), 4, &mut scratch).is_empty());
    }
}
