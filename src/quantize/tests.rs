//! Properties that hold across recipes: sizes, slices, round trips, refusals.

use std::num::NonZeroUsize;

use half::f16;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::arrays::NamedArray;
use super::widths::effective_group;
use super::*;
use crate::error::Exit;

/// One recipe of every kind. The shapes below make groups, blocks and bytes uneven.
const RECIPES: [&str; 28] = [
    "fp16",
    "palette1-c",
    "palette1-g16-s",
    "palette1",
    "palette2-g16",
    "palette2-g16-s-t8",
    "palette2-g5-uniform",
    "palette3-c-s",
    "palette3-g4",
    "palette4",
    "palette4-g16-t8",
    "palette4-s-uniform",
    "palette6-g16",
    "palette8-g2",
    "palette8-t8",
    "palette1-c-s-p30",
    "palette3-g4-uniform-p50",
    "palette4-g16-t8-p45",
    "int4",
    "int4-a",
    "int4-b32",
    "int4-b5-a",
    "int8",
    "int8-a",
    "int8-b7-a",
    "vector1-d3-g4",
    "vector2-d4",
    "vector4-d2-g16",
];

fn bell_weights(seed: u64, len: usize) -> Vec<f32> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut bell = || (0..6).map(|_| random.random::<f32>() - 0.5).sum::<f32>() * 0.1;
    (0..len).map(|_| bell()).collect()
}

fn code(recipe: &str, weights: &[f32], shape: [usize; 2]) -> CodedTensor {
    let recipe: Recipe = recipe.parse().unwrap();
    quantize(&recipe, weights, shape, None).unwrap().unwrap()
}

fn squared_error(weights: &[f32], coded: &CodedTensor) -> f64 {
    let pairs = weights.iter().zip(coded.decode());
    pairs.map(|(weight, decoded)| f64::from(weight - decoded).powi(2)).sum()
}

