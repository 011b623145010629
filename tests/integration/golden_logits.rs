//! Logits against those that others computed in f32: transformers for the golden models
//! (`../shared/models/golden`), JAX for the demo.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use crate::fixtures::forward::{EXPERTS_MAX_ABS, check, check_opened};
use evalkit::checkpoint::Checkpoint;

/// Bound on the largest difference of a dense model's logit, in f32.
const DENSE_MAX_ABS: f32 = 2e-4;

fn golden(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/golden").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn every_family_matches_transformers() {
    for name in ["llama", "qwen2", "qwen3"] {
        if let Some(folder) = golden(name) {
            check(&folder, &folder.join("golden.safetensors"), None, DENSE_MAX_ABS);
        }
    }
}

#[test]
fn a_trained_model_matches_transformers() {
    if let Some(folder) = golden("stories260k") {
        let model = folder.join("../../stories260k");
        check(&model, &folder.join("golden.safetensors"), None, DENSE_MAX_ABS);
    }
}

#[test]
fn mixtures_match_transformers_in_logits_and_in_every_choice_of_experts() {
    for name in ["gpt_oss", "gpt_oss_mxfp4"] {
        let Some(folder) = golden(name) else { continue };
        let routes = folder.join("debug.safetensors");
        check(&folder, &folder.join("golden.safetensors"), Some(&routes), EXPERTS_MAX_ABS);
    }
}

#[test]
fn a_trained_mixture_matches_transformers() {
    if let Some(folder) = golden("moe-kjv-0.6m-mxfp4") {
        let model = folder.join("../../moe-kjv-0.6m-mxfp4");
        check(&model, &folder.join("golden.safetensors"), None, EXPERTS_MAX_ABS);
    }
}

#[test]
fn the_demo_matches_the_program_that_trained_it() {
    let demo = Checkpoint::open_embedded(&evalkit::demo::MODEL).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo");
    check_opened(&demo, &folder.join("golden.safetensors"), None, DENSE_MAX_ABS);
}
