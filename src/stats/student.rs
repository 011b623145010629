//! Student's t distribution for every pair of numbers, in a bounded number of steps.
//!
//! The quantile is Newton's method of AS 64 (Majumder & Bhattacharjee, 1973, with Remark AS R83), as
//! libraries have it, but for two things: it gives up after [`MOST_STEPS`] steps, where libraries go on
//! for ever if a step is not a number, and bisection, which always ends, takes over.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::beta::{beta_reg, ln_beta};

/// Steps of Newton's method, those that only shorten a step included. It settles within about ten.
const MOST_STEPS: usize = 1_000;
/// Doublings of an upper bound, and halvings of the interval below it: more than an f64 has bits.
const MOST_HALVINGS: usize = 1_100;
/// With more degrees of freedom, t and the normal distribution agree in ten digits.
const AS_NORMAL: f64 = 1e10;
/// With fewer degrees of freedom, no number is far enough out to say anything.
const LEAST_FREEDOM: f64 = 1e-3;
/// The least squared step that counts.
const LEAST_STEP: f64 = 1e-30;

/// The probability above `t`; 1 if it cannot be told, which rejects nothing.
pub(super) fn upper_tail(t: f64, degrees_of_freedom: f64) -> f64 {
    if t.is_nan() || degrees_of_freedom < LEAST_FREEDOM {
        return 1.0;
    }
    if degrees_of_freedom > AS_NORMAL {
        return Normal::standard().sf(t);
    }
    let tail = StudentsT::new(0.0, 1.0, degrees_of_freedom).map_or(1.0, |student| student.sf(t));
    if tail.is_nan() { 1.0 } else { tail.clamp(0.0, 1.0) }
}

/// The t with a probability of `tail` above it, for tails above 0 and up to 0.5; `None` if it cannot be
/// told: there is no such distribution, or no f64 is so far out.
pub(super) fn quantile(tail: f64, degrees_of_freedom: f64) -> Option<f64> {
    let is_valid = tail > 0.0 && tail <= 0.5 && degrees_of_freedom >= LEAST_FREEDOM;
    if !is_valid {
        return None;
    }
    if degrees_of_freedom > AS_NORMAL {
        return Some(-Normal::standard().inverse_cdf(tail)).filter(|t| t.is_finite());
    }
    newton(tail, degrees_of_freedom)
        .map(|y| (degrees_of_freedom * (1.0 - y) / y).sqrt())
        .filter(|t| t.is_finite())
        .or_else(|| bisected(tail, degrees_of_freedom))
}

/// The y = df ÷ (df + t²) with I_y(df ÷ 2, 1 ÷ 2) = 2 · tail; `None` if the steps do not settle.
fn newton(tail: f64, degrees_of_freedom: f64) -> Option<f64> {
    let (a, b, x) = (0.5 * degrees_of_freedom, 0.5, 2.0 * tail);
    if x == 1.0 {
        return Some(1.0);
    }
    let ln_beta = ln_beta(a, b);
    let is_flipped = x > 0.5;
    let (a, b, x) = if is_flipped { (b, a, 1.0 - x) } else { (a, b, x) };
    let mut p = start(a, b, x, ln_beta)?;
    let digits = (-5.0 / a / a - 1.0 / x.powf(0.2) - 13.0) as i32;
    let enough = if digits > -30 { f64::powi(10.0, digits) } else { LEAST_STEP };
    let (mut last, mut square, mut limit, mut steps) = (0.0, 1.0, 1.0, 0);
    let found = 'settled: loop {
        let slope = (ln_beta + (1.0 - a) * p.ln() + (1.0 - b) * (1.0 - p).ln()).exp();
        let step = (beta_reg(a, b, p) - x) * slope;
        if !step.is_finite() {
            return None;
        }
        if step * last <= 0.0 {
            limit = if square > LEAST_STEP { square } else { LEAST_STEP };
        }
        let mut share = 1.0;
        let next = loop {
            steps += 1;
            if steps > MOST_STEPS {
                return None;
            }
            let taken = share * step;
            square = taken * taken;
            let next = p - taken;
            if square < limit && (0.0..=1.0).contains(&next) {
                if limit <= enough || step * step <= enough {
                    break 'settled next;
                }
                if next != 0.0 && next != 1.0 {
                    break next;
                }
            }
            share /= 3.0;
        };
        if next == p {
            break p;
        }
        (p, last) = (next, step);
    };
    Some(if is_flipped { 1.0 - found } else { found })
}

