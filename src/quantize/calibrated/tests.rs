//! Properties of calibrated coding: no step increases the error, nothing depends on threads, tiny
//! tensors reach the optimum, and the codes of independent inputs are those of rounding.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::error::Exit;
use crate::quantize::CodedArrays;

const RECIPES: [&str; 13] = [
    "vector2-d4",
    "vector1-d8",
    "vector1-d3-g6",
    "vector4-d2-g16",
    "palette2",
    "palette2-g4-s",
    "palette1-c-s",
    "palette4-g8",
    "palette3-g4-t8",
    "int4-b8",
    "int4",
    "int4-a-b8",
    "int8",
];

/// An error may grow by this share, since sums are f32.
const ROUNDING: f64 = 1e-4;

fn random(seed: u64) -> rand_chacha::ChaCha8Rng {
    rand_chacha::ChaCha8Rng::seed_from_u64(seed)
}

fn bell(random: &mut rand_chacha::ChaCha8Rng) -> f32 {
    (0..6).map(|_| random.random::<f32>() - 0.5).sum()
}

/// Moments of correlated inputs, some much larger than others, some dead.
fn moments(seed: u64, inputs: usize) -> Moments {
    let mut random = random(seed);
    let sizes: Vec<f64> = (0..inputs)
        .map(|i| match i % 11 {
            3 => 0.0,
            7 => 20.0 * random.random::<f64>(),
            _ => 0.5 + random.random::<f64>(),
        })
        .collect();
    let mut values = Vec::new();
    for (i, a) in sizes.iter().enumerate() {
        for (j, b) in sizes.iter().enumerate() {
            values.push(a * b * 0.8f64.powi(i.abs_diff(j) as i32));
        }
    }
    Moments::new(values, inputs).unwrap()
}

fn weights(seed: u64, len: usize) -> Vec<f32> {
    let mut random = random(seed);
    (0..len).map(|_| bell(&mut random)).collect()
}

fn run(
    recipe: &str,
    target: &[f32],
    shape: [usize; 2],
    moments: &Moments,
) -> (CodedTensor, Coding) {
    code(&recipe.parse().unwrap(), target, shape, moments, Steps::ALL, 1).unwrap()
}

/// The relative error of the finished codes.
fn final_error(coding: &Coding) -> f64 {
    coding.errors.last().unwrap().1
}

/// `tr((Q - W) H (Q - W)ᵀ)` by definition, with the damped moments.
fn cost(coded: &CodedTensor, target: &[f32], moments: &Moments) -> f64 {
    let (n, damping) = (moments.inputs(), moments.damping(0.05));
    let errors: Vec<f64> =
        coded.decode().iter().zip(target).map(|(q, w)| f64::from(q - w)).collect();
    let mut sum = 0.0;
    for row in errors.chunks(n) {
        for i in 0..n {
            let product: f64 = (0..n).map(|j| moments.values()[i * n + j] * row[j]).sum();
            sum += row[i] * (product + damping * row[i]);
        }
    }
    sum
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_step_makes_the_error_larger_and_the_last_is_that_of_the_codes(
        recipe in prop::sample::select(&RECIPES[..]),
        rows in 1usize..4,
        inputs in 1usize..150,
        seed in any::<u64>(),
    ) {
        let shape = [rows * 24, inputs];
        let (target, moments) = (weights(seed, shape[0] * inputs), moments(seed, inputs));
        let (coded, coding) = run(recipe, &target, shape, &moments);
        for pair in coding.errors.windows(2) {
            let (before, after) = (pair[0].1, pair[1].1);
            prop_assert!(after <= before * (1.0 + ROUNDING) + 1e-9, "{recipe} {:?}", coding.errors);
        }
        let nothing = CodedTensor::new(
            Recipe::Half, shape, CodedArrays::Half(vec![half::f16::ZERO; target.len()]),
        ).unwrap();
        let relative = cost(&coded, &target, &moments) / cost(&nothing, &target, &moments);
        let reported = final_error(&coding);
        prop_assert!((relative - reported).abs() <= 1e-3 * relative + 1e-6, "{relative} {reported}");
        prop_assert_eq!(coded.recipe(), recipe.parse::<Recipe>().unwrap().resolved(shape));
        let asked: Recipe = recipe.parse().unwrap();
        prop_assert_eq!(asked.stored_size(shape), Some(coded.stored_bytes()));
    }
}

#[test]
fn threads_change_nothing_and_seeds_only_what_is_drawn() {
    let shape = [240, 150];
    let (target, moments) = (weights(5, shape[0] * shape[1]), moments(6, shape[1]));
    for recipe in RECIPES {
        let with = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let recipe = recipe.parse().unwrap();
            pool.install(|| code(&recipe, &target, shape, &moments, Steps::ALL, seed).unwrap())
        };
        let (one, three) = (with(1, 1), with(3, 1));
        assert_eq!(one.0.hash(), three.0.hash(), "{recipe}");
        assert_eq!(one.1, three.1, "{recipe}");
        if recipe == "vector2-d4" {
            assert_ne!(one.0.hash(), with(1, 2).0.hash());
        }
    }
}

