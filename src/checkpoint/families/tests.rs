//! What holds for every row.

use super::all;

#[test]
fn only_a_power_of_two_scales_states_and_never_those_of_a_mixture() {
    for family in all() {
        let scale = family.package_scale;
        assert!(scale <= 1.0 && scale.log2().fract() == 0.0, "{}", family.name);
        assert!(family.mixture.is_none() || scale == 1.0, "{}", family.name);
    }
}
