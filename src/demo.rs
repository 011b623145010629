//! The demo: a small Llama-style model and the text it is scored on, embedded in the binary.
//!
//! The scripts in `datasets/demo` make both. The text comes from a grammar whose entropy is known,
//! so the demo's table can show the lowest loss that any model can reach.

use crate::checkpoint::Embedded;

/// The name of the demo, which can be given in place of a checkpoint or a text.
pub const NAME: &str = "demo";

/// The model.
pub const MODEL: Embedded = Embedded {
    name: NAME,
    config: include_bytes!("../datasets/demo/model/config.json"),
    weights: include_bytes!("../datasets/demo/model/model.safetensors"),
    tokenizer: include_bytes!("../datasets/demo/model/tokenizer.json"),
    tokenizer_config: include_bytes!("../datasets/demo/model/tokenizer_config.json"),
};

/// The evaluation text.
pub const TEXT: &str = include_str!("../datasets/demo/text.txt");

/// Tokens per window that the model was made for.
pub const WINDOW_TOKENS: usize = 256;

/// Entropy of the source of [`TEXT`] in nats per byte, as its generator computed it.
pub fn entropy_nats_per_byte() -> Option<f64> {
    let facts: serde_json::Value =
        serde_json::from_str(include_str!("../datasets/demo/text.json")).ok()?;
    Some(facts["entropy_nats"].as_f64()? / facts["size_bytes"].as_f64()?)
}
