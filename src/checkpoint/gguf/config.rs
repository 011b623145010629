//! Reads the architecture's numbers from a GGUF file's metadata.
//!
//! The computation may depend on any key under the architecture's own prefix. Such a key is
//! therefore used, known to have no effect, or refused by name, because a model that computes
//! something else must not be scored as if it did not.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::checkpoint::config::{Config, Rope, RopeScaling};
use crate::checkpoint::config_json;
use crate::error::{Error, Result};

use super::header::TensorEntry;
use super::metadata::{Metadata, MetadataValue};

/// Keys (after `{architecture}.`) that are read here.
const USED: [&str; 15] = [
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.layer_norm_rms_epsilon",
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scale_linear",
    "attention.causal",
];

/// Keys that llama.cpp reads for other purposes, or not at all, for these architectures.
const WITHOUT_EFFECT: [&str; 4] = [
    // The number of rows of the embedding is used instead.
    "vocab_size",
    // The architecture decides the order of rows.
    "tensor_data_layout",
    // Used only by yarn and longrope, which are refused.
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
];

/// Keys that have no effect at this value.
const WITHOUT_EFFECT_AT: [(&str, f64); 9] = [
    ("expert_count", 0.0),
    ("expert_used_count", 0.0),
    ("attention.sliding_window", 0.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("rope.scaling.attn_factor", 1.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
    ("embedding_scale", 1.0),
];

/// Most blocks. No model in use has more; the limit keeps loops short if a file is damaged.
const MAX_LAYERS: usize = 4096;

/// Reads the configuration. `tensors` have the file's names; `factors` are those of
/// `rope_freqs.weight`.
pub(super) fn read(
    metadata: &Metadata,
    tensors: &BTreeMap<String, TensorEntry>,
    factors: Option<Vec<f32>>,
) -> Result<Config> {
    refuse_others(metadata)?;
    let family = architecture(metadata)?;
    let keys = MetadataKeys { metadata, prefix: family };
    keys.refuse_unknown()?;
    let layers = keys.size("block_count")?;
    if layers > MAX_LAYERS {
        let key = keys.full("block_count");
        return Err(Error::input(format!("expected at most {MAX_LAYERS}, found {layers}"))
            .at(format!("key {key}")));
    }
    let heads = keys.same_size("attention.head_count", layers);
    let heads = metadata.required(&keys.full("attention.head_count"), heads)?;
    let kv_heads = keys.same_size("attention.head_count_kv", layers)?.unwrap_or(heads);
    let hidden_size = keys.size("embedding_length")?;
    let head_dim = head_dim(&keys, hidden_size, heads)?;
    if !heads.is_multiple_of(kv_heads) {
        return Err(Error::input(format!(
            "expected key/value heads that divide the {heads} query heads, found {kv_heads}"
        )));
    }
    let intermediate_size = keys.same_size("feed_forward_length", layers);
    let intermediate_size =
        metadata.required(&keys.full("feed_forward_length"), intermediate_size)?;
    let embedding = tensors
        .get("token_embd.weight")
        .ok_or_else(|| Error::input("the tensor token_embd.weight is missing"))?;
    let any = |ends: &[&str]| {
        tensors.keys().any(|n| n.starts_with("blk.") && ends.iter().any(|end| n.ends_with(end)))
    };
    let keys_of_family = json!({
        "model_type": family,
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": embedding.shape.first().copied().unwrap_or(0),
        "max_position_embeddings": keys.size("context_length")?,
        "rms_norm_eps": keys.positive("attention.layer_norm_rms_epsilon", None)?,
        "tie_word_embeddings": !tensors.contains_key("output.weight"),
    });
    let map: Map<String, Value> = match keys_of_family {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    Ok(Config {
        qkv_bias: any(&[".attn_q.bias", ".attn_k.bias", ".attn_v.bias"]),
        output_bias: any(&[".attn_output.bias"]),
        mlp_bias: any(&[".ffn_gate.bias", ".ffn_up.bias", ".ffn_down.bias"]),
        ropes: vec![rope(&keys, head_dim, factors)?],
        ..config_json::read(map)?
    })
}

fn refuse_others(metadata: &Metadata) -> Result<()> {
    match metadata.text("general.type")? {
        None | Some("model") => Ok(()),
        Some(other) => {
            Err(Error::input(format!("expected a model, found a GGUF file of type {other}"))
                .at("key general.type"))
        }
    }
}

/// The file's architecture. Fails (input) if it is not supported, and names it.
pub(super) fn architecture(metadata: &Metadata) -> Result<&'static str> {
    let key = "general.architecture";
    match metadata.required(key, metadata.text(key))? {
        "llama" => Ok("llama"),
        "qwen2" => Ok("qwen2"),
        "qwen3" => Ok("qwen3"),
        other => Err(Error::input(format!("the architecture {other} is not supported"))
            .at(format!("key {key}"))
            .hint("evalkit supports llama, qwen2 and qwen3")),
    }
}

struct MetadataKeys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl MetadataKeys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    /// A positive number that fits a usize.
    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let full = self.full(key);
        self.metadata.integer(&full)?.map(|found| self.checked_size(key, found)).transpose()
    }

    fn checked_size(&self, key: &str, found: i128) -> Result<usize> {
        match u32::try_from(found) {
            Ok(size @ 1..) => Ok(size as usize),
            _ => Err(Error::input(format!("expected a positive 32-bit number, found {found}"))
                .at(format!("key {}", self.full(key)))),
        }
    }

    /// A positive number, or an array that repeats it for every layer.
    fn same_size(&self, key: &str, layers: usize) -> Result<Option<usize>> {
        let full = self.full(key);
        let Some(sizes) = self.metadata.per_layer(&full, layers)? else { return Ok(None) };
        let first = sizes.first().copied().unwrap_or(0);
        if let Some((layer, other)) = sizes.iter().enumerate().find(|(_, size)| **size != first) {
            return Err(Error::input(format!(
                "expected the same number in every layer, found {first} in layer 0 and {other} in layer {layer}"
            ))
            .at(format!("key {full}"))
            .hint("models whose layers have different sizes are not supported"));
        }
        self.checked_size(key, first.into()).map(Some)
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.metadata.required(&self.full(key), self.optional_size(key))
    }

    fn positive(&self, key: &str, default: Option<f64>) -> Result<f64> {
        let full = self.full(key);
        let found = self.metadata.float(&full).map(|f| f.or(default));
        let value = self.metadata.required(&full, found)?;
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        Err(Error::input(format!("expected a positive number, found {value}"))
            .at(format!("key {full}")))
    }

    fn refuse_unknown(&self) -> Result<()> {
        for (full, value) in self.metadata.iter() {
            let own = full.strip_prefix(self.prefix).and_then(|rest| rest.strip_prefix('.'));
            let Some(key) = own else { continue };
            if USED.contains(&key) || WITHOUT_EFFECT.contains(&key) {
                continue;
            }
            let found = match value {
                MetadataValue::Integer(value) => Some(*value as f64),
                MetadataValue::Float(value) => Some(*value),
                _ => None,
            };
            if WITHOUT_EFFECT_AT.iter().any(|&(k, inert)| k == key && found == Some(inert)) {
                continue;
            }
            return Err(Error::input(format!(
                "the key {full} asks for a computation that is not supported"
            ))
            .hint(
                "this variant of the architecture would be scored wrongly; use another checkpoint",
            ));
        }
        let causal = self.full("attention.causal");
        if self.metadata.boolean(&causal)? == Some(false) {
            return Err(Error::input(format!("the key {causal} asks for non-causal attention"))
                .hint("perplexity is defined for causal models only"));
        }
        Ok(())
    }
}

