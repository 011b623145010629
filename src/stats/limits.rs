//! The least mean squared error of codes for Gaussian weights at a number of bits, relative to the
//! variance of the weights. No code that uses only the weights can be better.

use statrs::function::erf::erf;

/// The rate-distortion bound `2^(-2R)` at `bits` per weight, which vector codes approach as vectors get
/// longer (Cover and Thomas, Elements of Information Theory, theorem 10.3.2).
/// It is 1 at 0 bits and below.
pub fn rate_distortion(bits: f64) -> f64 {
    (-2.0 * bits.max(0.0)).exp2()
}

/// The error of the best scalar table of `levels` entries, at least 1 (Max 1960, table I; Lloyd 1957),
/// found by Lloyd's iteration on the Gaussian density.
pub fn lloyd_max(levels: usize) -> f64 {
    /// Far more than the iteration needs to settle within [`SETTLED`] for 256 levels.
    const ROUNDS: usize = 200_000;
    const SETTLED: f64 = 1e-13;
    let levels = levels.max(1);
    let middle = (levels as f64 - 1.0) / 2.0;
    let mut centres: Vec<f64> =
        (0..levels).map(|i| (i as f64 - middle) * 4.0 / levels as f64).collect();
    let mut gain = 0.0;
    for _ in 0..ROUNDS {
        let edges: Vec<f64> = std::iter::once(f64::NEG_INFINITY)
            .chain(centres.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0))
            .chain([f64::INFINITY])
            .collect();
        let mut now = 0.0;
        for (centre, edge) in centres.iter_mut().zip(edges.windows(2)) {
            let mass = below(edge[1]) - below(edge[0]);
            let moment = density(edge[0]) - density(edge[1]);
            if mass > 0.0 {
                *centre = moment / mass;
                now += moment * moment / mass;
            }
        }
        if now - gain < SETTLED {
            return 1.0 - now;
        }
        gain = now;
    }
    1.0 - gain
}

/// The standard Gaussian density.
fn density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The probability of the standard Gaussian below `x`.
fn below(x: f64) -> f64 {
    (1.0 + erf(x / std::f64::consts::SQRT_2)) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_tables_have_the_published_errors() {
        for (levels, published) in
            [(1, 1.0), (2, 0.3634), (4, 0.1175), (8, 0.03454), (16, 0.009497)]
        {
            let found = lloyd_max(levels);
            assert!((found / published - 1.0).abs() < 1e-3, "{levels}: {found}");
        }
    }

    #[test]
    fn no_scalar_table_is_below_the_bound() {
        assert_eq!(rate_distortion(2.0), 0.0625);
        for bits in 1..=4u8 {
            assert!(lloyd_max(1 << bits) > rate_distortion(f64::from(bits)));
        }
    }
}
