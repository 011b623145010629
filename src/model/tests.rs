//! What Metal and Accelerate compute: the operations of candle that replace this crate's own, and
//! the operands that the two backends take.

use candle_core::{Device, Layout, Result, Tensor};

use super::backend::candles_alone;
use super::ops::{self, AttentionMask};
use super::{
    Block, BlockWeights, DifferentiableBlock, HeadSlice, LinearLayer, Mlp, NormLayer, RopeTables,
    final_norm, logits, values,
};
use crate::checkpoint::config::Config;
use crate::checkpoint::{Role, TensorId};

/// Bound on the difference between candle's operations and this crate's own, relative to the
/// largest value.
const AGREES: f32 = 1e-5;

/// The sizes of a product `[m, k]` by `[k, n]`, and the strides of its operands' last two axes.
struct Sizes {
    m: usize,
    n: usize,
    k: usize,
    lhs: [usize; 2],
    rhs: [usize; 2],
}

impl Sizes {
    fn of((lhs, rhs): &(Layout, Layout)) -> Sizes {
        let last = |of: &[usize]| [of[of.len() - 2], of[of.len() - 1]];
        let ([m, k], [inner, n]) = (last(lhs.dims()), last(rhs.dims()));
        assert_eq!(k, inner);
        Sizes { m, n, k, lhs: last(lhs.stride()), rhs: last(rhs.stride()) }
    }

    /// candle-metal-kernels 0.11.1, src/kernels/mlx_gemm.rs, lines 494 to 518.
    fn metal_takes(&self) -> bool {
        let &Sizes { m, n, k, lhs: [lhs_m2, lhs_m1], rhs: [rhs_m2, rhs_m1] } = self;
        let lhs = (lhs_m1 == 1 || k == 1) && (lhs_m2 == k || m == 1)
            || (lhs_m1 == m || k == 1) && (lhs_m2 == 1 || m == 1);
        let rhs = (rhs_m1 == 1 || n == 1) && (rhs_m2 == n || k == 1)
            || (rhs_m1 == k || n == 1) && (rhs_m2 == 1 || k == 1);
        lhs && rhs
    }

    /// candle-core 0.11.1, src/cpu_backend/mod.rs, lines 1556 to 1570.
    fn accelerate_takes(&self) -> bool {
        let &Sizes { m, n, k, lhs: [lhs_m2, lhs_m1], rhs: [rhs_m2, rhs_m1] } = self;
        let rhs = (rhs_m1 == 1 || n == 1) && (rhs_m2 == n || k == 1) || rhs_m1 == k && rhs_m2 == 1;
        let lhs = (lhs_m1 == 1 || k == 1) && (lhs_m2 == k || m == 1) || lhs_m1 == m && lhs_m2 == 1;
        lhs && rhs
    }
}

/// Values between -`size` and `size` that differ from tensor to tensor.
fn tensor(shape: &[usize], size: f32, seed: f32) -> Tensor {
    let len: usize = shape.iter().product();
    let values: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37 + seed).sin() * size).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn weights(config: &Config, ids: Vec<TensorId>) -> BlockWeights {
    let mut weights = BlockWeights::default();
    for (at, id) in ids.into_iter().enumerate().filter(|(_, id)| !id.bias) {
        let weight = tensor(&config.shape_of(id), 0.5, at as f32);
        if id.role.is_linear() || id.role == Role::Router {
            let bias = config.has_bias(id);
            let bias = bias.then(|| tensor(&config.shape_of(id.with_bias()), 0.5, at as f32 + 0.5));
            weights.linear(id.role, LinearLayer { weight, bias });
        } else if id.role == Role::Sinks {
            weights.sinks(values(&weight).unwrap());
        } else {
            weights.vector(id.role, weight);
        }
    }
    weights
}

