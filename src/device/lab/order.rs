//! The order in which packages take turns.

/// Indices of `packages` packages in the order of their visits, each `rounds` times, every second
/// round backwards: A B C, C B A, A B C. A drift of the device (heat, battery) that is linear in time
/// then falls on all alike over an even number of rounds.
pub fn visits(packages: usize, rounds: usize) -> Vec<usize> {
    let round = |round: usize| -> Vec<usize> {
        match round % 2 {
            0 => (0..packages).collect(),
            _ => (0..packages).rev().collect(),
        }
    };
    (0..rounds).flat_map(round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_drift_hits_all_packages_alike() {
        assert_eq!(visits(2, 2), [0, 1, 1, 0]);
        assert_eq!(visits(3, 3), [0, 1, 2, 2, 1, 0, 0, 1, 2]);
        assert_eq!(visits(2, 0), [0; 0]);
        for packages in 1..6 {
            let order = visits(packages, 6);
            let when = |package| -> usize {
                order.iter().enumerate().filter(|(_, p)| **p == package).map(|(at, _)| at).sum()
            };
            assert!((1..packages).all(|package| when(package) == when(0)));
        }
    }
}