#[test]
fn codes_of_independent_inputs_are_those_of_rounding() {
    let (inputs, steps) = (48, Steps { alternate: false, ..Steps::ALL });
    let mut values = vec![0.0; inputs * inputs];
    values.iter_mut().step_by(inputs + 1).enumerate().for_each(|(i, v)| *v = 1.0 + i as f64);
    let moments = Moments::new(values, inputs).unwrap();
    let target = weights(8, 24 * inputs);
    for recipe in RECIPES {
        let recipe: Recipe = recipe.parse().unwrap();
        let (coded, coding) = code(&recipe, &target, [24, inputs], &moments, steps, 1).unwrap();
        let plain = start(&recipe, &target, [24, inputs], &moments, 1).unwrap();
        assert_eq!(coded, plain, "{recipe}: {:?}", coding.errors);
    }
}

#[test]
fn the_codes_of_a_tiny_row_are_the_best_there_are() {
    let mut found = 0;
    for seed in 0..40 {
        let (inputs, mut random) = (6, random(seed));
        let half: Vec<f64> = (0..36).map(|_| f64::from(bell(&mut random))).collect();
        let dot = |i: usize, j: usize| (0..6).map(|p| half[i * 6 + p] * half[j * 6 + p]).sum();
        let values = (0..36).map(|at| dot(at / 6, at % 6)).collect();
        let moments = Moments::new(values, inputs).unwrap();
        let target = weights(seed + 100, inputs);
        let steps = Steps { alternate: false, ..Steps::ALL };
        let recipe: Recipe = "palette1".parse().unwrap();
        let (coded, _) = code(&recipe, &target, [1, inputs], &moments, steps, 0).unwrap();
        let CodedArrays::Palette { tables, .. } = coded.stored() else { panic!() };
        let with = |choice: u8| {
            let codes = vec![choice];
            let stored = CodedArrays::Palette {
                codes,
                mask: None,
                tables: tables.clone(),
                channel_scales: None,
            };
            CodedTensor::new(recipe, [1, inputs], stored).unwrap()
        };
        let best = (0..64).map(|choice| cost(&with(choice), &target, &moments));
        let best = best.fold(f64::INFINITY, f64::min);
        let own = cost(&coded, &target, &moments);
        assert!(own >= best - 1e-9, "{seed}: {own} below {best}");
        found += usize::from(own <= best * 1.0001 + 1e-9);
    }
    assert!(found >= 28, "the best of 64 was found in {found} of 40 rows");
}

#[test]
fn switched_off_steps_are_not_run() {
    let (shape, moments) = ([24, 40], moments(3, 40));
    let target = weights(4, 24 * 40);
    let steps_of = |off: &str| {
        let part: crate::quantize::LayerRecipe = format!("vector2-d4-cal{off}").parse().unwrap();
        let steps = part.method.steps().unwrap();
        let (_, coding) = code(&part.weights, &target, shape, &moments, steps, 0).unwrap();
        coding.errors.iter().map(|(step, _)| *step).collect::<Vec<_>>()
    };
    use CodingStep::{Compensated, Descended, Fitted, Rounded};
    assert_eq!(steps_of("-nocomp-noalt-nodesc"), [Rounded]);
    assert_eq!(steps_of("-noalt"), [Rounded, Compensated, Descended]);
    assert_eq!(steps_of("-nocomp-nodesc"), [Rounded, Fitted, Fitted, Fitted]);
    assert_eq!(steps_of("").len(), 8);
}

#[test]
fn tables_of_one_weight_ascend_and_dead_inputs_are_counted() {
    let (target, moments) = (weights(9, 24 * 40), moments(9, 40));
    let (coded, coding) = run("palette3-g4", &target, [24, 40], &moments);
    let CodedArrays::Palette { tables: crate::quantize::coded::Tables::Half(entries), .. } =
        coded.stored()
    else {
        panic!()
    };
    assert!(entries.chunks(8).all(|table| table.windows(2).all(|pair| pair[0] <= pair[1])));
    assert_eq!(coding.dead_inputs, 4);
}

#[test]
fn nothing_and_nothing_but_dead_inputs_are_coded_too() {
    let dead = Moments::new(vec![0.0; 64], 8).unwrap();
    let target = weights(2, 24 * 8);
    for recipe in RECIPES {
        let (coded, coding) = run(recipe, &target, [24, 8], &dead);
        assert!(coded.decode().iter().all(|weight| weight.is_finite()), "{recipe}");
        assert_eq!(coding.dead_inputs, 8);
        assert_eq!(run(recipe, &[], [0, 8], &dead).0.weights(), 0, "{recipe}");
        let (zeros, coding) = run(recipe, &[0.0; 24 * 8], [24, 8], &dead);
        assert!(zeros.decode().iter().all(|weight| *weight == 0.0), "{recipe}");
        assert_eq!(final_error(&coding), 0.0);
    }
}

