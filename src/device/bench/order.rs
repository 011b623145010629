//! The order in which packages take turns.

/// The order in which packages are visited, as indices below `packages`. Each package is visited
/// `rounds` times, and every second round goes backwards: A B C, C B A, A B C. So over an even number
/// of rounds, a drift of the device (heat, battery) that is linear in time affects all alike.
pub fn visits(packages: usize, rounds: usize) -> Vec<usize> {
    let round = |round: usize| -> Vec<usize> {
        let forwards = 0..packages;
        if round.is_multiple_of(2) { forwards.collect() } else { forwards.rev().collect() }
    };
    (0..rounds).flat_map(round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_drift_affects_all_packages_alike() {
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
