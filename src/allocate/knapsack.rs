//! Solves the multiple-choice knapsack: one item of every group, at the lowest cost within a budget of
//! bytes. The solution is exact, or comes with a bound on how far from optimal it is.
//!
//! A price per byte turns the budget into a cost. At any price, choosing the cheapest item of each group
//! separately gives a lower bound on the cost of every choice (Lagrange). The best price is the saving
//! per byte at which the budget runs out, when the steps of the groups' convex hulls are taken in the
//! order of their savings. The groups are then added one by one. A partial choice is kept if no other is
//! better in both bytes and cost, and if its bound at that price is below the best complete choice so far
//! (dynamic programming by lists with bounds; Dyer, Riha and Walker 1995, Pisinger 1995). If there are
//! too many, those with the worst bounds are dropped, and the lowest dropped bound limits what is proven.
//! The solver is pure and deterministic.

/// The largest number of partial choices that are kept.
const MAX_STATES: usize = 1 << 14;

/// An item that can be chosen for a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Item {
    /// The bytes that it takes of the budget.
    pub size_bytes: u64,
    /// Its cost; finite.
    pub cost: f64,
}

/// A choice of one item per group.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Index of the chosen item, by group.
    pub picks: Vec<usize>,
    /// Bytes of all chosen items.
    pub size_bytes: u64,
    /// Cost of all chosen items.
    pub cost: f64,
    /// A proven lower bound on the cost of every choice within the budget.
    pub lower_bound: f64,
}

impl Chosen {
    /// The largest share of the cost that a better choice could save; 0 if the choice is optimal.
    pub fn gap(&self) -> f64 {
        if self.cost > self.lower_bound {
            (self.cost - self.lower_bound) / self.cost.abs().max(f64::MIN_POSITIVE)
        } else {
            0.0
        }
    }
}

/// The choice with the lowest cost within the budget; `None` if the smallest items do not fit or if a
/// group is empty.
pub fn choose(groups: &[Vec<Item>], budget_bytes: u64) -> Option<Chosen> {
    choose_keeping(groups, budget_bytes, MAX_STATES)
}

/// A partial choice: the items of the groups so far.
#[derive(Debug, Clone, Copy)]
struct State {
    size_bytes: u64,
    cost: f64,
    /// Index of the partial choice with one group less that it extends.
    from: u32,
    pick: u32,
}

/// A complete choice: a partial choice, followed by the priced items of the remaining groups.
#[derive(Debug, Clone, Copy)]
struct Best {
    cost: f64,
    groups: usize,
    from: u32,
    pick: u32,
}

fn choose_keeping(groups: &[Vec<Item>], budget_bytes: u64, kept: usize) -> Option<Chosen> {
    let rest = Rest::new(groups, budget_bytes)?;
    let mut best = Best { cost: rest.after[0].cost, groups: 0, from: 0, pick: 0 };
    let mut lower_bound = f64::INFINITY;
    let mut states = vec![State { size_bytes: 0, cost: 0.0, from: 0, pick: 0 }];
    let mut history: Vec<Vec<(u32, u32)>> = Vec::with_capacity(groups.len());
    for (at, group) in groups.iter().enumerate() {
        let mut next = Vec::new();
        for (from, state) in (0u32..).zip(&states) {
            for (pick, item) in (0u32..).zip(group) {
                let size_bytes = state.size_bytes + item.size_bytes;
                let state = State { size_bytes, cost: state.cost + item.cost, from, pick };
                let after = &rest.after[at + 1];
                if state.size_bytes + after.least_bytes > budget_bytes {
                    continue;
                }
                let whole = state.cost + after.cost;
                if state.size_bytes + after.size_bytes <= budget_bytes && whole < best.cost {
                    best = Best { cost: whole, groups: at + 1, from, pick };
                }
                if rest.bound(&state, at + 1) < best.cost {
                    next.push(state);
                }
            }
        }
        states = undominated(next);
        if states.len() > kept {
            let bound = |state: &State| rest.bound(state, at + 1);
            states.sort_by(|a, b| bound(a).total_cmp(&bound(b)));
            lower_bound = states[kept..].iter().map(bound).fold(lower_bound, f64::min);
            states.truncate(kept);
        }
        history.push(states.iter().map(|state| (state.from, state.pick)).collect());
    }
    let picks = rest.picks(&best, &history);
    let items = || picks.iter().zip(groups).map(|(pick, group)| group[*pick]);
    let cost = items().map(|item| item.cost).sum();
    let size_bytes = items().map(|item| item.size_bytes).sum();
    Some(Chosen { size_bytes, cost, lower_bound: lower_bound.min(cost), picks })
}

