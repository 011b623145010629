//! The block that is differentiated is the block that is scored, and its derivatives are what small
//! changes do.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;

use crate::fixtures::{self, forward};
use candle_core::{Device, Tensor};
use evalkit::checkpoint::Checkpoint;
use evalkit::demo;
use evalkit::model::{Block, DifferentiableBlock, NormLayer, RopeTables, norm_gradients};

const TOKENS: usize = 12;

fn differentiable(checkpoint: &Checkpoint, layer: usize) -> DifferentiableBlock {
    let weights = forward::weights(checkpoint, checkpoint.config.block_tensors(layer));
    DifferentiableBlock::new(&checkpoint.config, layer, weights).unwrap()
}

/// States of some tokens, and positions.
fn states(checkpoint: &Checkpoint) -> (Tensor, RopeTables) {
    let hidden = checkpoint.config.hidden_size;
    let values: Vec<f32> = (0..TOKENS * hidden).map(|i| (i as f32 * 0.37).sin() * 2.0).collect();
    let x = Tensor::from_vec(values, (TOKENS, hidden), &Device::Cpu).unwrap();
    (x, RopeTables::new(&checkpoint.config, TOKENS, &Device::Cpu).unwrap())
}

/// Every committed family whose blocks can be tuned.
fn families() -> Vec<Checkpoint> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let opened = paths.iter().filter_map(|path| Checkpoint::open(path).ok());
    opened.filter(|checkpoint| checkpoint.config.untunable().is_none()).collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn checkpoints() -> Vec<Checkpoint> {
    let golden = ["llama", "qwen2", "qwen3"].map(|name| format!("models/golden/{name}"));
    let golden = golden.iter().filter_map(|name| fixtures::shared(name));
    let mut all: Vec<Checkpoint> = golden.map(|path| Checkpoint::open(&path).unwrap()).collect();
    all.push(Checkpoint::open_embedded(&demo::MODEL).unwrap());
    all
}

#[test]
fn it_computes_what_the_block_computes() {
    let families = families();
    assert!(families.len() > 50, "{} families", families.len());
    for checkpoint in checkpoints().into_iter().chain(families) {
        let (x, rope) = states(&checkpoint);
        for layer in 0..checkpoint.config.layers {
            let weights = forward::weights(&checkpoint, checkpoint.config.block_tensors(layer));
            let block = Block::new(&checkpoint.config, layer, weights).unwrap();
            let wanted = values(&block.forward(&x, &rope).unwrap().0);
            let found = values(&differentiable(&checkpoint, layer).forward(&x, &rope).unwrap());
            let size = wanted.iter().fold(0.0f32, |most, v| most.max(v.abs()));
            let worst = wanted.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let name = &checkpoint.name;
            assert!(worst <= 4e-6 * size, "{name}, layer {layer}: {worst} of {size}");
        }
    }
}

/// Along the derivative itself, a loss changes by its square.
fn along(name: &str, gradient: &Tensor, moved: &dyn Fn(f32) -> f64) {
    let square: f64 = values(gradient).iter().map(|g| f64::from(*g).powi(2)).sum();
    let step = 0.02 / square.sqrt();
    let slope = |step: f64| (moved(step as f32) - moved(-step as f32)) / (2.0 * step);
    // Without the error that is of third order in the step.
    let change = (4.0 * slope(step / 2.0) - slope(step)) / 3.0;
    assert!((change / square - 1.0).abs() < 0.01, "{name}: {change}, expected {square}");
}

#[test]
fn derivatives_of_a_norm_are_what_small_changes_do() {
    let tensor = |len: usize, shape: &[usize]| {
        let values: Vec<f32> = (0..len).map(|i| (i as f32 * 0.71).sin() + 0.2).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let (x, gain, factors) = (tensor(24, &[3, 8]), tensor(8, &[8]), tensor(24, &[3, 8]));
    let norm = NormLayer::rms(gain.clone(), 1e-5);
    let (by_x, by_gain) = norm_gradients(&x, &norm, &factors).unwrap();
    let by_gain = by_gain.unwrap();
    let loss = |x: &Tensor, gain: &Tensor| -> f64 {
        let (x, gain, factors) = (values(x), values(gain), values(&factors));
        let row = |(x, factors): (&[f32], &[f32])| {
            let square = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 8.0;
            let scaled = x.iter().zip(&gain).map(|(x, g)| f64::from(*x) * f64::from(*g));
            let terms = scaled.zip(factors).map(|(y, f)| y * f64::from(*f));
            terms.sum::<f64>() / (square + 1e-5).sqrt()
        };
        x.chunks(8).zip(factors.chunks(8)).map(row).sum()
    };
    let moved = |x: &Tensor, by: &Tensor, step: f32| (x + (by * f64::from(step)).unwrap()).unwrap();
    along("x", &by_x, &|step| loss(&moved(&x, &by_x, step), &gain));
    along("gain", &by_gain, &|step| loss(&x, &moved(&gain, &by_gain, step)));
}

#[test]
fn derivatives_are_what_small_changes_do() {
    let demo = Checkpoint::open_embedded(&demo::MODEL).unwrap();
    assert_eq!(check_derivatives(&demo, 0), 9);
    for checkpoint in families() {
        // The last layer is the one with a window or without rotation, where layers differ.
        check_derivatives(&checkpoint, checkpoint.config.layers - 1);
    }
}

/// Compares the derivatives of a block with small changes, and returns the number of its variables.
fn check_derivatives(checkpoint: &Checkpoint, layer: usize) -> usize {
    let (x, rope) = states(checkpoint);
    let block = differentiable(checkpoint, layer);
    let factors: Vec<f32> = (0..x.elem_count()).map(|i| (i as f32 * 1.3).cos()).collect();
    let factors = Tensor::from_vec(factors, x.shape(), &Device::Cpu).unwrap();
    let weigh = |_: &Tensor| Ok(factors.clone());
    let gradients = block.gradients(&x, &rope, true, weigh).unwrap();
    let loss = |x: &Tensor| -> f64 {
        let y = values(&block.forward(x, &rope).unwrap());
        y.iter().zip(values(&factors)).map(|(y, f)| f64::from(*y) * f64::from(f)).sum()
    };
    for (role, gradient) in &gradients.weights {
        let variable = block.variable(*role).unwrap();
        let start = variable.as_tensor().copy().unwrap();
        along(&format!("{} {role:?}", checkpoint.name), gradient, &|step| {
            let change = (gradient * f64::from(step)).unwrap();
            variable.set(&(&start + change).unwrap()).unwrap();
            let loss = loss(&x);
            variable.set(&start).unwrap();
            loss
        });
    }
    let input = gradients.input.unwrap();
    let moved = |step: f32| loss(&(&x + (&input * f64::from(step)).unwrap()).unwrap());
    along(&format!("{} input", checkpoint.name), &input, &moved);
    gradients.weights.len()
}
