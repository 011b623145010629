//! Bytes read per token, counted from packages, against those counted from the checkpoint's parts.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::process::Command;

use crate::fixtures;
use evalkit::checkpoint::Checkpoint;
use evalkit::demo;
use evalkit::eval::Variant;
use evalkit::package::bundle::Bundle;

/// What packages read beyond parts: a row of each positional table, bounds and masks of attention.
const EXTRA_BYTES: f64 = 2048.0;

fn agree(model: &str, checkpoint: &Checkpoint, recipe: &str, calls: usize) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("package");
    let mut command = Command::new(env!("CARGO_BIN_EXE_evalkit"));
    command.args(["--quiet", "package", "--model", model, "--recipe", recipe, "--output"]);
    fixtures::run(command.arg(&output), 0);
    let traffic = Bundle::open(&output).unwrap().traffic().unwrap();
    let variant: Variant = recipe.parse().unwrap();
    let parts = variant.parts_per_token(checkpoint).unwrap();
    let expected: u64 = parts.iter().map(|part| part.size_bytes).sum();
    let extra = traffic.weight_bytes - expected as f64;
    assert!((0.0..=EXTRA_BYTES).contains(&extra), "{model} {recipe}: {traffic:?}, {expected}");
    assert_eq!(traffic.calls, calls, "{model} {recipe}");
}

#[test]
fn a_token_reads_the_parts_that_it_uses_and_little_else() {
    let checkpoint = Checkpoint::open_embedded(&demo::MODEL).unwrap();
    for recipe in ["fp16", "palette4-g16-s", "palette2", "int8", "int4-b32", "vector2-d4"] {
        agree("demo", &checkpoint, recipe, 1);
    }
}

#[test]
fn of_a_mixture_it_reads_the_experts_that_it_is_sent_to() {
    let Some(model) = fixtures::shared("models/moe-kjv-0.6m-mxfp4") else {
        return;
    };
    let checkpoint = Checkpoint::open(&model).unwrap();
    let config = &checkpoint.config;
    let experts = config.experts.as_ref().unwrap().per_token;
    let calls = 2 + config.layers * (1 + experts);
    for recipe in ["fp16", "palette2-g16-s", "vector1-d8"] {
        agree(model.to_str().unwrap(), &checkpoint, recipe, calls);
    }
}
