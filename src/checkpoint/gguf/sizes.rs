//! The sizes in a GGUF file's metadata.

use serde_json::{Map, Value};

use crate::checkpoint::config::NormKind;
use crate::checkpoint::families::{Eps, Family};
use crate::error::{Error, Result};

use super::keys::MetadataKeys;

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

impl Sizes {
    /// Reads them.
    ///
    /// # Errors
    /// Input errors that name the key.
    pub fn read(keys: &MetadataKeys<'_>, family: &Family) -> Result<Self> {
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
    ///
    /// # Errors
    /// Input errors that name the key.
    pub fn keys(&self, keys: &MetadataKeys<'_>, family: &Family) -> Result<Map<String, Value>> {
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
        if self.blocks > self.layers {
            map.insert("num_nextn_predict_layers".into(), (self.blocks - self.layers).into());
        }
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
