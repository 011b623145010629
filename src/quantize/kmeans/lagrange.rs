//! Exact clustering into many clusters by putting a price on each.
//!
//! With a price per cluster the number of clusters is free, and the optimum is a least-weight path
//! that one sweep finds. The optimal cost is convex in the number of clusters, so some price gives
//! the number asked for. If paths of different numbers are optimal at that price, two of them are
//! spliced into one with exactly the number asked for (Aggarwal, Schieber and Tokuyama 1994).
//! Memory: `O(values)`.

use std::collections::VecDeque;

use super::points::Points;

/// Prices guessed by the power law. After these the search cuts planes, which always terminates.
const GUESSES: usize = 12;
/// Two costs closer than this share of the total square sum, or of themselves if points are wide,
/// are equal up to f64 rounding.
const ROUNDING_MARGIN: f64 = 1e-14;

/// A least-weight path and what it costs without prices.
#[derive(Debug, Clone)]
struct Path {
    boundaries: Vec<usize>,
    cost: f64,
}

impl Path {
    fn of(points: &Points, boundaries: Vec<usize>) -> Path {
        Path { cost: points.total_cost(&boundaries), boundaries }
    }

    fn clusters(&self) -> usize {
        self.boundaries.len() - 1
    }
}

/// The optimal boundaries, for more values than clusters and at least two clusters. `None` if f64
/// rounding hides the price or the splice; the caller then uses the other method.
pub(super) fn boundaries(points: &Points, clusters: usize) -> Option<Vec<usize>> {
    let len = points.len();
    // At a price of 0 every value is a cluster; at the highest price there is one cluster.
    let mut more = Path::of(points, (0..=len).collect());
    let mut fewer = Path::of(points, vec![0, len]);
    let mut price = first_price(points, clusters);
    let mut sweep = Sweep::default();
    let (mut lowest, mut highest) = (0.0, f64::INFINITY);
    let mut round = 0;
    loop {
        let span = (more.clusters() - fewer.clusters()) as f64;
        let cut = (fewer.cost - more.cost) / span;
        let cutting = round >= GUESSES || !(price > lowest && price < highest);
        if cutting {
            price = cut;
        }
        let path = Path::of(points, sweep.run(points, price));
        let found = path.clusters();
        if found == clusters {
            return Some(path.boundaries);
        }
        let line = fewer.cost + price * fewer.clusters() as f64;
        let margin = points.margin(ROUNDING_MARGIN, line);
        let gain = line - (path.cost + price * found as f64);
        let stuck = found <= fewer.clusters() || found >= more.clusters();
        if cutting && (gain <= margin || stuck) {
            return splice(&fewer.boundaries, &more.boundaries, clusters);
        }
        // Costs fall with the square of the number of clusters, and prices with its cube.
        let next = price * (found as f64 / clusters as f64).powi(3);
        if found > clusters {
            (lowest, more) = (price, if stuck { more } else { path });
        } else {
            (highest, fewer) = (price, if stuck { fewer } else { path });
        }
        price = next;
        round += 1;
    }
}

/// A first guess: the mean cost of a cluster if all had equally many values.
fn first_price(points: &Points, clusters: usize) -> f64 {
    let len = points.len();
    let even: Vec<usize> = (0..=clusters).map(|i| i * len / clusters).collect();
    points.total_cost(&even) / clusters as f64
}

/// Joins the head of one optimal path to the tail of another, at a cluster of `fewer` that contains
/// a cluster of `more`, so that there are `clusters` clusters.
fn splice(fewer: &[usize], more: &[usize], clusters: usize) -> Option<Vec<usize>> {
    let ahead = clusters.checked_sub(fewer.len() - 1)?;
    (0..fewer.len() - 1).find_map(|x| {
        let y = x + ahead;
        let contained = y + 1 < more.len() && fewer[x] <= more[y] && more[y + 1] <= fewer[x + 1];
        contained.then(|| more[..=y].iter().chain(&fewer[x + 1..]).copied().collect())
    })
}

/// One sweep over the positions with memory kept between prices.
#[derive(Default)]
struct Sweep {
    cost: Vec<f64>,
    parent: Vec<u32>,
    /// Candidates for the previous boundary, each with the first position where it is the best.
    candidates: VecDeque<(usize, usize)>,
}

impl Sweep {
    /// The boundaries of the least-weight path where each cluster costs `price` extra.
    ///
    /// By the quadrangle inequality a later candidate that is better once stays better.
    fn run(&mut self, points: &Points, price: f64) -> Vec<usize> {
        let len = points.len();
        self.cost.clear();
        self.cost.resize(len + 1, 0.0);
        self.parent.clear();
        self.parent.resize(len + 1, 0);
        self.candidates.clear();
        self.candidates.push_back((0, 1));
        for position in 1..=len {
            while self.candidates.get(1).is_some_and(|next| next.1 <= position) {
                self.candidates.pop_front();
            }
            let parent = self.candidates.front().map_or(0, |first| first.0);
            self.parent[position] = parent as u32;
            self.cost[position] = self.cost[parent] + price + points.cost(parent, position);
            if position < len {
                self.enter(points, position);
            }
        }
        let mut boundaries = vec![len];
        let mut position = len;
        while position > 0 {
            position = self.parent[position] as usize;
            boundaries.push(position);
        }
        boundaries.reverse();
        boundaries
    }

    /// Adds `candidate` from the position on where it is the best, and drops the candidates that it
    /// beats everywhere.
    fn enter(&mut self, points: &Points, candidate: usize) {
        let len = points.len();
        let cost = &self.cost;
        let better = |rival: usize, position: usize| {
            cost[candidate] + points.cost(candidate, position)
                < cost[rival] + points.cost(rival, position)
        };
        while let Some((rival, start)) = self.candidates.back().copied() {
            let start = start.max(candidate + 1);
            if better(rival, start) {
                self.candidates.pop_back();
                continue;
            }
            // Gallop to a position where the candidate wins, then halve the interval.
            let (mut loses, mut stride) = (start, 1);
            let mut wins = loop {
                let next = (loses + stride).min(len);
                if loses == len {
                    return;
                }
                if better(rival, next) {
                    break next;
                }
                loses = next;
                stride *= 2;
            };
            while wins - loses > 1 {
                let middle = loses + (wins - loses) / 2;
                if better(rival, middle) { wins = middle } else { loses = middle }
            }
            self.candidates.push_back((candidate, wins));
            return;
        }
        self.candidates.push_back((candidate, candidate + 1));
    }
}
