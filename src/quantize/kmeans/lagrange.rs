//! Exact clustering into many clusters by putting a price on each.
//!
//! With a price per cluster the number of clusters is free and the optimum is a least-weight path,
//! found in one sweep. The optimal cost is convex in the number of clusters, so some price gives
//! the number asked for; where that price leaves a choice, two optimal paths are spliced into one
//! with exactly that number (Aggarwal, Schieber and Tokuyama 1994). Memory: `O(values)`.

use std::collections::VecDeque;

use super::points::Points;

/// Guesses by the power law before the search cuts planes, which always ends.
const GUESSES: usize = 12;
/// Two costs closer than this share of the total square sum are equal up to f64 rounding.
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

/// The optimal boundaries; there are more values than clusters and at least two clusters. Nothing
/// where f64 rounding hides the price or the splice; the caller then has another method.
pub(super) fn boundaries(points: &Points, clusters: usize) -> Option<Vec<usize>> {
    let len = points.len();
    let margin = ROUNDING_MARGIN * points.square[len];
    // At a price of nothing every value is a cluster; at the highest there is one cluster.
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

/// The price at which evenly filled clusters would neither merge nor split.
fn first_price(points: &Points, clusters: usize) -> f64 {
    let len = points.len();
    let even: Vec<usize> = (0..=clusters).map(|i| i * len / clusters).collect();
    points.total_cost(&even) / clusters as f64
}

/// Joins the head of one optimal path to the tail of another so that `clusters` clusters result:
/// where a cluster of `fewer` contains one of `more` and the counts fit.
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
    /// By the quadrangle inequality a later candidate, once better, stays better.
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

    /// Adds `candidate` where it will be the best, dropping those it beats throughout.
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