#[test]
fn inputs_that_hardly_ever_move_give_finite_tables() {
    for power in [3, 7, 10, 14, 20, 40] {
        let mut values = vec![0.0; 32 * 32];
        for (at, value) in values.iter_mut().step_by(33).enumerate() {
            *value = if at % 5 == 2 { 10f64.powi(-power) } else { 1.0 };
        }
        let (target, moments) = (weights(3, 48 * 32), Moments::new(values, 32).unwrap());
        for recipe in
            ["palette4-g16", "palette6-g16-s", "palette8-g16", "palette4-c-s", "vector2-d4"]
        {
            let (coded, coding) = run(recipe, &target, [48, 32], &moments);
            assert!(coded.decode().iter().all(|weight| weight.is_finite()), "{recipe} {power}");
            let error = relative_error(&coded, &target, &moments);
            assert!(
                (error - final_error(&coding)).abs() <= 1e-3 * error + 1e-6,
                "{recipe} {error}"
            );
        }
    }
}

#[test]
fn what_cannot_be_coded_is_refused_as_input() {
    let moments = moments(1, 8);
    let refusal = |recipe: &str, target: &[f32], shape| {
        let recipe = recipe.parse().unwrap();
        let error = code(&recipe, target, shape, &moments, Steps::ALL, 0).unwrap_err();
        assert_eq!(error.exit(), Exit::Input, "{error}");
        error.to_string()
    };
    assert!(refusal("mxfp4", &[0.0; 32], [4, 8]).contains("cannot be calibrated"));
    assert!(refusal("vector2-d4", &[0.0; 24], [3, 8]).contains("3 is not a multiple of 4"));
    assert!(refusal("vector2-d4", &[f32::NAN; 32], [4, 8]).contains("NaN"));
    assert!(refusal("vector2-d4", &[0.0; 28], [4, 7]).contains("moments of 7 inputs"));
    assert!(refusal("vector2-d4", &[1e9; 32], [4, 8]).contains("beyond fp16"));
    assert!(refusal("int4", &[1e9; 32], [4, 8]).contains("beyond fp16"));
}

/// `tests/golden/make_calibrated.py` computes these with numpy.
#[test]
fn targets_and_feedback_are_those_of_numpy() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/golden/calibrated.json")).unwrap();
    let numbers = |name: &str| -> Vec<f64> {
        golden[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let close = |found: &[f32], name: &str| {
        for (found, expected) in found.iter().zip(numbers(name)) {
            let difference = (f64::from(*found) - expected).abs();
            assert!(difference < 2e-6 * (1.0 + expected.abs()), "{name}: {found} {expected}");
        }
        assert_eq!(found.len(), numbers(name).len(), "{name}");
    };
    let [out, inputs] = [3, 5];
    let weights: Vec<f32> = numbers("weights").iter().map(|value| *value as f32).collect();
    let own = Moments::new(numbers("own"), inputs).unwrap();
    let target = |residual| {
        asymmetric_target(&weights, [out, inputs], Some(&numbers("cross")), &own, residual).unwrap()
    };
    close(&target(None), "target");
    close(&target(Some(&numbers("residual")[..])), "repaired");
    assert_eq!(
        asymmetric_target(&weights, [out, inputs], Some(own.values()), &own, None).unwrap(),
        weights
    );
    let ordered = own.ordered();
    let order: Vec<f32> = ordered.order.iter().map(|at| *at as f32).collect();
    close(&order, "order");
    close(&ordered.feedback().unwrap().0, "feedback");
    assert!(asymmetric_target(&weights, [out, inputs], Some(&[f64::NAN; 25]), &own, None).is_err());
    assert!(asymmetric_target(&weights, [out, 4], Some(&numbers("cross")), &own, None).is_err());
}

#[test]
fn errors_stay_above_the_rate_distortion_bound_of_their_own_moments() {
    // Inputs of an autoregressive process: the determinant is known (Cover and Thomas, chapter 10).
    let (shape, inputs) = ([96, 128], 128);
    let correlated = |i: usize, j: usize| 0.9f64.powi(i.abs_diff(j) as i32);
    let values = (0..inputs * inputs).map(|at| correlated(at / inputs, at % inputs)).collect();
    let moments = Moments::new(values, inputs).unwrap();
    let target = weights(3, shape[0] * inputs);
    for (recipe, bits) in [("palette4-s", 4.0), ("vector2-d4", 2.0), ("palette1-s", 1.0)] {
        let (_, coding) = run(recipe, &target, shape, &moments);
        let flatness = coding.flatness.unwrap();
        // Without damping it would be 0.19^(127/128); with it somewhat more.
        assert!((0.19..0.35).contains(&flatness), "{flatness}");
        let bound = flatness * (-2.0f64 * bits).exp2();
        let error = final_error(&coding);
        assert!((1.1..4.5).contains(&(error / bound)), "{recipe}: {error}, bound {bound}");
    }
    let steps = Steps { compensate: false, ..Steps::ALL };
    let (_, coding) =
        code(&"palette2".parse().unwrap(), &target, shape, &moments, steps, 1).unwrap();
    assert_eq!(coding.flatness, None);
}
