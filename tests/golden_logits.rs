//! Logits against those that others computed in f32: transformers for the golden models
//! (`../shared/models/golden`), JAX for the demo.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use evalkit::checkpoint::{Checkpoint, Role, TensorId};
use evalkit::model::{self, Block, BlockWeights, Linear, Mlp, RopeTables};

/// Bound on the largest difference of a dense model's logit, in f32.
const DENSE_MAX_ABS: f32 = 2e-4;

/// The same for mixtures of experts.
const EXPERTS_MAX_ABS: f32 = 5e-4;

fn golden(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/golden").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

fn tensor(checkpoint: &Checkpoint, id: TensorId) -> Tensor {
    let shape = checkpoint.stored(id).unwrap().shape.clone();
    Tensor::from_vec(checkpoint.read(id).unwrap(), shape, &Device::Cpu).unwrap()
}

fn weights(checkpoint: &Checkpoint, ids: Vec<TensorId>) -> BlockWeights {
    let mut weights = BlockWeights::default();
    for id in ids.into_iter().filter(|id| !id.bias) {
        let weight = tensor(checkpoint, id);
        if id.role.is_linear() || id.role == Role::Router {
            let has_bias = checkpoint.config.has_bias(id.role);
            let bias = has_bias.then(|| tensor(checkpoint, id.with_bias()));
            weights.linear(id.role, Linear { weight, bias });
        } else if id.role == Role::Sinks {
            weights.sinks(checkpoint.read(id).unwrap());
        } else {
            weights.norm(id.role, weight);
        }
    }
    weights
}

/// Hidden states after one layer, and per token the experts it went to, in ascending order.
fn layer(
    checkpoint: &Checkpoint,
    layer: usize,
    x: &Tensor,
    rope: &RopeTables,
) -> (Tensor, Vec<Vec<u32>>) {
    let config = &checkpoint.config;
    let block = weights(checkpoint, config.block_tensors(layer));
    let (x, routed) = Block::new(config, layer, block).unwrap().forward(x, rope).unwrap();
    let Some(mut routed) = routed else { return (x, Vec::new()) };
    let experts = config.experts.as_ref().unwrap();
    for expert in 0..experts.count {
        let expert_weights = weights(checkpoint, config.expert_tensors(layer, expert));
        let mlp = Mlp::new(config, expert_weights).unwrap();
        routed.apply(expert, |x| mlp.forward(x)).unwrap();
    }
    let chosen = routed.chosen.chunks(experts.per_token).map(sorted).collect();
    (routed.finish(&x).unwrap(), chosen)
}

fn sorted(experts: &[u32]) -> Vec<u32> {
    let mut experts = experts.to_vec();
    experts.sort_unstable();
    experts
}

/// Logits, and per layer and token the experts chosen.
fn logits(checkpoint: &Checkpoint, ids: &[u32]) -> (Vec<f32>, Vec<Vec<Vec<u32>>>) {
    let ids = Tensor::new(ids, &Device::Cpu).unwrap();
    let tokens = ids.dims1().unwrap();
    let embedding = tensor(checkpoint, TensorId::model(Role::Embedding));
    let rope = RopeTables::new(&checkpoint.config, tokens, &Device::Cpu).unwrap();
    let mut x = embedding.index_select(&ids, 0).unwrap();
    let mut routing = Vec::new();
    for number in 0..checkpoint.config.layers {
        let (next, chosen) = layer(checkpoint, number, &x, &rope);
        routing.push(chosen);
        x = next;
    }
    let gain = tensor(checkpoint, TensorId::model(Role::FinalNorm));
    let normed = model::final_norm(&x, &gain, 0..tokens, &checkpoint.config).unwrap();
    let head = tensor(checkpoint, checkpoint.head());
    (model::values(&model::logits(&normed, &head).unwrap()).unwrap(), routing)
}

fn check(model: PathBuf, golden: PathBuf, max_abs: f32) {
    check_opened(&Checkpoint::open(&model).unwrap(), golden, max_abs);
}

fn check_opened(checkpoint: &Checkpoint, golden: PathBuf, max_abs: f32) {
    let golden = candle_core::safetensors::load(golden, &Device::Cpu).unwrap();
    let ids = golden["input_ids"].to_vec2::<i64>().unwrap();
    let expected = golden["logits"].to_vec3::<f32>().unwrap();
    for (ids, expected) in ids.iter().zip(&expected) {
        let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        let (found, _) = logits(checkpoint, &ids);
        let expected: Vec<f32> = expected.concat();
        assert_eq!(found.len(), expected.len());
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        eprintln!("{}: max abs difference {worst:e}", checkpoint.name);
        assert!(worst <= max_abs, "logits differ by {worst:e}");
    }
}

#[test]
fn every_family_matches_transformers() {
    for name in ["llama", "qwen2", "qwen3"] {
        if let Some(folder) = golden(name) {
            check(folder.clone(), folder.join("golden.safetensors"), DENSE_MAX_ABS);
        }
    }
}

#[test]
fn a_trained_model_matches_transformers() {
    if let Some(folder) = golden("stories260k") {
        check(folder.join("../../stories260k"), folder.join("golden.safetensors"), DENSE_MAX_ABS);
    }
}

#[test]
fn mixtures_match_transformers_in_logits_and_in_every_choice_of_experts() {
    for name in ["gpt_oss", "gpt_oss_mxfp4"] {
        let Some(folder) = golden(name) else { continue };
        check(folder.clone(), folder.join("golden.safetensors"), EXPERTS_MAX_ABS);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let load = |file| candle_core::safetensors::load(folder.join(file), &Device::Cpu).unwrap();
        let (golden, debug) = (load("golden.safetensors"), load("debug.safetensors"));
        let ids = golden["input_ids"].to_vec2::<i64>().unwrap();
        for (row, ids) in ids.iter().enumerate() {
            let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
            let (_, routing) = logits(&checkpoint, &ids);
            for (layer, found) in routing.iter().enumerate() {
                let expected = debug[&format!("router.{layer}.indices")].to_vec2::<i64>().unwrap();
                let expected = &expected[row * ids.len()..(row + 1) * ids.len()];
                for (found, expected) in found.iter().zip(expected) {
                    let expected: Vec<u32> = expected.iter().map(|&e| e as u32).collect();
                    assert_eq!(found, &sorted(&expected), "{name}, layer {layer}");
                }
            }
        }
    }
}

#[test]
fn a_trained_mixture_matches_transformers() {
    if let Some(folder) = golden("moe-kjv-0.6m-mxfp4") {
        let model = folder.join("../../moe-kjv-0.6m-mxfp4");
        check(model, folder.join("golden.safetensors"), EXPERTS_MAX_ABS);
    }
}

#[test]
fn the_demo_matches_the_program_that_trained_it() {
    let demo = Checkpoint::open_embedded(&evalkit::demo::MODEL).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo");
    check_opened(&demo, folder.join("golden.safetensors"), DENSE_MAX_ABS);
}