fn head_dim(keys: &MetadataKeys<'_>, hidden_size: usize, heads: usize) -> Result<usize> {
    let key = keys.optional_size("attention.key_length")?;
    let value = keys.optional_size("attention.value_length")?;
    let head_dim = match key {
        Some(len) => len,
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            return Err(Error::input(format!(
                "{heads} heads do not divide {hidden_size} dimensions"
            )));
        }
    };
    if !head_dim.is_multiple_of(2) {
        return Err(Error::input(format!("expected heads of even size, found {head_dim}")));
    }
    for (name, found) in [
        ("attention.value_length", value),
        ("rope.dimension_count", keys.optional_size("rope.dimension_count")?),
    ] {
        if found.is_some_and(|found| found != head_dim) {
            let found = found.unwrap_or(0);
            return Err(Error::input(format!("expected the head size {head_dim}, found {found}"))
                .at(format!("key {}", keys.full(name)))
                .hint(
                    "heads that rotate only some of their dimensions, or whose values have another size, are not supported",
                ));
        }
    }
    Ok(head_dim)
}

/// As in llama.cpp, a factor without a type is linear, and a factor of 0 means no scaling.
fn rope(keys: &MetadataKeys<'_>, head_dim: usize, factors: Option<Vec<f32>>) -> Result<Rope> {
    let theta = keys.positive("rope.freq_base", Some(10_000.0))?;
    let kind_key = keys.full("rope.scaling.type");
    let kind = keys.metadata.text(&kind_key)?.unwrap_or("linear");
    let factor = match keys.metadata.float(&keys.full("rope.scaling.factor"))? {
        Some(factor) => Some(factor),
        None => keys.metadata.float(&keys.full("rope.scale_linear"))?,
    };
    let scaling = match (kind, factor) {
        ("none", _) | ("linear", None) => RopeScaling::None,
        ("linear", Some(factor)) if factor == 0.0 || factor == 1.0 => RopeScaling::None,
        ("linear", Some(factor)) if factor.is_finite() && factor > 0.0 => {
            RopeScaling::Linear { factor }
        }
        ("linear", Some(factor)) => {
            return Err(Error::input(format!("expected a positive factor, found {factor}"))
                .at(format!("key {}", keys.full("rope.scaling.factor"))));
        }
        (other, _) => {
            return Err(Error::input(format!("the rope scaling {other} is not supported"))
                .at(format!("key {kind_key}"))
                .hint("evalkit supports none, linear, and factors in rope_freqs.weight"));
        }
    };
    let Some(factors) = factors else { return Ok(Rope { theta, rotated: head_dim, scaling }) };
    let place = "tensor rope_freqs.weight";
    if scaling != RopeScaling::None {
        return Err(
            Error::input("these factors cannot be combined with another rope scaling").at(place)
        );
    }
    if factors.len() != head_dim / 2 {
        let (expected, found) = (head_dim / 2, factors.len());
        return Err(Error::input(format!("expected {expected} factors, found {found}")).at(place));
    }
    if let Some(bad) = factors.iter().find(|f| !f.is_finite() || **f <= 0.0) {
        return Err(Error::input(format!("expected positive factors, found {bad}")).at(place));
    }
    Ok(Rope { theta, rotated: head_dim, scaling: RopeScaling::Factors(factors) })
}