/// The states that no other state beats in both bytes and cost.
fn undominated(mut states: Vec<State>) -> Vec<State> {
    states.sort_by(|a, b| a.size_bytes.cmp(&b.size_bytes).then(a.cost.total_cmp(&b.cost)));
    let mut least = f64::INFINITY;
    states.retain(|state| {
        let is_better = state.cost < least;
        least = least.min(state.cost);
        is_better
    });
    states
}

/// Sums over the groups from one on.
#[derive(Debug, Clone, Copy, Default)]
struct After {
    /// Bytes of their smallest items.
    least_bytes: u64,
    /// Bytes of their priced items.
    size_bytes: u64,
    /// Costs of their priced items.
    cost: f64,
    /// Lowest costs including the price of the bytes.
    priced: f64,
}

/// The price, the items that are cheapest at it, and sums over the remaining groups.
struct Rest {
    price: f64,
    budget_bytes: u64,
    priced: Vec<usize>,
    after: Vec<After>,
}

impl Rest {
    fn new(groups: &[Vec<Item>], budget_bytes: u64) -> Option<Rest> {
        let (price, priced) = buy(groups, budget_bytes)?;
        let mut after = vec![After::default(); groups.len() + 1];
        for (at, group) in groups.iter().enumerate().rev() {
            let (later, item) = (after[at + 1], group[priced[at]]);
            let least = group.iter().map(|item| item.size_bytes).min()?;
            let costs = group.iter().map(|item| item.cost + price * item.size_bytes as f64);
            after[at] = After {
                least_bytes: later.least_bytes + least,
                size_bytes: later.size_bytes + item.size_bytes,
                cost: later.cost + item.cost,
                priced: later.priced + costs.fold(f64::INFINITY, f64::min),
            };
        }
        Some(Rest { price, budget_bytes, priced, after })
    }

    /// A lower bound on the cost of every complete choice that begins with `state`.
    fn bound(&self, state: &State, groups: usize) -> f64 {
        let left = self.budget_bytes - state.size_bytes;
        state.cost + self.after[groups].priced - self.price * left as f64
    }

    /// The items of a complete choice.
    fn picks(&self, best: &Best, history: &[Vec<(u32, u32)>]) -> Vec<usize> {
        let mut picks = self.priced.clone();
        let (mut from, mut pick) = (best.from, best.pick);
        for at in (0..best.groups).rev() {
            picks[at] = pick as usize;
            if at > 0 {
                (from, pick) = history[at - 1][from as usize];
            }
        }
        picks
    }
}

/// A step from one item of a group to the next on its lower convex hull.
struct Step {
    saved_per_byte: f64,
    bytes: u64,
    group: usize,
    pick: usize,
}

/// Starts with the smallest items and takes steps in the order of their saving per byte until one does
/// not fit. That step's saving per byte is the price, or 0 if all fit. `None` if the smallest items do
/// not fit.
fn buy(groups: &[Vec<Item>], budget_bytes: u64) -> Option<(f64, Vec<usize>)> {
    let mut steps = Vec::new();
    let mut picks = Vec::with_capacity(groups.len());
    let mut used_bytes = 0u64;
    for (at, group) in groups.iter().enumerate() {
        let hull = hull(group);
        picks.push(*hull.first()?);
        used_bytes = used_bytes.checked_add(group[hull[0]].size_bytes)?;
        steps.extend(hull.windows(2).map(|pair| {
            let (from, to) = (group[pair[0]], group[pair[1]]);
            let bytes = to.size_bytes - from.size_bytes;
            let saved_per_byte = (from.cost - to.cost) / bytes as f64;
            Step { saved_per_byte, bytes, group: at, pick: pair[1] }
        }));
    }
    if used_bytes > budget_bytes {
        return None;
    }
    steps.sort_by(|a, b| b.saved_per_byte.total_cmp(&a.saved_per_byte));
    for step in steps {
        if step.bytes > budget_bytes - used_bytes {
            return Some((step.saved_per_byte, picks));
        }
        used_bytes += step.bytes;
        picks[step.group] = step.pick;
    }
    Some((0.0, picks))
}

