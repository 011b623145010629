//! Reads the architecture's numbers from a GGUF file's metadata, as the configuration of its family.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::checkpoint::config::{Config, NormKind, QueryGrowth, RopeScaling};
use crate::checkpoint::config_json;
use crate::checkpoint::families::{self, Eps, Family};
use crate::error::{Error, Result};

use super::architectures::{self, Architecture};
use super::family_keys;
use super::header::TensorEntry;
use super::keys::MetadataKeys;
use super::metadata::Metadata;
use super::rope::{self, RopeFactors};

/// Most blocks. No model in use has more; the limit keeps loops short if a file is damaged.
const MAX_LAYERS: usize = 4096;

/// Sizes that other numbers depend on.
pub(super) struct Sizes {
    /// Blocks of the file, with those for the prediction of several tokens.
    pub blocks: usize,
    /// Layers of the model, the first of the blocks.
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Dimensions of a head that are rotated.
    pub rotated: usize,
    pub context_tokens: usize,
    /// For each block, whether it is a convolution.
    pub convolutions: Vec<bool>,
}

/// Reads the configuration, and the number of blocks of the file. `tensors` have the file's names.
///
/// # Errors
/// Input errors that name the key.
pub(super) fn read(
    metadata: &Metadata,
    architecture: &'static Architecture,
    tensors: &BTreeMap<String, TensorEntry>,
    factors: RopeFactors,
) -> Result<(Config, usize)> {
    refuse_others(metadata)?;
    let keys = MetadataKeys::new(metadata, architecture.name);
    let causal = keys.full("attention.causal");
    if metadata.boolean(&causal)? == Some(false) {
        return Err(Error::input(format!("the key {causal} asks for non-causal attention"))
            .hint("perplexity is defined for causal models only"));
    }
    let name = architecture.family_of(&keys);
    let family =
        families::named(name).ok_or_else(|| Error::bug(format!("no family is called {name}")))?;
    let sizes = Sizes::read(&keys, family)?;
    let embedding = tensors
        .get("token_embd.weight")
        .ok_or_else(|| Error::input("the tensor token_embd.weight is missing"))?;
    let any = |ends: &[&str]| {
        tensors.keys().any(|n| n.starts_with("blk.") && ends.iter().any(|end| n.ends_with(end)))
    };
    let mut map = sizes.keys(&keys, family)?;
    map.extend([
        ("vocab_size".to_owned(), embedding.shape.first().copied().unwrap_or(0).into()),
        ("tie_word_embeddings".to_owned(), (!tensors.contains_key("output.weight")).into()),
    ]);
    family_keys::add(&keys, architecture, family, &sizes, &mut map)?;
    if let families::QkNormRow::Key(key, _) = family.qk_norm {
        map.insert(key.to_owned(), any(&[".attn_q_norm.weight"]).into());
    }
    let mut config = config_json::read(map)?;
    config.ropes = rope::ropes(&keys, architecture, &sizes, factors, config.ropes.len())?;
    if config.query_growth.is_some() {
        config.query_growth = query_growth(&keys, &config)?;
    }
    keys.refuse_the_rest()?;
    let config = Config {
        qkv_bias: any(&[".attn_q.bias", ".attn_k.bias", ".attn_v.bias", ".attn_qkv.bias"]),
        output_bias: any(&[".attn_output.bias"]),
        mlp_bias: any(&[".ffn_gate.bias", ".ffn_up.bias", ".ffn_down.bias"]),
        head_bias: tensors.contains_key("output.bias"),
        ..config
    };
    Ok((config, sizes.blocks))
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
        let known: Vec<&str> = architectures::all().map(|one| one.name).collect();
        Error::input(format!("the architecture {name} is not supported"))
            .at(format!("key {key}"))
            .hint(format!("evalkit reads {}", known.join(", ")))
    })
}

