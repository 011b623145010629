//! Logits against those that others computed in f32: transformers for the golden models
//! (`../shared/models/golden`), JAX for the demo.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use evalkit::checkpoint::{Checkpoint, Role, TensorId};
use evalkit::model::{self, Block, BlockWeights, Linear, RopeTables};

/// Bound on the largest difference of a logit, in f32.
const MAX_ABS: f32 = 2e-4;

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

fn block(checkpoint: &Checkpoint, layer: usize) -> Block {
    let mut weights = BlockWeights::default();
    for id in checkpoint.config.block_tensors(layer).into_iter().filter(|id| !id.bias) {
        let weight = tensor(checkpoint, id);
        if id.role.is_linear() {
            let has_bias = checkpoint.config.has_bias(id.role);
            let bias = has_bias.then(|| tensor(checkpoint, id.with_bias()));
            weights.linear(id.role, Linear { weight, bias });
        } else {
            weights.norm(id.role, weight);
        }
    }
    Block::new(&checkpoint.config, weights).unwrap()
}

fn logits(checkpoint: &Checkpoint, ids: &[u32]) -> Vec<f32> {
    let ids = Tensor::new(ids, &Device::Cpu).unwrap();
    let tokens = ids.dims1().unwrap();
    let embedding = tensor(checkpoint, TensorId::model(Role::Embedding));
    let rope = RopeTables::new(&checkpoint.config, tokens, &Device::Cpu).unwrap();
    let mut x = embedding.index_select(&ids, 0).unwrap();
    for layer in 0..checkpoint.config.layers {
        x = block(checkpoint, layer).forward(&x, &rope).unwrap();
    }
    let gain = tensor(checkpoint, TensorId::model(Role::FinalNorm));
    let normed = model::final_norm(&x, &gain, 0..tokens, &checkpoint.config).unwrap();
    let head = tensor(checkpoint, checkpoint.head());
    model::values(&model::logits(&normed, &head).unwrap()).unwrap()
}

fn check(checkpoint: &Checkpoint, golden: PathBuf) {
    let golden = candle_core::safetensors::load(golden, &Device::Cpu).unwrap();
    let ids = golden["input_ids"].to_vec2::<i64>().unwrap();
    let expected = golden["logits"].to_vec3::<f32>().unwrap();
    for (ids, expected) in ids.iter().zip(&expected) {
        let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        let found = logits(checkpoint, &ids);
        let expected: Vec<f32> = expected.concat();
        assert_eq!(found.len(), expected.len());
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        eprintln!("{}: max abs difference {worst:e}", checkpoint.name);
        assert!(worst <= MAX_ABS, "logits differ by {worst:e}");
    }
}

#[test]
fn every_family_matches_transformers() {
    for name in ["llama", "qwen2", "qwen3"] {
        if let Some(folder) = golden(name) {
            check(&Checkpoint::open(&folder).unwrap(), folder.join("golden.safetensors"));
        }
    }
}

#[test]
fn a_trained_model_matches_transformers() {
    if let Some(folder) = golden("stories260k") {
        let model = Checkpoint::open(&folder.join("../../stories260k")).unwrap();
        check(&model, folder.join("golden.safetensors"));
    }
}

#[test]
fn the_demo_matches_the_program_that_trained_it() {
    let demo = Checkpoint::open_embedded(&evalkit::demo::MODEL).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo");
    check(&demo, folder.join("golden.safetensors"));
}
