//! Pruned palettes: what is stored, what it decodes to, and what is refused.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::arrays::NamedArray;
use super::recipe::Granularity;
use super::*;
use crate::error::Exit;
use crate::units::Bytes;

const RECIPES: [&str; 8] = [
    "palette1-c-s-p50",
    "palette2-p50",
    "palette2-c-s-t0.05",
    "palette3-g4-p17",
    "palette4-g4-t0.1",
    "palette4-g2-t8-p60",
    "palette4-g2-uniform-p30",
    "palette6-g4-t8-t0.0",
];

fn code(recipe: &str, weights: &[f32], shape: [usize; 2]) -> CodedTensor {
    quantize(&recipe.parse().unwrap(), weights, shape, None).unwrap().unwrap()
}

/// Weights: some are 0, many are equal.
fn coarse(seed: u64, len: usize) -> Vec<f32> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut bell = || (0..4).map(|_| random.random::<f32>() - 0.5).sum::<f32>();
    (0..len).map(|_| (bell() * 64.0).round() / 256.0).collect()
}

fn palette_of(recipe: Recipe) -> Palette {
    let Recipe::Palette(palette) = recipe else { panic!("{recipe} is no palette") };
    palette
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// By definition the kept weights of each group are coded as a tensor of their own.
    #[test]
    fn kept_weights_are_coded_as_if_they_were_all_there_is(
        recipe in prop::sample::select(&RECIPES[..]), seed in any::<u64>(), inputs in 3usize..40,
    ) {
        let shape = [8, inputs];
        let weights = coarse(seed, 8 * inputs);
        let coded = code(recipe, &weights, shape);
        let palette = palette_of(coded.recipe());
        let mask = kept_weights(&coded.recipe(), &weights).unwrap().unwrap();
        prop_assert_eq!(coded.kept(), mask.kept());
        let mut magnitudes: Vec<f32> = weights.iter().map(|weight| weight.abs()).collect();
        magnitudes.sort_by(f32::total_cmp);
        let pruned = weights.len() - mask.kept();
        let group = palette.table_rows(8) * inputs;
        let dense = Recipe::Palette(Palette {
            pruning: None,
            granularity: Granularity::Tensor,
            ..palette
        });
        for (rows, (weights, decoded)) in
            weights.chunks(group).zip(coded.decode().chunks(group)).enumerate()
        {
            let (kept, dropped): (Vec<usize>, Vec<usize>) =
                (0..group).partition(|at| mask.keeps(rows * group + at));
            for at in dropped {
                prop_assert_eq!(decoded[at].to_bits(), 0);
                prop_assert!(weights[at].abs() <= magnitudes[pruned - 1]);
            }
            let own: Vec<f32> = kept.iter().map(|at| weights[*at]).collect();
            let found: Vec<f32> = kept.iter().map(|at| decoded[*at]).collect();
            if own.is_empty() {
                continue;
            }
            let expected = quantize(&dense, &own, [1, own.len()], None).unwrap().unwrap();
            prop_assert_eq!(found, expected.decode());
        }
    }
}

#[test]
fn sizes_are_those_of_mask_codes_and_tables() {
    let size = |name: &str| name.parse::<Recipe>().unwrap().stored_size([32, 63]);
    // 2016 weights: a mask of 252 bytes, and half of them with 4 bits each.
    assert_eq!(size("palette4-p50"), Some(Bytes(252 + 504 + 32)));
    assert_eq!(size("palette4-g16-s-p50"), Some(Bytes(252 + 504 + 2 * 32 + 64)));
    // 604.8 are pruned, so 1411 are kept; 3 bits each are 529.125 bytes.
    assert_eq!(size("palette3-t8-p30"), Some(Bytes(252 + 530 + 8 + 2)));
    let threshold: Recipe = "palette4-t0.1".parse().unwrap();
    assert_eq!(threshold.stored_size([32, 63]), None);
    assert_eq!(threshold.stored_size_of([32, 63], 3), Some(Bytes(252 + 2 + 32)));
}

