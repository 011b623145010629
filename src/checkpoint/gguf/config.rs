//! Reads the architecture's numbers from a GGUF file's metadata.
//!
//! The computation may depend on any key under the architecture's own prefix. Such a key is
//! therefore used, known to have no effect, or refused by name, because a model that computes
//! something else must not be scored as if it did not.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::checkpoint::config::{Config, Rope, RopeScaling};
use crate::checkpoint::config_json;
use crate::error::{Error, Result};

use super::architectures::{self, Architecture};
use super::header::TensorEntry;
use super::metadata::{Metadata, MetadataValue};

/// Keys (after `{architecture}.`) that are read here.
const USED: [&str; 20] = [
    "rope.scaling.attn_factor",
    "attention.sliding_window_pattern",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
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
const WITHOUT_EFFECT: [&str; 3] = [
    // The number of rows of the embedding is used instead.
    "vocab_size",
    // The architecture decides the order of rows.
    "tensor_data_layout",
    "rope.scaling.finetuned",
];

/// Keys that have no effect at this value.
const WITHOUT_EFFECT_AT: [(&str, f64); 8] = [
    ("expert_count", 0.0),
    ("expert_used_count", 0.0),
    ("attention.sliding_window", 0.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
    ("embedding_scale", 1.0),
];

/// Most blocks. No model in use has more; the limit keeps loops short if a file is damaged.
const MAX_LAYERS: usize = 4096;

/// Divisors of rotary frequencies that a file stores as tensors.
#[derive(Debug, Default)]
pub(super) struct RopeFactors {
    /// `rope_freqs.weight`.
    pub all: Option<Vec<f32>>,
    /// `rope_factors_short.weight`.
    pub short: Option<Vec<f32>>,
    /// `rope_factors_long.weight`.
    pub long: Option<Vec<f32>>,
}

/// Reads the configuration. `tensors` have the file's names.
pub(super) fn read(
    metadata: &Metadata,
    architecture: &'static Architecture,
    tensors: &BTreeMap<String, TensorEntry>,
    factors: RopeFactors,
) -> Result<Config> {
    refuse_others(metadata)?;
    let keys = MetadataKeys { metadata, architecture };
    keys.refuse_unknown()?;
    let layers = keys.size("block_count")?;
    if layers > MAX_LAYERS {
        let key = keys.full("block_count");
        return Err(Error::input(format!("expected at most {MAX_LAYERS}, found {layers}"))
            .at(format!("key {key}")));
    }
    let heads = keys.same_size("attention.head_count", layers);
    let heads = metadata.required(&keys.full("attention.head_count"), heads)?;
    let (kv_heads, is_conv) = keys.kv_heads(layers)?;
    let kv_heads = kv_heads.unwrap_or(heads);
    let hidden_size = keys.size("embedding_length")?;
    let (head_dim, rotated) = head_dim(&keys, hidden_size, heads)?;
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
    let eps = keys.positive("attention.layer_norm_rms_epsilon", None)?;
    let mut map = keys.of_family(layers)?;
    map.extend([
        ("model_type".to_owned(), Value::from(architecture.family)),
        ("hidden_size".to_owned(), hidden_size.into()),
        ("intermediate_size".to_owned(), intermediate_size.into()),
        ("num_hidden_layers".to_owned(), layers.into()),
        ("num_attention_heads".to_owned(), heads.into()),
        ("num_key_value_heads".to_owned(), kv_heads.into()),
        ("head_dim".to_owned(), head_dim.into()),
        ("vocab_size".to_owned(), embedding.shape.first().copied().unwrap_or(0).into()),
        ("max_position_embeddings".to_owned(), keys.size("context_length")?.into()),
        (architecture.eps_key().to_owned(), eps.into()),
        ("tie_word_embeddings".to_owned(), (!tensors.contains_key("output.weight")).into()),
    ]);
    if is_conv.contains(&true) {
        let kind = |conv: &bool| if *conv { "conv" } else { "full_attention" };
        let types: Vec<&str> = is_conv.iter().map(kind).collect();
        map.insert("layer_types".to_owned(), types.into());
    }
    let mut config = config_json::read(map)?;
    if let Some(first) = config.ropes.first_mut() {
        *first = rope(&keys, rotated, factors)?;
    }
    if architecture.family.starts_with("gemma")
        && config.layers
            == architectures::GEMMA_27B_LAYERS[usize::from(architecture.family != "gemma2")]
    {
        config.attention_scale = 1.0 / ((hidden_size / heads.max(1)) as f32).sqrt();
    }
    Ok(Config {
        qkv_bias: any(&[".attn_q.bias", ".attn_k.bias", ".attn_v.bias", ".attn_qkv.bias"]),
        output_bias: any(&[".attn_output.bias"]),
        mlp_bias: any(&[".ffn_gate.bias", ".ffn_up.bias", ".ffn_down.bias"]),
        ..config
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
pub(super) fn architecture(metadata: &Metadata) -> Result<&'static Architecture> {
    let key = "general.architecture";
    let name = metadata.required(key, metadata.text(key))?;
    architectures::named(name).ok_or_else(|| {
        let known: Vec<&str> = architectures::ARCHITECTURES.iter().map(|one| one.name).collect();
        Error::input(format!("the architecture {name} is not supported"))
            .at(format!("key {key}"))
            .hint(format!("evalkit supports {}", known.join(", ")))
    })
}

struct MetadataKeys<'a> {
    metadata: &'a Metadata,
    architecture: &'static Architecture,
}

impl MetadataKeys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture.name)
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

    /// Key/value heads, and for each layer whether it has none and so is a convolution.
    fn kv_heads(&self, layers: usize) -> Result<(Option<usize>, Vec<bool>)> {
        let key = "attention.head_count_kv";
        if self.architecture.family != "lfm2" {
            return Ok((self.same_size(key, layers)?, Vec::new()));
        }
        let all = self.metadata.per_layer(&self.full(key), layers)?.unwrap_or_default();
        let most = all.iter().copied().max().unwrap_or(0);
        if let Some(other) = all.iter().find(|heads| **heads != 0 && **heads != most) {
            return Err(Error::input(format!(
                "expected 0 or the same number in every layer, found {other} and {most}"
            ))
            .at(format!("key {}", self.full(key))));
        }
        let heads = self.checked_size(key, most.into())?;
        Ok((Some(heads), all.iter().map(|heads| *heads == 0).collect()))
    }

    /// The keys that the architecture has in common with its family's configuration, and what it implies.
    fn of_family(&self, layers: usize) -> Result<Map<String, Value>> {
        let architecture = self.architecture;
        let mut map: Map<String, Value> =
            serde_json::from_str(architecture.implied).map_err(|e| {
                Error::bug(format!("what {} implies is no JSON", architecture.name)).because(e)
            })?;
        for (key, ours) in architecture.keys {
            let full = self.full(key);
            let value = match self.metadata.get(&full) {
                None if *ours == "sliding_window" && architecture.family != "gemma2" => Value::Null,
                None => continue,
                Some(MetadataValue::Integer(number)) => match u32::try_from(*number) {
                    Ok(0) if *ours == "sliding_window" => Value::Null,
                    Ok(number) => number.into(),
                    Err(_) => {
                        return Err(Error::input(format!(
                            "expected a 32-bit number, found {number}"
                        ))
                        .at(format!("key {full}")));
                    }
                },
                // A cap of 0 is none.
                Some(MetadataValue::Float(0.0)) => Value::Null,
                Some(MetadataValue::Float(number)) => (*number).into(),
                Some(_) => {
                    return Err(Error::input("expected a number").at(format!("key {full}")));
                }
            };
            map.insert((*ours).to_owned(), value);
        }
        if let (Some(usual), false) =
            (architecture.pattern, map.get("sliding_window").is_some_and(Value::is_null))
        {
            map.insert("layer_types".to_owned(), self.sliding(usual, layers)?.into());
        }
        Ok(map)
    }

    /// The types of layers in an architecture with windows.
    fn sliding(&self, usual: usize, layers: usize) -> Result<Vec<&'static str>> {
        let key = self.full("attention.sliding_window_pattern");
        let slides: Vec<bool> = match self.metadata.get(&key) {
            Some(MetadataValue::Integers(list)) if list.len() == layers => {
                list.iter().map(|one| *one != 0).collect()
            }
            Some(MetadataValue::Integer(_)) | None => {
                let every = self.optional_size("attention.sliding_window_pattern")?;
                let every = every.unwrap_or(usual);
                (1..=layers).map(|layer| !layer.is_multiple_of(every)).collect()
            }
            Some(_) => {
                return Err(Error::input(format!(
                    "expected a number, or one for each of {layers} layers"
                ))
                .at(format!("key {key}")));
            }
        };
        let of = |slides: &bool| if *slides { "sliding_attention" } else { "full_attention" };
        Ok(slides.iter().map(of).collect())
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
            let own =
                full.strip_prefix(self.architecture.name).and_then(|rest| rest.strip_prefix('.'));
            let Some(key) = own else { continue };
            let is_own = self.architecture.keys.iter().any(|(own, _)| *own == key);
            if is_own || USED.contains(&key) || WITHOUT_EFFECT.contains(&key) {
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

/// The width of a head, and the number of its dimensions that are rotated.
fn head_dim(keys: &MetadataKeys<'_>, hidden_size: usize, heads: usize) -> Result<(usize, usize)> {
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
    let rotated = keys.optional_size("rope.dimension_count")?.unwrap_or(head_dim);
    let partial =
        keys.architecture.rotates_partly() && rotated <= head_dim && rotated.is_multiple_of(2);
    for (name, found) in [
        ("attention.value_length", value.unwrap_or(head_dim)),
        ("rope.dimension_count", if partial { head_dim } else { rotated }),
    ] {
        if found != head_dim {
            return Err(Error::input(format!("expected the head size {head_dim}, found {found}"))
                .at(format!("key {}", keys.full(name)))
                .hint(
                    "heads that rotate only some of their dimensions, or whose values have another size, are not supported",
                ));
        }
    }
    Ok((head_dim, rotated))
}

/// As in llama.cpp, a factor without a type is linear, and a factor of 0 means no scaling.
fn rope(keys: &MetadataKeys<'_>, rotated: usize, factors: RopeFactors) -> Result<Rope> {
    let theta = keys.positive("rope.freq_base", Some(10_000.0))?;
    let kind_key = keys.full("rope.scaling.type");
    let kind = keys.metadata.text(&kind_key)?.unwrap_or("linear");
    let factor = match keys.metadata.float(&keys.full("rope.scaling.factor"))? {
        Some(factor) => Some(factor),
        None => keys.metadata.float(&keys.full("rope.scale_linear"))?,
    };
    if let (Some(short), Some(long)) = (factors.short, factors.long) {
        return long_rope(keys, theta, rotated, [short, long]);
    }
    let scaling = match (kind, factor) {
        ("yarn", Some(factor)) if factor.is_finite() && factor > 1.0 => yarn(keys, factor)?,
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
                .hint("evalkit supports none, linear, yarn, and factors in tensors"));
        }
    };
    let Some(factors) = factors.all else { return Ok(Rope { theta, rotated, scaling }) };
    let place = "tensor rope_freqs.weight";
    if scaling != RopeScaling::None {
        return Err(
            Error::input("these factors cannot be combined with another rope scaling").at(place)
        );
    }
    if factors.len() != rotated / 2 {
        let (expected, found) = (rotated / 2, factors.len());
        return Err(Error::input(format!("expected {expected} factors, found {found}")).at(place));
    }
    if let Some(bad) = factors.iter().find(|f| !f.is_finite() || **f <= 0.0) {
        return Err(Error::input(format!("expected positive factors, found {bad}")).at(place));
    }
    Ok(Rope { theta, rotated, scaling: RopeScaling::Factors(factors) })
}

/// YaRN as llama.cpp reads it.
fn yarn(keys: &MetadataKeys<'_>, factor: f64) -> Result<RopeScaling> {
    let own = keys.positive("rope.scaling.attn_factor", Some(1.0))?;
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: keys.positive("rope.scaling.yarn_beta_fast", Some(32.0))?,
        beta_slow: keys.positive("rope.scaling.yarn_beta_slow", Some(1.0))?,
        original_max_position_embeddings: keys.size("rope.scaling.original_context_length")?,
        // gpt-oss's own configuration says so; other files do not say.
        truncate: keys.architecture.family != "gpt_oss",
        attention_factor: own * (0.1 * factor.ln() + 1.0),
    })
}

/// LongRoPE, whose factors are tensors.
fn long_rope(
    keys: &MetadataKeys<'_>,
    theta: f64,
    rotated: usize,
    [short, long]: [Vec<f32>; 2],
) -> Result<Rope> {
    for (name, list) in [("rope_factors_short", &short), ("rope_factors_long", &long)] {
        let place = format!("tensor {name}.weight");
        if list.len() != rotated / 2 {
            let (expected, found) = (rotated / 2, list.len());
            return Err(
                Error::input(format!("expected {expected} factors, found {found}")).at(place)
            );
        }
        if let Some(bad) = list.iter().find(|f| !f.is_finite() || **f <= 0.0) {
            return Err(Error::input(format!("expected positive factors, found {bad}")).at(place));
        }
    }
    let scaling = RopeScaling::Long {
        short,
        long,
        original_max_position_embeddings: keys.size("rope.scaling.original_context_length")?,
        attention_factor: keys.positive("rope.scaling.attn_factor", Some(1.0))?,
    };
    Ok(Rope { theta, rotated, scaling })
}