fn reread(coded: &CodedTensor, spoil: impl Fn(&mut NamedArray<'_>)) -> Result<CodedTensor> {
    let mut parts = coded.named_arrays();
    parts.iter_mut().for_each(spoil);
    CodedTensor::from_named_arrays(coded.recipe(), coded.shape(), |suffix| {
        let part = parts.iter().find(|part| part.suffix == suffix)?;
        Some((part.dtype, &part.shape[..], &part.bytes[..]))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_recipe_keeps_its_promises_on_every_shape(
        recipe in prop::sample::select(&RECIPES[..]),
        out in 0usize..40,
        inputs in 0usize..70,
        seed in any::<u64>(),
    ) {
        let asked = recipe.parse::<Recipe>().unwrap();
        let length = match asked {
            Recipe::Vector(vector) => vector.weights_per_code(),
            _ => 1,
        };
        let out = out / length * length;
        let shape = [out, inputs];
        let weights = bell_weights(seed, out * inputs);
        let coded = code(recipe, &weights, shape);
        prop_assert_eq!(asked.stored_size(shape), Some(coded.stored_bytes()));
        let decoded = coded.decode();
        prop_assert!(decoded.iter().all(|weight| weight.is_finite()));

        // Any rows decode to the same bits as all of them.
        let rows = out / 3..out - out / 4;
        let mut part = vec![f32::NAN; rows.len() * inputs];
        coded.decode_rows(rows.clone(), &mut part).unwrap();
        prop_assert_eq!(&part[..], &decoded[rows.start * inputs..rows.end * inputs]);

        // The named arrays read back as the same tensor.
        let again = reread(&coded, |_| {}).unwrap();
        prop_assert_eq!(&again, &coded);
        prop_assert_eq!(again.hash(), coded.hash());

        // Slices of whole units that are coded by themselves are slices of the whole.
        if let (Some(unit), true) = (asked.row_unit(shape), out > 0 && inputs > 0) {
            let rows = unit * (1 + seed as usize % 3);
            for first in (0..out).step_by(rows) {
                let last = (first + rows).min(out);
                let own = &weights[first * inputs..last * inputs];
                let slice = quantize(&coded.recipe(), own, [last - first, inputs], None).unwrap();
                prop_assert_eq!(slice.unwrap(), coded.slice_rows(first..last).unwrap());
            }
        }
    }

    #[test]
    fn each_weight_gets_the_nearest_entry_and_the_lower_one_on_a_tie(
        seed in any::<u64>(), bits in prop::sample::select(vec![1u8, 2, 3, 4]), scale in any::<bool>(),
    ) {
        let shape = [4, 33];
        let weights: Vec<f32> =
            bell_weights(seed, 132).iter().map(|w| (w * 64.0).round() / 64.0).collect();
        let name = format!("palette{bits}-g2{}", if scale { "-s" } else { "" });
        let coded = code(&name, &weights, shape);
        let CodedArrays::Palette { codes, tables, channel_scales, .. } = coded.stored() else { panic!() };
        let mut table = [0.0; 256];
        for (i, weight) in weights.iter().enumerate() {
            let row = i / shape[1];
            tables.read(row / 2, 1 << bits, &mut table);
            let factor = channel_scales.as_ref().map_or(1.0, |scales| scales[row].to_f64());
            let distance = |entry: f32| (f64::from(*weight) - f64::from(entry) * factor).abs();
            let entries = &table[..1 << bits];
            let nearest = entries.iter().map(|entry| distance(*entry)).fold(f64::MAX, f64::min);
            let first = entries.iter().position(|entry| distance(*entry) == nearest).unwrap();
            prop_assert_eq!(usize::from(bitpack::code_at(codes, bits, i)), first);
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let weights = bell_weights(3, 96 * 64);
    for recipe in RECIPES {
        let hash = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| code(recipe, &weights, [96, 64]).hash())
        };
        assert_eq!(hash(1), hash(3), "{recipe}");
    }
}

#[test]
fn more_bits_mean_less_error() {
    let weights = bell_weights(4, 64 * 96);
    let error = |recipe: &str| squared_error(&weights, &code(recipe, &weights, [64, 96]));
    let errors = [1, 2, 3, 4, 6, 8].map(|bits| error(&format!("palette{bits}-g16")));
    assert!(errors.windows(2).all(|pair| pair[0] > pair[1] * 1.5), "{errors:?}");
    assert!(error("int8") < error("int4"));
    assert!(error("int4-b32") < error("int4"));
    assert!(error("palette4-g16") < error("palette4-g16-uniform"));
}

#[test]
fn the_reference_has_no_coded_form() {
    assert_eq!(quantize(&Recipe::Reference, &[1.0], [1, 1], None).unwrap(), None);
}

#[test]
fn linear_codes_are_those_of_the_rounded_scale() {
    // The scale 0.1 is stored as 0.09998, so 0.05 is just above half a step and 0.31 above three.
    let coded = code("int4", &[0.7, -0.31, 0.0, 0.05], [1, 4]);
    let scale = f16::from_f32(0.1);
    let CodedArrays::Linear { codes, scales, zero_points: None } = coded.stored() else { panic!() };
    assert_eq!((&codes[..], &scales[..]), (&[0xd7, 0x10][..], &[scale][..]));
    let rounded = |steps: f32| f16::from_f32(steps * scale.to_f32()).to_f32();
    assert_eq!(coded.decode(), [rounded(7.0), rounded(-3.0), 0.0, rounded(1.0)]);
}

#[test]
fn a_zero_point_moves_the_range_and_keeps_zero_exact() {
    let coded = code("int4-a", &[0.0, 1.0, 3.0, -0.75], [1, 4]);
    assert_eq!(coded.decode(), [0.0, 1.0, 3.0, -0.75]);
    let coded = code("int8-a", &[2.0, 3.0, 4.0, 0.0], [1, 4]);
    assert_eq!(coded.decode()[3], 0.0);
}

#[test]
fn a_table_of_the_weights_themselves_is_lossless_or_refused() {
    let weights = [0.5, -1.0, 0.5, 0.25, 2.0, 2.0, 2.0, 2.0];
    assert_eq!(code("palette2-c-unique", &weights, [2, 4]).decode(), weights);
    let refuse = |weights: &[f32], bits: u8| {
        let recipe: Recipe = format!("palette{bits}-unique").parse().unwrap();
        quantize(&recipe, weights, [1, weights.len()], None).unwrap_err().to_string()
    };
    assert!(refuse(&weights, 1).contains("at most 2 distinct weights in a group, found 4"));
    assert!(refuse(&[0.1, 1.0], 1).contains("found 1 of 2"));
}

#[test]
fn importance_draws_the_table_to_the_inputs_that_matter() {
    let weights = [0.0, 0.1, 1.0, 1.3];
    let recipe: Recipe = "palette1".parse().unwrap();
    let coded = quantize(&recipe, &weights, [1, 4], Some(&[1.0, 0.0, 1.0, 3.0])).unwrap().unwrap();
    let expected = f16::from_f32(1.225).to_f32();
    assert_eq!(coded.decode(), [0.0, 0.0, expected, expected]);
    let nothing_matters = quantize(&recipe, &weights, [1, 4], Some(&[0.0; 4])).unwrap();
    assert_eq!(nothing_matters, quantize(&recipe, &weights, [1, 4], None).unwrap());
}

#[test]
fn groups_of_one_value_and_of_nothing_but_zeros_are_exact() {
    for recipe in RECIPES {
        let decoded = code(recipe, &[0.0; 12], [12, 1]).decode();
        assert_eq!(decoded, [0.0; 12], "{recipe}");
    }
    assert_eq!(code("palette4-g3", &[-0.5; 12], [3, 4]).decode(), [-0.5; 12]);
    assert_eq!(code("palette2-c-s", &[-0.5; 12], [3, 4]).decode(), [-0.5; 12]);
}

#[test]
fn weights_that_cannot_be_stored_are_refused_as_input() {
    for recipe in RECIPES {
        let recipe: Recipe = recipe.parse().unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e10, f32::MAX] {
            let error = quantize(&recipe, &[0.5, bad], [1, 2], None).unwrap_err();
            assert_eq!(error.exit(), Exit::Input, "{recipe} {bad}");
        }
        assert!(quantize(&recipe, &[0.5; 3], [1, 2], None).is_err());
        assert!(quantize(&recipe, &[0.5; 3], [usize::MAX, 2], None).is_err());
        assert!(quantize(&recipe, &[0.5; 2], [1, 2], Some(&[1.0])).is_err());
        assert!(quantize(&recipe, &[0.5; 2], [1, 2], Some(&[1.0, -1.0])).is_err());
    }
}

#[test]
fn rows_that_do_not_exist_are_refused() {
    let coded = code("palette2-g2", &[0.5; 8], [2, 4]);
    for (rows, len) in [(0..3, 12), (1..2, 3), (3..4, 4)] {
        assert!(coded.decode_rows(rows, &mut vec![0.0; len]).is_err());
    }
}

/// Costs agree with coremltools' to this share; summation order differs.
const PEER_COST_TOLERANCE: f64 = 1e-9;

fn hex(text: &serde_json::Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// `tests/peers/kmeans_coremltools.py` makes and checks the file.
#[test]
fn tables_and_codes_are_those_of_coremltools() {
    let golden = include_str!("../../tests/golden/kmeans_coremltools.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(golden).unwrap();
    assert!(!cases.is_empty());
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let weights: Vec<f32> = hex(&case["weights"])
            .chunks(2)
            .map(|pair| f16::from_be_bytes([pair[0], pair[1]]).to_f32())
            .collect();
        let table: Vec<f32> = case["table"]
            .as_array()
            .unwrap()
            .iter()
            .map(|bits| f16::from_bits(bits.as_u64().unwrap() as u16).to_f32())
            .collect();

        // The means, before rounding, leave the same error.
        let mut sorted = weights.clone();
        sorted.sort_by(f32::total_cmp);
        let mut points = kmeans::points::Points::default();
        points.refill(sorted.iter().map(|value| (*value, 1.0)), 0.0);
        let cuts = kmeans::boundaries(&points, table.len(), &mut kmeans::Scratch::default());
        let (ours, theirs) = (points.total_cost(&cuts), case["squared_error"].as_f64().unwrap());
        let tolerance =
            PEER_COST_TOLERANCE * theirs + 1e-15 * points.total_cost(&[0, points.len()]);
        assert!((ours - theirs).abs() <= tolerance, "{name}: {ours} against {theirs}");

        // The stored table is theirs rounded to fp16, and each weight has their code, or a nearer
        // entry: they assign before rounding the table, we after.
        let bits = case["bits"].as_u64().unwrap();
        let coded = code(&format!("palette{bits}"), &weights, [1, weights.len()]);
        let CodedArrays::Palette { codes, tables, .. } = coded.stored() else { panic!() };
        let mut own = [0.0; 256];
        tables.read(0, table.len(), &mut own);
        let means = kmeans::means(&points, table.len(), &mut kmeans::Scratch::default());
        for ((mean, own), theirs) in means.iter().zip(own).zip(&table) {
            // A mean exactly between two fp16 values rounds to even here; their prefix sums lose
            // it.
            let between = (f64::from(own) + f64::from(*theirs)) / 2.0;
            assert!(own == *theirs || (mean - between).abs() < 1e-15, "{name}: {own} {theirs}");
        }
        for (i, (weight, their_code)) in weights.iter().zip(hex(&case["codes"])).enumerate() {
            let our_code = bitpack::code_at(codes, bits as u8, i);
            let distance =
                |code: u8| (f64::from(*weight) - f64::from(own[usize::from(code)])).abs();
            let nearer = distance(our_code) < distance(their_code)
                || (distance(our_code) == distance(their_code) && our_code < their_code);
            assert!(our_code == their_code || nearer, "{name}: weight {i}");
        }
    }
}

mod hostile_parts {
    use super::*;

    fn refuse(recipe: &str, suffix: &str, spoil: impl Fn(&mut NamedArray<'_>)) -> String {
        let coded = code(recipe, &bell_weights(5, 15), [3, 5]);
        let error = reread(&coded, |part| {
            if part.suffix == suffix {
                spoil(part);
            }
        });
        let error = error.unwrap_err();
        assert_eq!(error.exit(), Exit::Input);
        error.to_string()
    }

    #[test]
    fn a_missing_part_is_named() {
        for suffix in ["codes", "tables", "table_scales", "channel_scales"] {
            let text = refuse("palette2-g3-s-t8", suffix, |part| part.suffix = "other");
            assert_eq!(text, format!("{suffix}: missing"));
        }
        assert!(refuse("int4-a", "zero_points", |part| part.suffix = "other").contains("missing"));
    }

    #[test]
    fn a_wrong_type_shape_or_length_is_refused() {
        refuse("palette2-g3", "tables", |part| part.dtype = ArrayType::U8);
        refuse("palette2-g3", "tables", |part| part.shape = vec![4, 1]);
        refuse("palette2-g3", "codes", |part| part.shape = vec![usize::MAX]);
        refuse("palette2-g3", "codes", |part| part.bytes.to_mut().clear());
        refuse("int4-a", "scales", |part| part.bytes.to_mut().push(0));
        refuse("fp16", "values", |part| part.shape = vec![15]);
    }

    #[test]
    fn values_outside_the_recipe_are_refused() {
        let infinite = f16::INFINITY.to_le_bytes();
        refuse("palette2-g3", "tables", |part| part.bytes.to_mut()[..2].copy_from_slice(&infinite));
        refuse("fp16", "values", |part| part.bytes.to_mut()[..2].copy_from_slice(&infinite));
        assert!(refuse("int4", "codes", |part| part.bytes.to_mut()[0] = 0x81).contains("found -8"));
        assert!(refuse("int8", "codes", |part| part.bytes.to_mut()[14] = 0x80).contains("-128"));
        refuse("palette2-g3", "codes", |part| part.bytes.to_mut()[3] |= 0x80);
    }

    #[test]
    fn shapes_that_overflow_and_recipes_without_codes_are_refused() {
        let recipe: Recipe = "palette2".parse().unwrap();
        assert!(CodedTensor::from_named_arrays(recipe, [usize::MAX, 2], |_| None).is_err());
        assert!(CodedTensor::from_named_arrays(Recipe::Reference, [1, 2], |_| None).is_err());
        assert!(effective_group(usize::MAX, NonZeroUsize::MIN) == 1);
    }
}