impl Sizes {
    fn read(keys: &MetadataKeys<'_>, family: &Family) -> Result<Self> {
        let blocks = keys.size("block_count")?;
        if blocks > MAX_LAYERS {
            let key = keys.full("block_count");
            return Err(Error::input(format!("expected at most {MAX_LAYERS}, found {blocks}"))
                .at(format!("key {key}")));
        }
        let key = keys.full("nextn_predict_layers");
        let predicting = keys.metadata.integer(&key)?.unwrap_or(0);
        let predicting = usize::try_from(predicting).ok().filter(|number| *number < blocks);
        let predicting = predicting.ok_or_else(|| {
            Error::input(format!("expected less than the {blocks} blocks")).at(format!("key {key}"))
        })?;
        let heads = keys.same_size("attention.head_count", blocks);
        let heads = keys.metadata.required(&keys.full("attention.head_count"), heads)?;
        let (kv_heads, convolutions) = kv_heads(keys, family, blocks)?;
        let kv_heads = kv_heads.unwrap_or(heads);
        let hidden = keys.size("embedding_length")?;
        let (head_dim, rotated) = head_dim(keys, family, hidden, heads)?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(Error::input(format!(
                "expected key/value heads that divide the {heads} query heads, found {kv_heads}"
            )));
        }
        Ok(Sizes {
            blocks,
            layers: blocks - predicting,
            hidden,
            heads,
            kv_heads,
            head_dim,
            rotated,
            context_tokens: keys.size("context_length")?,
            convolutions,
        })
    }

    /// The sizes and the norms' epsilon as keys of the family's configuration.
    fn keys(&self, keys: &MetadataKeys<'_>, family: &Family) -> Result<Map<String, Value>> {
        let intermediate_size = keys.same_size("feed_forward_length", self.blocks);
        let intermediate_size =
            keys.metadata.required(&keys.full("feed_forward_length"), intermediate_size)?;
        let pairs = [
            ("hidden_size", self.hidden),
            ("intermediate_size", intermediate_size),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.context_tokens),
        ];
        let pairs = pairs.map(|(key, size)| (key.to_owned(), Value::from(size)));
        let mut map: Map<String, Value> = pairs.into_iter().collect();
        map.insert("model_type".to_owned(), family.name.into());
        if let Some(key) = family.rope.partial_key {
            // A share that is not cut off below the number of dimensions.
            let share = (self.rotated as f64 + 0.5) / self.head_dim as f64;
            map.insert(key.to_owned(), share.min(1.0).into());
        }
        let eps_key = match family.norm.kind {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        };
        let eps = keys.positive(eps_key, None)?;
        match family.norm.eps {
            Eps::Key(key) => drop(map.insert(key.to_owned(), eps.into())),
            Eps::Is(only) if (eps - only).abs() < 1e-3 * only => {}
            Eps::Is(only) => {
                return Err(Error::input(format!("expected {only}, found {eps}"))
                    .at(format!("key {}", keys.full(eps_key))));
            }
        }
        Ok(map)
    }
}

/// Key/value heads, and for each block whether it has none and so is a convolution.
fn kv_heads(
    keys: &MetadataKeys<'_>,
    family: &Family,
    blocks: usize,
) -> Result<(Option<usize>, Vec<bool>)> {
    let key = "attention.head_count_kv";
    if !family.convolutions {
        return Ok((keys.same_size(key, blocks)?, Vec::new()));
    }
    let all = keys.metadata.per_layer(&keys.full(key), blocks)?.unwrap_or_default();
    let most = all.iter().copied().max().unwrap_or(0);
    if let Some(other) = all.iter().find(|heads| **heads != 0 && **heads != most) {
        return Err(Error::input(format!(
            "expected 0 or the same number in every layer, found {other} and {most}"
        ))
        .at(format!("key {}", keys.full(key))));
    }
    let heads = keys.checked_size(key, most.into())?;
    Ok((Some(heads), all.iter().map(|heads| *heads == 0).collect()))
}

/// The width of a head, and the number of its dimensions that are rotated.
fn head_dim(
    keys: &MetadataKeys<'_>,
    family: &Family,
    hidden: usize,
    heads: usize,
) -> Result<(usize, usize)> {
    let head_dim = match keys.optional_size("attention.key_length")? {
        Some(len) => len,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            return Err(Error::input(format!("{heads} heads do not divide {hidden} dimensions")));
        }
    };
    let value = keys.optional_size("attention.value_length")?.unwrap_or(head_dim);
    if !head_dim.is_multiple_of(2) {
        return Err(Error::input(format!("expected heads of even size, found {head_dim}")));
    }
    if !family.rope.rotates {
        return Ok((head_dim, head_dim));
    }
    let rotated = keys.optional_size("rope.dimension_count")?.unwrap_or(head_dim);
    let is_part = family.rope.partial_key.is_some() && rotated <= head_dim;
    let expected = if is_part && rotated.is_multiple_of(2) { rotated } else { head_dim };
    for (name, expected, found) in
        [("attention.value_length", head_dim, value), ("rope.dimension_count", expected, rotated)]
    {
        if found != expected {
            return Err(Error::input(format!("expected the head size {head_dim}, found {found}"))
                .at(format!("key {}", keys.full(name)))
                .hint(
                    "heads that rotate another part of their dimensions than the architecture does, or whose values have another size, are not supported",
                ));
        }
    }
    Ok((head_dim, rotated))
}

/// Queries that grow from the length that YaRN stretches on.
fn query_growth(keys: &MetadataKeys<'_>, config: &Config) -> Result<Option<QueryGrowth>> {
    let key = keys.full("attention.temperature_scale");
    let beta = keys.metadata.float(&key)?.filter(|beta| *beta != 0.0);
    let original = match config.ropes.first().map(|rope| &rope.scaling) {
        Some(RopeScaling::Yarn { original_max_position_embeddings, .. }) => {
            *original_max_position_embeddings
        }
        _ => config.max_position_embeddings,
    };
    Ok(beta.map(|beta| QueryGrowth { beta, original_max_position_embeddings: original }))
}