#[test]
fn a_threshold_stores_what_is_above_it() {
    let weights = [0.5, -0.1, 0.2, 0.0, -0.5, 0.2, 0.05, 0.2];
    let coded = code("palette2-t0.1", &weights, [2, 4]);
    let stored = |value: f32| half::f16::from_f32(value).to_f32();
    let expected = [0.5, 0.0, stored(0.2), 0.0, -0.5, stored(0.2), 0.0, stored(0.2)];
    assert_eq!(coded.decode(), expected);
    let CodedArrays::Palette { codes, mask: Some(mask), .. } = coded.stored() else { panic!() };
    // Codes 2, 1, 0, 1, 1 of the table -0.5, 0.2, 0.5.
    assert_eq!((&codes[..], mask.bytes()), (&[0b0100_0110, 0b01][..], &[0b1011_0101][..]));
    assert_eq!(coded.stored_bytes(), Bytes(1 + 2 + 8));
}

#[test]
fn groups_without_a_weight_decode_to_zeros() {
    for recipe in ["palette2-c-p50", "palette2-c-s-t8-t0.5", "palette2-c-uniform-s-p50"] {
        let decoded = code(recipe, &[1.0, 1.0, 0.25, 0.25, 1.0, 1.0, 0.0, 0.0], [4, 2]).decode();
        assert_eq!(decoded[2..4], [0.0; 2], "{recipe}");
        assert_eq!(decoded[..2], [1.0; 2], "{recipe}");
    }
}

#[test]
fn importance_counts_only_where_a_weight_is_kept() {
    let weights = [0.0, 0.1, 1.0, 1.3, 0.0, 0.0, 0.0, 0.0];
    let recipe: Recipe = "palette1-p75".parse().unwrap();
    let importance = [9.0, 1.0, 1.0, 3.0];
    let coded = quantize(&recipe, &weights, [2, 4], Some(&importance)).unwrap().unwrap();
    let kept = [1.0, half::f16::from_f32(1.3).to_f32()];
    assert_eq!(coded.decode(), [0.0, 0.0, kept[0], kept[1], 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn thresholds_that_leave_nothing_are_refused() {
    let refuse = |recipe: &str, weights: &[f32]| {
        let recipe = recipe.parse().unwrap();
        quantize(&recipe, weights, [1, weights.len()], None).unwrap_err()
    };
    let error = refuse("palette4-t2.0", &[1.0, -1.5]);
    assert_eq!(error.exit(), Exit::Input);
    assert!(error.to_string().contains("prunes all 2 weights, the largest of which is 1.5"));
    refuse("palette4-t0.0", &[0.0; 4]);
    refuse("palette4-p99", &[1.0]);
}

mod hostile_parts {
    use super::*;

    fn refuse(recipe: &str, suffix: &str, spoil: impl Fn(&mut NamedArray<'_>)) -> String {
        let coded = code(recipe, &coarse(5, 15), [3, 5]);
        let mut parts = coded.named_arrays();
        parts.iter_mut().filter(|part| part.suffix == suffix).for_each(spoil);
        let error = CodedTensor::from_named_arrays(coded.recipe(), coded.shape(), |suffix| {
            let part = parts.iter().find(|part| part.suffix == suffix)?;
            Some((part.dtype, &part.shape[..], &part.bytes[..]))
        });
        let error = error.unwrap_err();
        assert_eq!(error.exit(), Exit::Input);
        error.to_string()
    }

    #[test]
    fn a_mask_that_does_not_fit_is_refused() {
        let recipe = "palette2-p40";
        assert_eq!(refuse(recipe, "mask", |part| part.suffix = "other"), "mask: missing");
        refuse(recipe, "mask", |part| part.bytes.to_mut().push(0));
        refuse(recipe, "mask", |part| part.dtype = ArrayType::I8);
        let text = refuse(recipe, "mask", |part| part.bytes.to_mut()[1] |= 0x80);
        assert_eq!(text, "mask: bits past the last code are set");
    }

    #[test]
    fn masks_and_codes_of_different_counts_are_refused() {
        // 15 weights of which 9 are kept.
        let text = refuse("palette2-p40", "mask", |part| part.bytes.to_mut()[..2].fill(0x0f));
        assert_eq!(text, "mask: `-p40`: expected 9 weights, found 8");
        let text = refuse("palette2-t0.0", "mask", |part| part.bytes.to_mut()[..2].fill(0));
        assert!(text.contains("found 0"), "{text}");
        let text = refuse("palette2-t0.0", "mask", |part| part.bytes.to_mut()[..2].fill(1));
        assert!(text.starts_with("codes: expected U8 [1]"), "{text}");
        refuse("palette2-p40", "codes", |part| part.bytes.to_mut()[2] |= 0x04);
        refuse("palette2-p40", "codes", |part| part.bytes.to_mut().truncate(2));
    }
}
