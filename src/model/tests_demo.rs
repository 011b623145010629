//! The demo's walk, operation by operation: what candle's operations and contiguous operands compute
//! next to this crate's own.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Result, Tensor};

use super::backend::{candles_alone, product};
use super::ops::{self, AttentionMask};
use super::{RopeTables, matrix, values, vector};
use crate::checkpoint::config::Config;
use crate::checkpoint::{Checkpoint, Role, TensorId};

/// Bound on the difference, relative to the largest value of a result.
const AGREES: f32 = 1e-5;

/// Tokens of the window, more than a block of queries holds.
const TOKENS: usize = 256;

/// A walk that computes every operation twice, and goes on with this crate's own result.
struct Twice<'a> {
    checkpoint: &'a Checkpoint,
    layer: Option<usize>,
    /// By operation, the largest difference and the largest value of its tensor.
    largest: BTreeMap<&'static str, [f32; 2]>,
}

impl Twice<'_> {
    fn tensor(&self, role: Role) -> Tensor {
        let is_it = |id: &TensorId| id.role == role && id.layer == self.layer && !id.bias;
        let (id, stored) = self.checkpoint.tensors().find(|(id, _)| is_it(id)).unwrap();
        let read = self.checkpoint.read(id).unwrap();
        if read.len() == stored.matrix()[1] && !role.is_linear() {
            return vector(read, &Device::Cpu).unwrap();
        }
        matrix(read, stored.matrix(), &Device::Cpu).unwrap()
    }

    fn run(&mut self, name: &'static str, compute: impl Fn() -> Result<Tensor>) -> Tensor {
        let own = compute().unwrap();
        let (candles, _) = candles_alone::run(|| compute().unwrap());
        let (a, b) = (values(&own).unwrap(), values(&candles).unwrap());
        let most = a.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= AGREES * most, "{name} in layer {:?}: {worst} of {most}", self.layer);
        let kept = self.largest.entry(name).or_default();
        if worst / most >= kept[0] / kept[1] || kept[1] == 0.0 {
            *kept = [worst, most];
        }
        own
    }

    fn norm(&mut self, x: &Tensor, role: Role, config: &Config) -> Tensor {
        let gain = self.tensor(role);
        self.run("rms_norm", || ops::rms_norm(x, &gain, config.norm.eps))
    }

    fn linear(&mut self, x: &Tensor, role: Role) -> Tensor {
        let weight = self.tensor(role);
        self.run("product with weights", || product(x, &weight.t()?))
    }

    /// `[heads, tokens, head_dim]`.
    fn heads(&mut self, x: &Tensor, role: Role, rope: Option<&RopeTables>) -> Tensor {
        let head_dim = self.checkpoint.config.head_dim;
        let flat = self.linear(x, role);
        let heads = flat.reshape((TOKENS, flat.dim(1).unwrap() / head_dim, head_dim)).unwrap();
        let heads = heads.transpose(0, 1).unwrap().contiguous().unwrap();
        let Some(rope) = rope else { return heads };
        let x = heads.unsqueeze(0).unwrap();
        let rotation = rope.rotation(0, TOKENS).unwrap();
        candle_nn::rotary_emb::rope(&x, &rotation.cos, &rotation.sin).unwrap().squeeze(0).unwrap()
    }

    fn attention(&mut self, x: &Tensor, config: &Config, rope: &RopeTables) -> Tensor {
        let q = self.heads(x, Role::Query, Some(rope));
        let (k, v) = (self.heads(x, Role::Key, Some(rope)), self.heads(x, Role::Value, None));
        let group = config.heads / config.kv_heads;
        let q = q.reshape((config.kv_heads, group * TOKENS, config.head_dim)).unwrap();
        let scores = self.run("product with keys", || product(&q, &k.t()?));
        let scores = scores.reshape((config.heads, TOKENS, TOKENS)).unwrap();
        let scale = 1.0 / (config.head_dim as f32).sqrt();
        let mask = AttentionMask { scale, first: 0, window: None, sinks: None };
        let weights = self.run("masked_softmax", || ops::masked_softmax(scores.copy()?, &mask));
        let weights = weights.reshape((config.kv_heads, group * TOKENS, TOKENS)).unwrap();
        let attended = self.run("product with values", || product(&weights, &v));
        let attended = attended.reshape((config.heads, TOKENS, config.head_dim)).unwrap();
        let attended = attended.transpose(0, 1).unwrap().contiguous().unwrap();
        attended.reshape((TOKENS, config.heads * config.head_dim)).unwrap()
    }

    fn block(&mut self, x: &Tensor, config: &Config, rope: &RopeTables) -> Tensor {
        let normed = self.norm(x, Role::AttentionNorm, config);
        let attended = self.attention(&normed, config, rope);
        let output = self.linear(&attended, Role::Output);
        let x = self.run("add", || ops::add(x.copy()?, &output));
        let normed = self.norm(&x, Role::MlpNorm, config);
        let (gate, up) = (self.linear(&normed, Role::Gate), self.linear(&normed, Role::Up));
        let inner = self.run("swiglu", || ops::swiglu(gate.copy()?, &up));
        let down = self.linear(&inner, Role::Down);
        self.run("add", || ops::add(x.copy()?, &down))
    }
}

#[test]
fn every_operation_of_the_demos_walk_agrees_with_candles() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo/model");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let config = &checkpoint.config;
    let rope = RopeTables::new(config, TOKENS, &Device::Cpu).unwrap();
    let mut walk = Twice { checkpoint: &checkpoint, layer: None, largest: BTreeMap::new() };
    let ids: Vec<u32> = (0..TOKENS).map(|at| (at * 37 % config.vocab_size) as u32).collect();
    let embedding = walk.tensor(Role::Embedding);
    let ids = Tensor::new(ids, &Device::Cpu).unwrap();
    let mut x = embedding.index_select(&ids, 0).unwrap();
    for layer in 0..config.layers {
        walk.layer = Some(layer);
        x = walk.block(&x, config, &rope);
    }
    walk.layer = None;
    let normed = walk.norm(&x, Role::FinalNorm, config);
    let head = walk.tensor(checkpoint.head().role);
    walk.run("product with the head", || product(&normed, &head.t()?));
    println!("largest differences, with the largest value of the result:");
    for (name, [worst, most]) in &walk.largest {
        println!("  {name}: {worst:.1e} of {most:.1e}, {:.1e}", worst / most);
    }
    assert_eq!(walk.largest.len(), 8);
}
