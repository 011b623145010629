//! Predicts the KL divergence that a recipe of one tensor costs, from measurements of parts and errors of
//! tensors.
//!
//! The model is additive and of first order. It ignores that errors can compensate or amplify one
//! another:
//!
//! - Coding a tensor changes the states after its part (attention or MLP) of its layer by a relative
//!   energy `e`, which is computed with only that tensor coded.
//! - For a part whose tensors are all coded by one recipe (an *anchor*), the KL divergence at the end of
//!   the model was measured. It is divided among the part's tensors in proportion to their energies, so
//!   the part costs `r = KL / Σ e` nats per unit of energy at that anchor.
//! - A tensor under any recipe costs `e·r`. Between two anchors, `r` is interpolated by the logarithm of
//!   `e`; beyond them, it is that of the nearer anchor. A part under an anchor therefore costs what was
//!   measured.
//! - The cost of a choice is the sum over its tensors.

use super::sensitivity::{PartSensitivity, Sensitivities};

/// Predicted KL divergence in nats per token, by tensor (layer by layer, in the order of
/// [`ROLES`](super::ROLES)) and candidate; `None` if the candidate cannot code the tensor or the layer has
/// none.
pub fn predicted_kl_nats(measured: &Sensitivities) -> Vec<Vec<Option<f64>>> {
    measured.parts.iter().flat_map(|part| part_costs(part, &measured.anchors)).collect()
}

fn part_costs(part: &PartSensitivity, anchors: &[usize]) -> Vec<Vec<Option<f64>>> {
    let energy = |errors: &Vec<Option<f64>>, anchor: usize| errors[anchor].unwrap_or(0.0);
    let rate = |(&anchor, kl_nats): (&usize, &f64)| {
        let all: f64 = part.errors.iter().map(|errors| energy(errors, anchor)).sum();
        if all > 0.0 { kl_nats / all } else { 0.0 }
    };
    let rates: Vec<f64> = anchors.iter().zip(&part.kl_nats).map(rate).collect();
    let tensor_costs = |errors: &Vec<Option<f64>>| -> Vec<Option<f64>> {
        let points: Vec<(f64, f64)> =
            anchors.iter().zip(&rates).map(|(&at, &rate)| (energy(errors, at), rate)).collect();
        errors.iter().map(|error| error.map(|error| error * rate_at(&points, error))).collect()
    };
    part.errors.iter().map(tensor_costs).collect()
}

/// The rate at an energy, interpolated between the anchors' `(energy, rate)`, largest energy first.
fn rate_at(points: &[(f64, f64)], energy: f64) -> f64 {
    let [Some(&(large, most)), Some(&(small, least))] = [points.first(), points.last()] else {
        return 0.0;
    };
    let span = large.ln() - small.ln();
    if span.is_finite() && span > 0.0 && energy > 0.0 {
        least + (most - least) * ((energy.ln() - small.ln()) / span).clamp(0.0, 1.0)
    } else {
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kl_nats: Vec<f64>, errors: &[[f64; 3]]) -> PartSensitivity {
        let errors = errors.iter().map(|all| all.iter().map(|e| Some(*e)).collect()).collect();
        PartSensitivity { layer: 0, kl_nats, errors }
    }

    #[test]
    fn a_part_under_an_anchor_costs_what_was_measured() {
        let errors = [[0.4, 0.1, 0.02], [0.2, 0.06, 0.01]];
        let measured =
            Sensitivities { anchors: vec![0, 2], parts: vec![part(vec![1.2, 0.03], &errors)] };
        let found = predicted_kl_nats(&measured);
        let sum = |at: usize| found.iter().map(|tensor| tensor[at].unwrap()).sum::<f64>();
        assert!((sum(0) - 1.2).abs() < 1e-12 && (sum(2) - 0.03).abs() < 1e-12);
        assert!(sum(1) < 1.2 && sum(1) > 0.03);
        assert!(found[0][0].unwrap() > found[1][0].unwrap());
    }

    #[test]
    fn a_lossless_recipe_costs_nothing_and_one_that_cannot_code_has_no_cost() {
        let mut lossless = part(vec![0.5, 0.0], &[[0.3, 0.0, 0.0], [0.0, 0.0, 0.0]]);
        lossless.errors[1][1] = None;
        let found =
            predicted_kl_nats(&Sensitivities { anchors: vec![0, 2], parts: vec![lossless] });
        assert_eq!(found[0], [Some(0.5), Some(0.0), Some(0.0)]);
        assert_eq!(found[1], [Some(0.0), None, Some(0.0)]);
    }
}
