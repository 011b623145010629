//! Weighted k-means in a few dimensions, which makes the entries of a table of vectors.
//!
//! Lloyd's iteration from a k-means++ start (Arthur and Vassilvitskii 2007). Sums are taken over
//! chunks of fixed length and added in order, so that results do not depend on threads.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::quantize::nearest::Candidates;

/// Most rounds of Lloyd's iteration.
const ROUNDS: usize = 20;
/// Points that a thread takes at a time.
const CHUNK: usize = 2048;

/// At most `entries` means of `points` under non-negative `weights`, one for each point. There are
/// fewer if there are fewer distinct points of positive weight.
pub(super) fn means<const D: usize>(
    points: &[[f32; D]],
    weights: &[f32],
    entries: usize,
    seed: u64,
) -> Vec<[f32; D]> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut centres = start(points, weights, entries, &mut random);
    if centres.len() < entries {
        return centres;
    }
    let mut codes = vec![u16::MAX; points.len()];
    for _ in 0..ROUNDS {
        let Round { changed, sums } = assign(points, weights, &centres, &mut codes);
        let mut empty = Vec::new();
        for (at, (centre, sum)) in centres.iter_mut().zip(&sums).enumerate() {
            if sum.weight > 0.0 {
                *centre = sum.sum.map(|total| (total / sum.weight) as f32);
            } else {
                empty.push(at);
            }
        }
        if !changed && empty.is_empty() {
            break;
        }
        refill(points, weights, &codes, &mut centres, &empty);
    }
    centres
}

/// The squared distance of two points.
#[inline(always)]
fn distance<const D: usize>(a: &[f32; D], b: &[f32; D]) -> f32 {
    let mut sum = 0.0;
    for d in 0..D {
        sum += (a[d] - b[d]) * (a[d] - b[d]);
    }
    sum
}

/// Draws centres one after the other. A point's chance is proportional to its weight times its
/// squared distance from the nearest centre so far.
fn start<const D: usize>(
    points: &[[f32; D]],
    weights: &[f32],
    entries: usize,
    random: &mut ChaCha8Rng,
) -> Vec<[f32; D]> {
    let mut costs = weights.to_vec();
    let mut least = vec![f32::INFINITY; points.len()];
    let mut centres = Vec::with_capacity(entries);
    let sum = |costs: &[f32]| costs.iter().map(|cost| f64::from(*cost)).sum::<f64>();
    let mut totals: Vec<f64> = costs.chunks(CHUNK).map(sum).collect();
    while centres.len() < entries {
        let total: f64 = totals.iter().sum();
        if total <= 0.0 {
            break;
        }
        let at = draw(&costs, &totals, random.random::<f64>() * total);
        let centre = points[at];
        centres.push(centre);
        let chunks = costs.par_chunks_mut(CHUNK).zip(least.par_chunks_mut(CHUNK));
        let given = points.par_chunks(CHUNK).zip(weights.par_chunks(CHUNK));
        chunks.zip(given).zip(&mut totals).for_each(
            |(((costs, least), (points, weights)), total)| {
                pulp::Arch::new().dispatch(Nearer { points, weights, centre, least, costs });
                *total = sum(costs);
            },
        );
    }
    centres
}

/// Updates the costs of points for one more centre.
struct Nearer<'a, const D: usize> {
    points: &'a [[f32; D]],
    weights: &'a [f32],
    centre: [f32; D],
    least: &'a mut [f32],
    costs: &'a mut [f32],
}

impl<const D: usize> pulp::NullaryFnOnce for Nearer<'_, D> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let given = self.points.iter().zip(self.weights);
        let kept = self.least.iter_mut().zip(self.costs);
        for ((point, weight), (least, cost)) in given.zip(kept) {
            *least = least.min(distance(point, &self.centre));
            *cost = *least * weight;
        }
    }
}

/// The point at which the running sum of costs passes `target`.
fn draw(costs: &[f32], totals: &[f64], mut target: f64) -> usize {
    let last = totals.iter().rposition(|total| *total > 0.0).unwrap_or(0);
    let mut chunk = 0;
    while chunk < last && target >= totals[chunk] {
        target -= totals[chunk];
        chunk += 1;
    }
    let first = chunk * CHUNK;
    let own = &costs[first..(first + CHUNK).min(costs.len())];
    let mut found = 0;
    for (i, cost) in own.iter().enumerate() {
        if *cost > 0.0 {
            found = i;
            if target < f64::from(*cost) {
                break;
            }
        }
        target -= f64::from(*cost);
    }
    first + found
}

#[derive(Clone, Copy)]
struct Sum<const D: usize> {
    sum: [f64; D],
    weight: f64,
}

struct Round<const D: usize> {
    changed: bool,
    sums: Vec<Sum<D>>,
}

/// Finds the nearest centres of some points. The output is whether one has changed.
struct AssignPoints<'a, const D: usize> {
    candidates: &'a Candidates<D>,
    points: &'a [[f32; D]],
    weights: &'a [f32],
    codes: &'a mut [u16],
    sums: &'a mut [Sum<D>],
}