/// Where Newton's method starts: an approximation by Hastings and by Scheffé & Tukey.
fn start(a: f64, b: f64, x: f64, ln_beta: f64) -> Option<f64> {
    let root = (-(x * x).ln()).sqrt();
    let normal = root - (2.30753 + 0.27061 * root) / (1.0 + (0.99229 + 0.04481 * root) * root);
    let ninth = 1.0 / (9.0 * b);
    let chi = 2.0 * b * (1.0 - ninth + normal * ninth.sqrt()).powf(3.0);
    let p = if chi <= 0.0 {
        1.0 - ((((1.0 - x) * b).ln() + ln_beta) / b).exp()
    } else {
        let ratio = 2.0 * (2.0 * a + b - 1.0) / chi;
        if ratio <= 1.0 { (((x * a).ln() + ln_beta) / a).exp() } else { 1.0 - 2.0 / (ratio + 1.0) }
    };
    Some(p.clamp(0.0001, 0.9999)).filter(|p| p.is_finite())
}

fn bisected(tail: f64, degrees_of_freedom: f64) -> Option<f64> {
    let is_below = |t: f64| upper_tail(t, degrees_of_freedom) > tail;
    let mut high = 1.0_f64;
    for _ in 0..MOST_HALVINGS {
        if !is_below(high) {
            break;
        }
        high *= 2.0;
    }
    if !high.is_finite() || is_below(high) {
        return None;
    }
    let mut low = 0.0;
    for _ in 0..MOST_HALVINGS {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        *(if is_below(middle) { &mut low } else { &mut high }) = middle;
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_those_of_the_library_bit_for_bit_where_it_ends() {
        for degrees_of_freedom in [1.0, 2.0, 3.7, 8.0, 20.0, 99.5, 1_000.0] {
            let student = StudentsT::new(0.0, 1.0, degrees_of_freedom).unwrap();
            for tail in [0.5, 0.4, 0.3, 0.1, 0.025, 0.005, 1e-4] {
                let found = quantile(tail, degrees_of_freedom).unwrap();
                assert_eq!(found, student.inverse_cdf(tail).abs(), "{degrees_of_freedom} {tail}");
            }
        }
    }

    #[test]
    fn far_tails_and_limits_are_those_of_scipy() {
        // scipy 1.17.1: t.isf(1e-4, 3), norm.isf(0.025), t.isf(0.025, 20).
        let near = |found: Option<f64>, expected: f64| {
            let found = found.unwrap();
            assert!((found / expected - 1.0).abs() < 1e-3, "{found} is not {expected}");
        };
        near(quantile(1e-4, 3.0), 22.203_742);
        near(quantile(0.025, f64::INFINITY), 1.959_964);
        near(quantile(0.025, 1e14), 1.959_964);
        assert!(bisected(0.025, 20.0).is_some_and(|t| (t - 2.085_963).abs() < 1e-5));
        for nothing in [(0.0, 5.0), (0.6, 5.0), (f64::NAN, 5.0), (0.1, f64::NAN), (0.1, 0.0)] {
            assert_eq!(quantile(nothing.0, nothing.1), None, "{nothing:?}");
        }
        assert_eq!(upper_tail(f64::NAN, 5.0), 1.0);
        assert_eq!(upper_tail(1.0, f64::NAN), 1.0);
    }

    proptest! {
        #[test]
        fn every_quantile_ends_and_is_finite_and_its_tail_is_the_asked_one(
            tail in prop_oneof![1e-12..0.5_f64, (0.0..300.0_f64).prop_map(|e| 0.5 * 10_f64.powf(-e))],
            degrees_of_freedom in prop_oneof![0.5..50.0_f64, (-3.0..300.0_f64).prop_map(|e| 10_f64.powf(e))],
        ) {
            if let Some(t) = quantile(tail, degrees_of_freedom) {
                prop_assert!(t.is_finite() && t >= 0.0);
                let back = upper_tail(t, degrees_of_freedom);
                prop_assert!((0.0..=1.0).contains(&back));
                if tail > 1e-9 && (0.5..1e4).contains(&degrees_of_freedom) {
                    prop_assert!((back / tail - 1.0).abs() < 1e-3, "{back} is not {tail}");
                }
            }
        }
    }
}