/// A small model of a family, with each number of key/value heads that 4 heads can have.
fn configs(family: &str) -> Vec<Config> {
    let of = |own: &str| {
        let text = format!(
            r#"{{"model_type": "{family}", "hidden_size": 16, "intermediate_size": 24,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "vocab_size": 11, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
            "tie_word_embeddings": true {own}}}"#
        );
        Config::from_json(text.as_bytes()).unwrap()
    };
    let family = match family {
        "qwen3" => of(r#", "head_dim": 8"#),
        "qwen3_moe" => of(r#", "head_dim": 8, "num_experts": 3, "num_experts_per_tok": 2,
            "moe_intermediate_size": 24, "norm_topk_prob": true"#),
        "gpt_oss" => {
            of(r#", "num_local_experts": 3, "num_experts_per_tok": 2, "swiglu_limit": 0.4,
            "attention_bias": true, "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention"]"#)
        }
        _ => of(""),
    };
    [1, 2, 4].map(|kv_heads| Config { kv_heads, ..family.clone() }).into()
}

const FAMILIES: [&str; 5] = ["llama", "qwen2", "qwen3", "qwen3_moe", "gpt_oss"];

/// Tokens of a window: one, few, and more than a block of queries holds.
const WINDOWS: [usize; 5] = [1, 2, 7, 129, 300];

/// The logits of a window after all blocks.
fn run(config: &Config, tokens: usize) -> Vec<f32> {
    let rope = RopeTables::new(config, tokens, &Device::Cpu).unwrap();
    let mut x = tensor(&[tokens, config.hidden_size], 2.0, 0.1);
    for layer in 0..config.layers {
        let block = weights(config, config.block_tensors(layer));
        let block = Block::new(config, layer, block).unwrap();
        let (next, routed) = block.forward(&x, &rope).unwrap();
        x = next;
        let (Some(mut routed), Some(experts)) = (routed, &config.experts) else { continue };
        for expert in 0..experts.count {
            let mlp = weights(config, config.expert_tensors(layer, expert));
            let mlp = Mlp::new(config, mlp).unwrap();
            routed.apply(expert, |x| mlp.forward(x)).unwrap();
        }
        x = routed.finish(&x, 1.0).unwrap();
    }
    let gain = tensor(&[config.hidden_size], 1.0, 0.2);
    let head = tensor(&[config.vocab_size, config.hidden_size], 0.5, 0.3);
    let norm = NormLayer::rms(gain, config.norm.eps);
    let normed = final_norm(&x, &norm, 0..tokens).unwrap();
    let head = HeadSlice { weight: head, bias: None };
    values(&logits(&normed, &head, config).unwrap()).unwrap()
}

fn check_agreement(name: &str, own: &[f32], candles: &[f32]) {
    assert_eq!(own.len(), candles.len(), "{name}");
    let largest = own.iter().fold(1.0f32, |most, v| most.max(v.abs()));
    let worst = own.iter().zip(candles).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= AGREES * largest, "{name}: {worst} of {largest}");
}

#[test]
fn every_family_is_computed_alike_with_operands_that_metal_and_accelerate_take() {
    for config in FAMILIES.into_iter().flat_map(configs) {
        for tokens in WINDOWS {
            let name = format!("{}, {} kv heads, {tokens}", config.family, config.kv_heads);
            let own = run(&config, tokens);
            let (candles, products) = candles_alone::run(|| run(&config, tokens));
            check_agreement(&name, &own, &candles);
            // Queries, keys, values, scores, attention, output; gate, up and down, or router and experts.
            assert!(products.len() > 9 * config.layers, "{name}: {}", products.len());
            for operands in &products {
                let sizes = Sizes::of(operands);
                assert!(sizes.metal_takes(), "{name}: Metal refuses {operands:?}");
                assert!(sizes.accelerate_takes(), "{name}: Accelerate refuses {operands:?}");
            }
        }
    }
}

#[test]
fn a_block_that_is_differentiated_multiplies_operands_that_metal_and_accelerate_take() {
    let dense = ["llama", "qwen2", "qwen3"];
    for config in dense.into_iter().flat_map(configs) {
        for tokens in WINDOWS {
            let rope = RopeTables::new(&config, tokens, &Device::Cpu).unwrap();
            let x = tensor(&[tokens, config.hidden_size], 2.0, 0.1);
            let block = weights(&config, config.block_tensors(0));
            let block = DifferentiableBlock::new(&config, 0, block).unwrap();
            let (_, products) = candles_alone::run(|| block.forward(&x, &rope).unwrap());
            assert_eq!(products.len(), 9);
            for operands in &products {
                let sizes = Sizes::of(operands);
                assert!(sizes.metal_takes() && sizes.accelerate_takes(), "{operands:?}");
            }
        }
    }
}

/// Checks that an operation computes the same with candle's operations.
fn check_operation(name: &str, compute: impl Fn() -> Result<Tensor>) {
    let own = values(&compute().unwrap()).unwrap();
    let (candles, _) = candles_alone::run(|| values(&compute().unwrap()).unwrap());
    check_agreement(name, &own, &candles);
}

/// Those that refuse a tensor on Metal because it is not contiguous refuse it on the CPU, too.
#[test]
fn candles_operations_compute_what_our_own_compute() {
    let (x, y) = (tensor(&[9, 40], 8.0, 0.0), tensor(&[9, 40], 8.0, 1.0));
    let gain = tensor(&[40], 1.0, 2.0);
    check_operation("rms_norm", || ops::rms_norm(&x, &gain, 1e-5));
    check_operation("swiglu", || ops::swiglu(x.copy()?, &y));
    check_operation("clamped_swiglu", || ops::clamped_swiglu(x.copy()?, &y, 7.0));
    check_operation("add", || ops::add(x.copy()?, &y));
    for (first, window, sinks) in [
        (0, None, None),
        (3, None, Some(vec![0.5, -2.0])),
        (3, Some(2), None),
        (3, Some(2), Some(vec![9.0, 0.0])),
    ] {
        let mask = AttentionMask { scale: 0.5, first, window, sinks };
        let scores = tensor(&[2, 5, first + 5], 6.0, 3.0);
        check_operation("masked_softmax", || ops::masked_softmax(scores.copy()?, &mask));
    }
}
