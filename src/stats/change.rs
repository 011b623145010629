//! Where the level of a metric changed in its history.
//!
//! Binary segmentation (Scott & Knott, 1974; Vostrikova, 1981): the split that separates two means best
//! is kept if random orders of the same observations rarely separate as well; then both parts are
//! searched. The permutation test assumes no distribution, because nightly numbers follow none (Matteson
//! & James, 2014, test the same way; Daly et al., 2020, for a database). A single odd night is not a
//! change: it separates no better at its place than at most others.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::interval::below;
use super::{LARGEST, Sample};

/// One night's value of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The value; the caller leaves out nights without one.
    pub value: f64,
    /// Its standard error within the night, if known.
    pub standard_error: Option<f64>,
}

/// How change points are searched for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Seed of the permutations.
    pub seed: u64,
    /// Random orders per test; the smallest p-value is 1 ÷ (permutations + 1).
    pub permutations: usize,
    /// A split is kept if its p-value is at most this.
    pub alpha: f64,
    /// The least number of observations on either side of a split; at least 1.
    pub least: usize,
}

impl Search {
    /// 999 permutations, a level of 0.01, at least three nights on either side.
    pub fn new(seed: u64) -> Search {
        Search { seed, permutations: 999, alpha: 0.01, least: 3 }
    }
}

/// A change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// The first observation of the new level.
    pub index: usize,
    /// The share of orders, including the actual one, that separate as well.
    pub p: f64,
    /// The weighted mean since the previous change point.
    pub before: f64,
    /// The weighted mean until the next change point.
    pub after: f64,
}

/// The change points of a history, in order of time. Imprecise observations count less: the weight is
/// 1 ÷ (the observation's variance + the variance between nights). The latter comes from the median
/// absolute step from night to night, which changes of level hardly affect. There are no change points
/// if a value is not finite or beyond [`LARGEST`].
///
/// At the default level, finding a step takes about 11 nights; fewer nights have too few orders for a
/// small p-value.
pub fn change_points(history: &[Observation], search: &Search) -> Vec<ChangePoint> {
    let Some(points) = weighted(history) else { return Vec::new() };
    let mut found: Vec<(usize, f64)> = Vec::new();
    let mut open = vec![(0, points.len())];
    while let Some((start, end)) = open.pop() {
        let Some((split, p)) = best_split(&points[start..end], start, search) else {
            continue;
        };
        if p <= search.alpha {
            found.push((start + split, p));
            open.extend([(start, start + split), (start + split, end)]);
        }
    }
    found.sort_by_key(|&(index, _)| index);
    let start_of = |at: usize| found.get(at).map_or(points.len(), |&(index, _)| index);
    let point = |at: usize| {
        let start = if at == 0 { 0 } else { start_of(at - 1) };
        let (index, p) = found[at];
        let (before, after) = (mean(&points[start..index]), mean(&points[index..start_of(at + 1)]));
        ChangePoint { index, p, before, after }
    };
    (0..found.len()).map(point).collect()
}

/// A value and its weight.
#[derive(Debug, Clone, Copy)]
struct Weighted {
    value: f64,
    weight: f64,
}

fn weighted(history: &[Observation]) -> Option<Vec<Weighted>> {
    let values: Vec<f64> = history.iter().map(|night| night.value).collect();
    Sample::new(values.clone()).ok()?;
    let steps = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    // For normal values, steps have √2 times their deviation, and the median absolute step is 0.6745
    // times the deviation of steps.
    let between = Sample::new(steps).map_or(0.0, |s| s.median() / 0.674_49).powi(2) / 2.0;
    let variance = |night: &Observation| {
        night.standard_error.filter(|error| error.is_finite()).map_or(0.0, |e| e * e) + between
    };
    let is_known = history.iter().all(|night| is_weight(1.0 / variance(night)));
    let weight = |night: &Observation| if is_known { 1.0 / variance(night) } else { 1.0 };
    let point = |night: &Observation| Weighted { value: night.value, weight: weight(night) };
    Some(history.iter().map(point).collect())
}

/// Whether sums of values times this weight stay within what an f64 can hold.
fn is_weight(weight: f64) -> bool {
    weight > 1.0 / LARGEST && weight < LARGEST
}

fn mean(points: &[Weighted]) -> f64 {
    let weight: f64 = points.iter().map(|point| point.weight).sum();
    points.iter().map(|point| point.value * point.weight).sum::<f64>() / weight
}

