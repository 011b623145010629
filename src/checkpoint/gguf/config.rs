//! Reads the architecture's numbers from a GGUF file's metadata, as the configuration of its family.

use std::collections::BTreeMap;

use crate::checkpoint::config::{Config, QueryGrowth, RopeScaling};
use crate::checkpoint::config_json;
use crate::checkpoint::families;
use crate::error::{Error, Result};

use super::architectures::{self, Architecture};
use super::family_keys;
use super::header::TensorEntry;
use super::keys::MetadataKeys;
use super::metadata::Metadata;
use super::rope::{self, RopeFactors};
use super::sizes::Sizes;

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
    keys.refuse_the_rest(architecture.inert)?;
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

/// Queries that grow from the length that YaRN stretches on.
fn query_growth(keys: &MetadataKeys<'_>, config: &Config) -> Result<Option<QueryGrowth>> {
    let key = keys.full("attention.temperature_scale");
    let beta = keys.metadata.float(&key)?.filter(|beta| *beta != 0.0);
    if let Some(beta) = beta.filter(|beta| !beta.is_finite()) {
        return Err(Error::input(format!("expected a finite number, found {beta}"))
            .at(format!("key {key}")));
    }
    let original = match config.ropes.first().map(|rope| &rope.scaling) {
        Some(RopeScaling::Yarn { original_max_position_embeddings, .. }) => {
            *original_max_position_embeddings
        }
        _ => config.max_position_embeddings,
    };
    Ok(beta.map(|beta| QueryGrowth { beta, original_max_position_embeddings: original }))
}
