//! Invariant I1 in mixtures of experts: a walk reads each tensor once, however many variants there
//! are.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;

use crate::fixtures::silent_walk::SilentWalk;
use candle_core::Device;
use evalkit::checkpoint::Checkpoint;
use evalkit::eval::{Calibration, RangeMethod, Variant, Walk, Window};
use evalkit::quantize::Recipe;

fn variants(recipes: &[&str]) -> Vec<Variant> {
    let of = |recipe: &&str| {
        let recipe: Recipe = recipe.parse().unwrap();
        Variant { head: recipe.into(), ..Variant::uniform(recipe) }
    };
    recipes.iter().map(of).collect()
}

/// How many reads a walk of one window makes.
fn reads(model: &str, recipes: &[&str]) -> u64 {
    reads_of(model, &variants(recipes))
}

/// The same for mixes; those with int8 activations have the scales of two layers' attention.
fn reads_of(model: &str, variants: &[Variant]) -> u64 {
    let mixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixtures");
    let checkpoint = Checkpoint::open(&mixtures.join(model)).unwrap();
    let ids: Vec<u32> = (0..24).collect();
    let windows = [Window { scored: 1..ids.len(), scored_bytes: 23, ids }];
    let others =
        windows.clone().map(|w| Window { ids: w.ids.iter().rev().copied().collect(), ..w });
    let calibration = Calibration { windows: others.into(), method: RangeMethod::MinMax };
    let coded = vec![None; variants.len()];
    let walk = Walk {
        checkpoint: &checkpoint,
        variants,
        windows: &windows,
        coded: &coded,
        calibration: Some(&calibration),
        device: &Device::Cpu,
    };
    let walked = walk.run(None, &mut SilentWalk).unwrap();
    assert_eq!(walked.outcomes.len(), 1 + variants.len());
    for (outcome, variant) in walked.outcomes.iter().skip(1).zip(variants) {
        let scored = outcome.as_ref().unwrap();
        assert_eq!(scored.scales.iter().len(), if variant.needs_ranges() { 4 } else { 0 });
    }
    assert!(walked.outcomes[0].is_ok());
    checkpoint.reads()
}

/// Tensors of a model with two layers and eight experts, whose vocabulary is one slice.
fn tensors(of_block: u64, of_expert: u64) -> u64 {
    2 * (of_block + 8 * of_expert) + ["embedding", "norm", "head"].len() as u64
}

#[test]
fn each_tensor_of_a_mixture_is_read_once_for_any_number_of_variants() {
    // gpt-oss: two norms, five matrices with biases (q, k, v, o, router), sinks; three matrices
    // with biases per expert. Qwen 3: two norms more, no biases, no sinks.
    let gpt_oss = tensors(2 + 2 * 5 + 1, 2 * 3);
    let models =
        [("gpt-oss-4", gpt_oss), ("gpt-oss-mxfp4-4", gpt_oss), ("qwen3-moe-4", tensors(4 + 5, 3))];
    for (model, expected) in models {
        assert_eq!(reads(model, &["int4-b32"]), expected, "{model}, one variant");
        let four = ["int4-b32", "int8", "palette4-g16", "palette2-g16"];
        assert_eq!(reads(model, &four), expected, "{model}, four variants");
        assert_eq!(reads(model, &[]), expected, "{model}, the reference alone");
        let int8: Variant = "int4-b32+attention:int8-a8".parse().unwrap();
        assert_eq!(reads_of(model, &[int8]), expected, "{model}, with calibration");
    }
}
