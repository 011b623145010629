//! Logits and routing of a checkpoint, straight through `model`, without a walk: what the golden
//! tests compare.

use std::path::Path;

use candle_core::{Device, Tensor};
use evalkit::checkpoint::{Checkpoint, Role, TensorId};
use evalkit::model::{self, Block, BlockWeights, LinearLayer, Mlp, RopeTables};

/// Bound on the largest difference of a mixture's logit from transformers', in f32.
pub const EXPERTS_MAX_ABS: f32 = 5e-4;

/// Per layer and token the experts chosen, in ascending order.
pub type Routes = Vec<Vec<Vec<u32>>>;

fn tensor(checkpoint: &Checkpoint, id: TensorId) -> Tensor {
    let shape = checkpoint.stored(id).unwrap().shape.clone();
    Tensor::from_vec(checkpoint.read(id).unwrap(), shape, &Device::Cpu).unwrap()
}

pub fn weights(checkpoint: &Checkpoint, ids: Vec<TensorId>) -> BlockWeights {
    let mut weights = BlockWeights::default();
    for id in ids.into_iter().filter(|id| !id.bias) {
        let weight = tensor(checkpoint, id);
        if id.role.is_linear() || id.role == Role::Router {
            let has_bias = checkpoint.config.has_bias(id.role);
            let bias = has_bias.then(|| tensor(checkpoint, id.with_bias()));
            weights.linear(id.role, LinearLayer { weight, bias });
        } else if id.role == Role::Sinks {
            weights.sinks(checkpoint.read(id).unwrap());
        } else {
            weights.norm(id.role, weight);
        }
    }
    weights
}

/// Hidden states after one layer, and per token the experts it went to.
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
    let chosen = routed.chosen.chunks(experts.per_token).map(|row| sorted(row.to_vec()));
    let chosen = chosen.collect();
    (routed.finish(&x).unwrap(), chosen)
}

fn sorted(mut experts: Vec<u32>) -> Vec<u32> {
    experts.sort_unstable();
    experts
}

/// Logits and routes of one sequence.
fn logits(checkpoint: &Checkpoint, ids: &[u32]) -> (Vec<f32>, Routes) {
    let ids = Tensor::new(ids, &Device::Cpu).unwrap();
    let tokens = ids.dims1().unwrap();
    let embedding = tensor(checkpoint, TensorId::model(Role::Embedding));
    let rope = RopeTables::new(&checkpoint.config, tokens, &Device::Cpu).unwrap();
    let mut x = embedding.index_select(&ids, 0).unwrap();
    let mut routes = Vec::new();
    for number in 0..checkpoint.config.layers {
        let (next, chosen) = layer(checkpoint, number, &x, &rope);
        routes.push(chosen);
        x = next;
    }
    let gain = tensor(checkpoint, TensorId::model(Role::FinalNorm));
    let normed = model::final_norm(&x, &gain, 0..tokens, &checkpoint.config).unwrap();
    let head = tensor(checkpoint, checkpoint.head());
    (model::values(&model::logits(&normed, &head).unwrap()).unwrap(), routes)
}

fn unsigned(ids: &[i64]) -> Vec<u32> {
    ids.iter().map(|&id| id as u32).collect()
}

// Each test binary that includes this file uses one of the two.
#[allow(dead_code)]
/// Compares the model's logits with those of the golden file, and its routes with those of the
/// files given (`router.<layer>.indices`, tokens of all sequences in a row); returns the largest
/// difference of a logit.
///
/// # Panics
/// Where logits differ by more than `max_abs`, or a token goes to other experts.
pub fn check(model: &Path, golden: &Path, routes: Option<&Path>, max_abs: f32) -> f32 {
    check_opened(&Checkpoint::open(model).unwrap(), golden, routes, max_abs)
}

#[allow(dead_code)]
/// As [`check`], for a checkpoint that is open already.
pub fn check_opened(
    checkpoint: &Checkpoint,
    golden: &Path,
    routes: Option<&Path>,
    max_abs: f32,
) -> f32 {
    let load = |path| candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let golden = load(golden);
    let sequences = golden["input_ids"].to_vec2::<i64>().unwrap();
    let expected = golden["logits"].to_vec3::<f32>().unwrap();
    let mut largest = 0f32;
    let mut found_routes = vec![Vec::new(); checkpoint.config.layers];
    for (ids, expected) in sequences.iter().zip(&expected) {
        let (found, of_layers) = logits(checkpoint, &unsigned(ids));
        let expected = expected.concat();
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().all(|logit| logit.is_finite()), "{}", checkpoint.name);
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= max_abs, "{}: logits differ by {worst:e}", checkpoint.name);
        largest = largest.max(worst);
        for (all, tokens) in found_routes.iter_mut().zip(of_layers) {
            all.extend(tokens);
        }
    }
    eprintln!("{}: max abs difference {largest:e}", checkpoint.name);
    if let Some(routes) = routes.map(load) {
        for (layer, found) in found_routes.iter().enumerate() {
            let expected = routes[&format!("router.{layer}.indices")].to_vec2::<i64>().unwrap();
            let expected: Vec<_> = expected.iter().map(|row| sorted(unsigned(row))).collect();
            assert!(!expected.is_empty());
            assert_eq!(found, &expected, "{}: routes of layer {layer}", checkpoint.name);
        }
    }
    largest
}
