//! A decoder block of SmolLM2-135M's shape with random weights, and the floating-point operations
//! that it takes: two per multiply-add, products only. Of attention only the pairs are counted that a
//! causal model needs, query `t` with the keys `0..=t`; norms, rotations, softmax and the work on
//! masked pairs are time without operations.

use candle_core::{Device, Tensor};
use evalkit::checkpoint::Role;
use evalkit::checkpoint::config::Config;
use evalkit::model::{Block, BlockWeights, LinearLayer};

/// Tokens per window.
pub const TOKENS: usize = 512;
/// Side of the square matrices that candle multiplies for comparison.
pub const SIDE: usize = 2048;

/// SmolLM2-135M's numbers.
pub fn config() -> Config {
    Config::from_json(
        br#"{"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
            "head_dim": 64, "vocab_size": 49152, "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "tie_word_embeddings": true}"#,
    )
    .expect("a configuration")
}

/// `[rows, columns]` of bell-shaped numbers.
pub fn random(rows: usize, columns: usize, deviation: f32) -> Tensor {
    Tensor::randn(0.0, deviation, (rows, columns), &Device::Cpu).expect("memory")
}

/// The linear layers of a block: role, rows, columns.
fn linears(config: &Config) -> [(Role, usize, usize); 7] {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    [
        (Role::Query, queries, hidden),
        (Role::Key, keys, hidden),
        (Role::Value, keys, hidden),
        (Role::Output, hidden, queries),
        (Role::Gate, inner, hidden),
        (Role::Up, inner, hidden),
        (Role::Down, hidden, inner),
    ]
}

/// A block with random weights.
pub fn block(config: &Config) -> Block {
    let mut weights = BlockWeights::default();
    for (role, rows, columns) in linears(config) {
        weights.linear(role, LinearLayer { weight: random(rows, columns, 0.04), bias: None });
    }
    for role in [Role::AttentionNorm, Role::MlpNorm] {
        weights.vector(role, random(1, config.hidden_size, 1.0).flatten_all().expect("a view"));
    }
    Block::new(config, 0, weights).expect("every role is there")
}

/// Floating-point operations that one window needs in a block.
pub fn operations(config: &Config, tokens: usize) -> u64 {
    let weights: usize = linears(config).iter().map(|(_, rows, columns)| rows * columns).sum();
    let pairs = tokens * (tokens + 1) / 2 * config.heads;
    // A pair of query and key takes one product for the score and one with the value.
    2 * (tokens * weights + pairs * 2 * config.head_dim) as u64
}