/// The items on the lower convex hull of cost over bytes, from the smallest to the cheapest.
fn hull(group: &[Item]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..group.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (group[a], group[b]);
        a.size_bytes.cmp(&b.size_bytes).then(a.cost.total_cmp(&b.cost))
    });
    let mut hull: Vec<usize> = Vec::new();
    for at in order {
        let item = group[at];
        if hull.last().is_some_and(|last| group[*last].cost <= item.cost) {
            continue;
        }
        // The item between two others is above the line through them if the step to it saves less per
        // byte than the step after it.
        while let [.., before, last] = hull[..] {
            let (before, last) = (group[before], group[last]);
            let bytes = |a: Item, b: Item| (b.size_bytes - a.size_bytes) as f64;
            let first = (before.cost - last.cost) * bytes(last, item);
            let second = (last.cost - item.cost) * bytes(before, last);
            if first > second {
                break;
            }
            hull.pop();
        }
        hull.push(at);
    }
    hull
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lowest cost of all choices, by trying each.
    fn brute_force(groups: &[Vec<Item>], budget_bytes: u64) -> Option<f64> {
        let Some((group, others)) = groups.split_first() else { return Some(0.0) };
        let costs = group.iter().filter_map(|item| {
            let left = budget_bytes.checked_sub(item.size_bytes)?;
            Some(item.cost + brute_force(others, left)?)
        });
        costs.min_by(f64::total_cmp)
    }

    fn items(all: &[(u64, f64)]) -> Vec<Item> {
        all.iter().map(|&(size_bytes, cost)| Item { size_bytes, cost }).collect()
    }

    #[test]
    fn a_choice_that_a_greedy_one_misses_is_found() {
        let groups = [items(&[(0, 10.0), (6, 0.0)]), items(&[(0, 10.0), (5, 2.0), (9, 0.0)])];
        let chosen = choose(&groups, 10).unwrap();
        assert_eq!((chosen.picks.as_slice(), chosen.cost), (&[1, 0][..], 10.0));
        let chosen = choose(&groups, 11).unwrap();
        assert_eq!(
            (chosen.picks.as_slice(), chosen.size_bytes, chosen.gap()),
            (&[1, 1][..], 11, 0.0)
        );
    }

    #[test]
    fn a_budget_too_small_and_an_empty_group_have_no_choice() {
        let group = items(&[(3, 1.0), (2, 4.0)]);
        assert_eq!(choose(std::slice::from_ref(&group), 1), None);
        assert_eq!(choose(&[group, Vec::new()], 9), None);
        let empty = choose(&[], 0).unwrap();
        assert_eq!((empty.cost, empty.gap()), (0.0, 0.0));
    }

    #[test]
    fn hundreds_of_groups_are_solved_with_a_bound() {
        let group = |at: u64| {
            let (weights, share) = (1000 + 500 * (at % 3), 1.0 + ((at * 7919) % 101) as f64);
            let item =
                |bits: u64| (weights * bits + 16 * bits * bits, share / f64::from(1 << (2 * bits)));
            items(&[1, 2, 3, 4, 6].map(item))
        };
        let groups: Vec<Vec<Item>> = (0..300).map(group).collect();
        let least: u64 = groups.iter().map(|group| group[0].size_bytes).sum();
        let chosen = choose(&groups, least * 5 / 2).unwrap();
        assert!(chosen.size_bytes <= least * 5 / 2);
        assert!(chosen.gap() < 1e-4, "{}", chosen.gap());
        assert_eq!(chosen, choose(&groups, least * 5 / 2).unwrap());
    }

    proptest! {
        #[test]
        fn no_choice_is_better_than_the_one_found(
            groups in proptest::collection::vec(
                proptest::collection::vec((0u64..20, 0u32..50), 1..5), 1..7),
            budget_bytes in 0u64..80,
            kept in prop_oneof![Just(3), Just(MAX_STATES)],
        ) {
            let groups: Vec<Vec<Item>> = groups
                .iter()
                .map(|group| {
                    let item = |(size_bytes, cost): &(u64, u32)| (*size_bytes, f64::from(*cost) / 7.0);
                    items(&group.iter().map(item).collect::<Vec<_>>())
                })
                .collect();
            let best = brute_force(&groups, budget_bytes);
            let found = choose_keeping(&groups, budget_bytes, kept);
            prop_assert_eq!(best.is_some(), found.is_some());
            if let (Some(best), Some(found)) = (best, found) {
                prop_assert!(found.size_bytes <= budget_bytes);
                prop_assert!(found.lower_bound <= best + 1e-9 && best <= found.cost + 1e-9);
                if kept == MAX_STATES {
                    prop_assert!((found.cost - best).abs() < 1e-9 && found.gap() == 0.0);
                }
            }
        }
    }
}
