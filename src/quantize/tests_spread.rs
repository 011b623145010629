//! Rows and inputs of any size: nothing stored is infinite or NaN, no row scale is subnormal, and more
//! bits are never worse.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::fp16::MIN_ROW_SCALE;
use super::*;

const INPUTS: usize = 48;
const SHAPE: [usize; 2] = [16, INPUTS];

/// Rows whose sizes are powers of ten, and `None` for rows of zeros.
fn rows(seed: u64, powers: &[Option<f64>]) -> Vec<f32> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut bell = || (0..6).map(|_| random.random::<f64>() - 0.5).sum::<f64>();
    let size = |power: &Option<f64>| power.map_or(0.0, |power| 10f64.powf(power));
    let sizes: Vec<f64> = powers.iter().map(size).collect();
    (0..SHAPE[0] * INPUTS).map(|at| (bell() * sizes[at / INPUTS]) as f32).collect()
}

fn code(recipe: &str, weights: &[f32], importance: Option<&[f32]>) -> CodedTensor {
    quantize(&recipe.parse().unwrap(), weights, SHAPE, importance).unwrap().unwrap()
}

/// The weighted squared error, and the most that rounding to fp16 adds to its square root.
fn error(weights: &[f32], importance: Option<&[f32]>, coded: &CodedTensor) -> (f64, f64) {
    let scales = match coded.stored() {
        CodedArrays::Palette { channel_scales: Some(scales), .. } => scales.clone(),
        _ => vec![f16::ONE; SHAPE[0]],
    };
    let (mut sum, mut rounding) = (0.0, 0.0);
    for (at, (decoded, weight)) in coded.decode().iter().zip(weights).enumerate() {
        let counts = importance.map_or(1.0, |all| f64::from(all[at % INPUTS]));
        let unit = scales[at / INPUTS].to_f64() * f64::from(2f32.powi(-24));
        sum += counts * f64::from(decoded - weight).powi(2);
        rounding += counts * (f64::from(weight.abs().max(decoded.abs())) / 1024.0 + unit).powi(2);
    }
    (sum, rounding.sqrt())
}

fn are_finite(coded: &CodedTensor) -> bool {
    let scales: &[f16] = match coded.stored() {
        CodedArrays::Palette { channel_scales: Some(scales), .. } => scales,
        CodedArrays::Vector { channel_scales, .. } => channel_scales,
        _ => &[],
    };
    scales.iter().all(|scale| scale.is_finite() && scale.to_f32() >= MIN_ROW_SCALE)
        && coded.decode().iter().all(|weight| weight.is_finite())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn more_bits_are_never_worse_for_rows_and_inputs_of_any_size(
        seed in any::<u64>(),
        powers in prop::collection::vec(prop::option::weighted(0.9, -8.0f64..4.0), SHAPE[0]),
        inputs in prop::option::of(prop::collection::vec(-30.0f64..0.0, INPUTS)),
    ) {
        let weights = rows(seed, &powers);
        let importance: Option<Vec<f32>> =
            inputs.map(|powers| powers.iter().map(|power| 10f64.powf(*power) as f32).collect());
        let importance = importance.as_deref();
        // Up to 3 bits and above, rows have scales of different kinds.
        let chains: [(&[&str], &[&str]); 3] = [
            (&["palette1", "palette2", "palette3", "palette4", "palette6", "palette8"], &["", "-g4", "-c"]),
            (&["palette1", "palette2", "palette3"], &["-s", "-g4-s", "-c-s"]),
            (&["palette4", "palette6", "palette8"], &["-s", "-g4-s", "-c-s"]),
        ];
        for (recipes, options) in chains {
            for option in options {
                let mut fewer = f64::INFINITY;
                for recipe in recipes {
                    let coded = code(&format!("{recipe}{option}"), &weights, importance);
                    prop_assert!(are_finite(&coded), "{recipe}{option}");
                    let (error, rounding) = error(&weights, importance, &coded);
                    prop_assert!(
                        error.sqrt() <= fewer.sqrt() * 1.000_5 + rounding,
                        "{recipe}{option}: {error} after {fewer}, rounding {rounding}",
                    );
                    fewer = error;
                }
            }
        }
        for option in ["", "-a", "-b16", "-b16-a"] {
            let [few, many] = ["int4", "int8"].map(|recipe| {
                error(&weights, None, &code(&format!("{recipe}{option}"), &weights, None))
            });
            prop_assert!(many.0.sqrt() <= few.0.sqrt() + many.1, "int{option} {few:?} {many:?}");
        }
        for recipe in ["vector2-d4", "vector1-d8", "vector4-d2-g8", "palette4-g4-t8", "palette8-g4-s-t8"] {
            prop_assert!(are_finite(&code(recipe, &weights, importance)), "{recipe}");
        }
    }
}

#[test]
fn a_tiny_row_beside_others_costs_no_bits() {
    // Its scale would be a subnormal of one bit, and its share of the error beyond f64.
    let mut powers = vec![Some(-1.0); SHAPE[0]];
    for power in [-7.0, -7.5, -8.0] {
        powers[3] = Some(power);
        let weights = rows(11, &powers);
        let errors = ["palette4-g16-s", "palette6-g16-s", "palette8-g16-s"].map(|recipe| {
            let coded = code(recipe, &weights, None);
            assert!(are_finite(&coded), "{recipe}");
            error(&weights, None, &coded).0
        });
        assert!(errors.windows(2).all(|pair| pair[0] > pair[1] * 8.0), "{power}: {errors:?}");
    }
}

#[test]
fn eight_bits_keep_a_row_that_four_bits_keep() {
    // 3e-7 / 127 is 0 in fp16, 3e-7 / 7 is not.
    let weights = rows(5, &[Some(-6.7); 16]);
    let relative = |recipe: &str| {
        let energy: f64 = weights.iter().map(|weight| f64::from(*weight).powi(2)).sum();
        error(&weights, None, &code(recipe, &weights, None)).0 / energy
    };
    let (few, many) = (relative("int4"), relative("int8"));
    assert!(many <= few && many < 0.1, "{few} {many}");
}