/// The split that separates best, and its p-value; `None` if the part is too short or constant.
fn best_split(points: &[Weighted], start: usize, search: &Search) -> Option<(usize, f64)> {
    let least = search.least.max(1);
    let constant = points.iter().all(|point| point.value == points[0].value);
    if points.len() < least.saturating_mul(2) || constant {
        return None;
    }
    let (split, separation) = separate(points, least);
    let mut random = ChaCha8Rng::seed_from_u64(search.seed);
    random.set_stream(start as u64);
    let mut shuffled = points.to_vec();
    // Sums in another order round differently, but equal separations must count as equal.
    let as_good = separation * (1.0 - 1e-9);
    let mut better = 1;
    for _ in 0..search.permutations {
        for last in (1..shuffled.len()).rev() {
            shuffled.swap(last, below(&mut random, last + 1));
        }
        better += usize::from(separate(&shuffled, least).1 >= as_good);
    }
    Some((split, better as f64 / (search.permutations + 1) as f64))
}

/// The split with the largest weighted sum of squares between its sides,
/// W1 W2 ÷ (W1 + W2) · (mean1 - mean2)².
fn separate(points: &[Weighted], least: usize) -> (usize, f64) {
    let middle = mean(points);
    let total: f64 = points.iter().map(|point| point.weight).sum();
    let (mut weight, mut sum, mut best) = (0.0, 0.0, (least, -1.0));
    for (at, point) in points[..points.len() - least].iter().enumerate() {
        weight += point.weight;
        sum += point.weight * (point.value - middle);
        let between = sum * sum * total / (weight * (total - weight));
        if at + 1 >= least && between > best.1 {
            best = (at + 1, between);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(values: impl IntoIterator<Item = f64>) -> Vec<Observation> {
        let night = |value| Observation { value, standard_error: None };
        values.into_iter().map(night).collect()
    }

    /// Noise between -0.5 and 0.5.
    fn noise(count: usize, seed: u64) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| below(&mut random, 1_000) as f64 / 1_000.0 - 0.5).collect()
    }

    fn found(values: Vec<f64>) -> Vec<usize> {
        change_points(&history(values), &Search::new(1)).iter().map(|found| found.index).collect()
    }

    #[test]
    fn a_step_without_noise_is_found_at_its_place() {
        let values = [vec![10.0; 8], vec![11.0; 7]].concat();
        let found = change_points(&history(values), &Search::new(1));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].index, found[0].before, found[0].after), (8, 10.0, 11.0));
        assert!(found[0].p <= 0.01);
    }

    #[test]
    fn a_constant_history_and_a_short_one_have_no_change() {
        assert!(found(vec![3.5; 40]).is_empty());
        assert!(found(vec![]).is_empty());
        assert!(found(vec![1.0, 1.0, 2.0, 2.0]).is_empty());
        assert!(found(vec![1.0, f64::NAN, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]).is_empty());
    }

    #[test]
    fn a_step_up_and_back_down_again_is_two_changes() {
        let level = |i: usize| if (20..35).contains(&i) { 2.0 } else { 0.0 };
        let values = noise(60, 3).iter().enumerate().map(|(i, noise)| level(i) + noise).collect();
        assert_eq!(found(values), [20, 35]);
    }

    #[test]
    fn one_odd_night_is_no_change() {
        let mut values = noise(40, 5);
        values[23] += 50.0;
        assert!(found(values).is_empty());
    }

    #[test]
    fn noise_alone_is_rarely_called_a_change() {
        let alarms = (0..300).filter(|&seed| !found(noise(30, 1_000 + seed)).is_empty()).count();
        assert!(alarms <= 9, "{alarms} of 300 at a level of 0.01");
    }

    #[test]
    fn imprecise_nights_count_less() {
        let nights = (0..24).map(|i| {
            let is_rough = (8..16).contains(&i);
            let noise = f64::from(i * 7 % 5) / 50.0;
            Observation {
                value: noise + if is_rough { f64::from(i % 2) * 4.0 } else { f64::from(i / 16) },
                standard_error: Some(if is_rough { 4.0 } else { 0.02 }),
            }
        });
        let found = change_points(&nights.collect::<Vec<_>>(), &Search::new(1));
        let (last, others) = found.split_last().unwrap();
        assert!((last.after - 1.0).abs() < 0.1 && last.before < 0.2, "{last:?}");
        assert!(others.is_empty(), "{others:?}");
    }
}