impl<const D: usize> pulp::NullaryFnOnce for AssignPoints<'_, D> {
    type Output = bool;

    #[inline(always)]
    fn call(self) -> bool {
        let mut changed = false;
        for ((code, point), weight) in self.codes.iter_mut().zip(self.points).zip(self.weights) {
            let nearest = self.candidates.nearest(point);
            changed |= usize::from(*code) != nearest;
            *code = nearest as u16;
            let own = &mut self.sums[nearest];
            let weight = f64::from(*weight);
            own.weight += weight;
            for (sum, component) in own.sum.iter_mut().zip(point) {
                *sum += weight * f64::from(*component);
            }
        }
        changed
    }
}

/// Assigns every point to its nearest centre, and sums the points of each centre.
fn assign<const D: usize>(
    points: &[[f32; D]],
    weights: &[f32],
    centres: &[[f32; D]],
    codes: &mut [u16],
) -> Round<D> {
    let mut candidates = Candidates::default();
    candidates.refill(centres, &[1.0; D]);
    let zero =
        Round { changed: false, sums: vec![Sum { sum: [0.0; D], weight: 0.0 }; centres.len()] };
    let chunks = codes.par_chunks_mut(CHUNK).zip(points.par_chunks(CHUNK));
    let rounds: Vec<Round<D>> = chunks
        .zip(weights.par_chunks(CHUNK))
        .map(|((codes, points), weights)| {
            let mut round = Round { changed: false, sums: zero.sums.clone() };
            let sums = &mut round.sums[..];
            let assigned = AssignPoints { candidates: &candidates, points, weights, codes, sums };
            round.changed = pulp::Arch::new().dispatch(assigned);
            round
        })
        .collect();
    rounds.into_iter().fold(zero, |mut all, round| {
        all.changed |= round.changed;
        for (sum, more) in all.sums.iter_mut().zip(round.sums) {
            sum.weight += more.weight;
            for d in 0..D {
                sum.sum[d] += more.sum[d];
            }
        }
        all
    })
}

/// Moves centres without points to the points of the highest cost.
fn refill<const D: usize>(
    points: &[[f32; D]],
    weights: &[f32],
    codes: &[u16],
    centres: &mut [[f32; D]],
    empty: &[usize],
) {
    if empty.is_empty() {
        return;
    }
    let cost = |i: usize| distance(&points[i], &centres[usize::from(codes[i])]) * weights[i];
    let mut costs: Vec<(f32, usize)> = (0..points.len()).map(|i| (cost(i), i)).collect();
    costs.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (at, (_, point)) in empty.iter().zip(costs) {
        centres[*at] = points[point];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cost(points: &[[f32; 2]], weights: &[f32], centres: &[[f32; 2]]) -> f64 {
        let least = |point| {
            let all = centres.iter().map(|centre| f64::from(distance(point, centre)));
            all.fold(f64::INFINITY, f64::min)
        };
        points.iter().zip(weights).map(|(point, weight)| least(point) * f64::from(*weight)).sum()
    }

    /// The least cost over all ways to divide the points into two clusters.
    fn brute_force(points: &[[f32; 2]], weights: &[f32]) -> f64 {
        let halves = (0..1u32 << points.len()).map(|choice| {
            let centres: Vec<[f32; 2]> = [0, 1]
                .iter()
                .filter_map(|half| {
                    let own = (0..points.len()).filter(|i| choice >> i & 1 == *half);
                    let weight: f32 = own.clone().map(|i| weights[i]).sum();
                    let sum = |d| own.clone().map(|i| weights[i] * points[i][d]).sum::<f32>();
                    (weight > 0.0).then(|| [sum(0) / weight, sum(1) / weight])
                })
                .collect();
            cost(points, weights, &centres)
        });
        halves.fold(f64::INFINITY, f64::min)
    }

    proptest! {
        #[test]
        fn no_seed_beats_the_optimum_and_the_best_of_many_is_close(
            points in prop::collection::vec(prop::array::uniform2(-3.0f32..3.0), 3..9),
            weights in prop::collection::vec(0.1f32..4.0, 9),
        ) {
            let weights = &weights[..points.len()];
            let optimum = brute_force(&points, weights);
            let found = (0..64).map(|seed| cost(&points, weights, &means(&points, weights, 2, seed)));
            let best = found.fold(f64::INFINITY, f64::min);
            prop_assert!(best >= optimum * 0.9999 - 1e-6, "{best} {optimum}");
            prop_assert!(best <= optimum * 1.5 + 1e-6, "{best} {optimum}");
        }
    }

    #[test]
    fn points_that_fit_are_the_entries_and_those_without_weight_are_not() {
        let points = [[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [5.0, 5.0]];
        let mut found = means(&points, &[1.0, 2.0, 1.0, 0.0], 4, 1);
        found.sort_by(|a, b| a[0].total_cmp(&b[0]));
        assert_eq!(found, [[0.0, 0.0], [1.0, 2.0]]);
        assert!(means::<2>(&[], &[], 4, 1).is_empty());
    }

    #[test]
    fn threads_change_nothing() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let points: Vec<[f32; 4]> = (0..10_000).map(|_| random.random()).collect();
        let weights = vec![1.0; points.len()];
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| means(&points, &weights, 64, 3))
        };
        assert_eq!(with(1), with(3));
    }
}
