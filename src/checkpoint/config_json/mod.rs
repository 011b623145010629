//! Reads `config.json` into a [`Config`]. Every key is either understood, known to have no effect,
//! or refused by name, because a model whose keys are ignored would be scored as another model.

mod check;
mod keys;
mod layers;
mod mixture;
mod rope;

use serde_json::{Map, Value};

use self::keys::{ConfigKeys, other_value};
use super::config::{Activation, Config, Latent, Norm, Placement, QkNorm, ShortConv};
use super::families::{self, Eps, Family, Flag, QkNormRow, ScaleRow};
use super::{json, quantized};
use crate::error::{At, Error, Result};

/// Largest configuration file that is read, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Families that are known, and why they are not computed.
const NOT_YET: [(&str, &str); 17] = [
    ("qwen3_5_text", "its gated delta rule is not computed yet"),
    ("qwen3_5", "its gated delta rule is not computed yet"),
    ("qwen3_5_moe", "its gated delta rule is not computed yet"),
    ("qwen3_next", "its gated delta rule is not computed yet"),
    ("gemma4", "its shared keys and values and its embeddings per layer are not computed yet"),
    ("gemma4_text", "its shared keys and values and its embeddings per layer are not computed yet"),
    ("gemma3n", "its AltUp and Laurel blocks are not computed"),
    ("gemma3n_text", "its AltUp and Laurel blocks are not computed"),
    ("granitemoehybrid", "its state spaces (Mamba-2) are not computed yet"),
    ("mamba", "state spaces are not computed yet"),
    ("mamba2", "state spaces are not computed yet"),
    ("falcon_h1", "state spaces are not computed yet"),
    ("jamba", "state spaces are not computed yet"),
    ("nemotron_h", "state spaces are not computed yet"),
    ("llama4", "its chunked attention is not computed"),
    ("lfm2_moe", "short convolutions with a mixture of experts are not computed yet"),
    ("llama4_text", "its chunked attention is not computed"),
];

/// Parses the text of a Hugging Face `config.json`.
///
/// # Errors
/// Input errors that name the key: missing, of the wrong type, inconsistent, or unknown.
pub fn parse(text: &[u8]) -> Result<Config> {
    if text.len() > MAX_BYTES {
        return Err(Error::input(format!(
            "expected at most {MAX_BYTES} bytes, found {}",
            text.len()
        )));
    }
    let map: Map<String, Value> = json::parse(text, "not a JSON object")?;
    if let Some(Value::Object(inner)) = map.get("text_config") {
        let inner = unwrapped(&map, inner.clone());
        quantized::refuse_config(&map, false)?;
        return read(inner).at(|| "text_config");
    }
    read(map)
}

impl Config {
    /// Reads a Hugging Face `config.json`.
    ///
    /// # Errors
    /// Input errors that name the key.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        parse(text)
    }
}

/// The text model's own configuration, with what its wrapper decides. The head in a wrapper that a family
/// has is tied unless the wrapper says otherwise.
fn unwrapped(wrapper: &Map<String, Value>, mut inner: Map<String, Value>) -> Map<String, Value> {
    let name = wrapper.get("model_type").and_then(Value::as_str).unwrap_or("");
    let known = families::all().find(|family| family.wrapper == Some(name));
    if let Some(family) = known {
        inner.entry("model_type").or_insert_with(|| family.name.into());
    }
    let tied = wrapper.get("tie_word_embeddings").cloned();
    if let Some(tied) = tied.or(known.map(|_| Value::Bool(true))) {
        inner.insert("tie_word_embeddings".to_owned(), tied);
    }
    for key in ["torch_dtype", "dtype"] {
        if let Some(value) = wrapper.get(key) {
            inner.entry(key).or_insert_with(|| value.clone());
        }
    }
    inner
}

/// Reads the keys of a configuration, as the family's files spell them.
///
/// # Errors
/// As [`parse`].
pub(super) fn read(map: Map<String, Value>) -> Result<Config> {
    let named = map.get("model_type").and_then(Value::as_str).and_then(families::named);
    quantized::refuse_config(&map, named.is_some_and(Family::may_have_mxfp4))?;
    let mut keys = ConfigKeys { map };
    let family = family(&mut keys)?;
    keys.settle(family)?;
    let config = numbers(&mut keys, family)?;
    let biases = &family.biases;
    for flag in [biases.qkv, biases.output, biases.mlp, biases.head] {
        if let Flag::Key(key) = flag {
            keys.map.remove(key);
        }
    }
    keys.refuse_the_rest(Some(family))?;
    check::check(&config)?;
    Ok(config)
}

fn family(keys: &mut ConfigKeys) -> Result<&'static Family> {
    let name = keys.take::<String>("model_type")?;
    if let Some(family) = families::named(&name) {
        return Ok(family);
    }
    if let Some((_, why)) = NOT_YET.iter().find(|(known, _)| *known == name) {
        return Err(Error::input(format!("key `model_type`: {name} is not supported: {why}"))
            .hint("docs/models.md lists the families that are"));
    }
    let known: Vec<&str> = families::all().map(|family| family.name).collect();
    Err(Error::input(format!("key `model_type`: expected {}, found {name:?}", known.join(", ")))
        .hint("evalkit does not compute other architectures"))
}

fn numbers(keys: &mut ConfigKeys, family: &'static Family) -> Result<Config> {
    let hidden_size = keys.take("hidden_size")?;
    let heads = keys.take("num_attention_heads")?;
    let latent = latent(keys, family)?;
    let (head_dim, value_dim) = head_dims(keys, hidden_size, heads, latent)?;
    let layers: usize = check::layers(keys.take("num_hidden_layers")?)?;
    let experts = mixture::experts(keys, family)?;
    let positions = keys.take("max_position_embeddings")?;
    let context = rope::Context { head_dim: latent.map_or(head_dim, |l| l.rope_dim), positions };
    let read = rope::rope(keys, family, context)?;
    let kinds = layers::kinds(keys, family, layers, read.is_local)?;
    let activation = activation(keys, family, experts.as_ref().is_some())?;
    let kv_heads = match latent {
        Some(_) => keys.optional::<usize>("num_key_value_heads")?.map_or(heads, |_| heads),
        None => keys.optional("num_key_value_heads")?.unwrap_or(heads),
    };
    let qk_norm = qk_norm(keys, family)?;
    let factors = &family.factors;
    let scale = scale(keys, family, head_dim)? * read.scale_factor;
    let softcap = |keys: &mut ConfigKeys, is_there, key| {
        if is_there { keys.optional_positive(key) } else { Ok(None) }
    };
    Ok(Config {
        family: family.name,
        hidden_size,
        intermediate_size: intermediate_size(keys, family, hidden_size, experts.as_ref())?,
        layers,
        next_token_layers: mixture::next_token_layers(keys, family)?,
        heads,
        kv_heads,
        head_dim,
        value_dim,
        vocab_size: keys.take("vocab_size")?,
        max_position_embeddings: positions,
        norm: norm(keys, family)?,
        placement: placement(keys, family)?,
        ropes: read.ropes,
        kinds,
        attention_scale: scale,
        divides_scores_by_layer: factors
            .scale_by_layer
            .map_or(Ok(false), |key| keys.switch(key))?,
        attention_softcap: softcap(keys, factors.attention_softcap, "attn_logit_softcapping")?,
        qkv_bias: flag(keys, family.biases.qkv)?,
        output_bias: flag(keys, family.biases.output)?,
        mlp_bias: flag(keys, family.biases.mlp)?,
        head_bias: flag(keys, family.biases.head)?,
        qk_norm,
        sinks: family.sinks,
        clip_qkv: if factors.clip_qkv { keys.optional_positive("clip_qkv")? } else { None },
        latent,
        query_growth: read.growth,
        sub_norms: family.sub_norms,
        gated: family.gated,
        activation,
        experts,
        conv: convolution(keys, family)?,
        embedding_scale: embedding_scale(keys, family, hidden_size)?,
        residual_scale: optional_factor(keys, factors.residual)?,
        logit_scale: match factors.logits_divided {
            Some(key) => (1.0 / keys.positive(key)?) as f32,
            None => optional_factor(keys, factors.logits)?,
        },
        logit_softcap: softcap(keys, factors.logit_softcap, "final_logit_softcapping")?,
        learned_positions: family.learned_positions,
        package_scale: family.package_scale,
        tied: keys.switch("tie_word_embeddings")?,
    })
}

fn norm(keys: &mut ConfigKeys, family: &Family) -> Result<Norm> {
    let row = family.norm;
    let eps = match row.eps {
        Eps::Key(key) => keys.positive(key)?,
        Eps::Is(eps) => eps,
    };
    Ok(Norm { kind: row.kind, gain: row.gain, bias: row.bias, eps })
}

fn embedding_scale(keys: &mut ConfigKeys, family: &Family, hidden_size: usize) -> Result<f32> {
    match (family.factors.embedding_root, family.factors.embedding) {
        (true, _) => Ok((hidden_size as f64).sqrt() as f32),
        (false, key) => optional_factor(keys, key),
    }
}

fn optional_factor(keys: &mut ConfigKeys, key: Option<&str>) -> Result<f32> {
    key.map_or(Ok(1.0), |key| keys.positive(key).map(|value| value as f32))
}

fn flag(keys: &mut ConfigKeys, flag: Flag) -> Result<bool> {
    match flag {
        Flag::Never => Ok(false),
        Flag::Always => Ok(true),
        // Several parts may have the same switch, so it is not taken away.
        Flag::Key(key) => match keys.map.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => Err(Error::input(format!("key `{key}`: cannot use {other:.60}"))),
        },
    }
}

fn latent(keys: &mut ConfigKeys, family: &Family) -> Result<Option<Latent>> {
    if !family.latent {
        return Ok(None);
    }
    let in_halves = match family.rope.neighbours_switch {
        Some(key) => keys.optional::<bool>(key)? == Some(false),
        None => false,
    };
    Ok(Some(Latent {
        in_halves,
        query_rank: keys.optional("q_lora_rank")?,
        kv_rank: keys.take("kv_lora_rank")?,
        rope_dim: keys.take("qk_rope_head_dim")?,
    }))
}

/// The widths of a query and of a value head.
fn head_dims(
    keys: &mut ConfigKeys,
    hidden_size: usize,
    heads: usize,
    latent: Option<Latent>,
) -> Result<(usize, usize)> {
    let given = keys.optional::<usize>("head_dim")?;
    if let Some(latent) = latent {
        let unrotated: usize = keys.take("qk_nope_head_dim")?;
        return Ok((unrotated.saturating_add(latent.rope_dim), keys.take("v_head_dim")?));
    }
    match given {
        Some(dim) => Ok((dim, dim)),
        None if heads > 0 && hidden_size.is_multiple_of(heads) => {
            Ok((hidden_size / heads, hidden_size / heads))
        }
        None => {
            let found = format!("hidden_size {hidden_size}, num_attention_heads {heads}");
            Err(Error::input(format!("key `head_dim`: missing, and {found} do not give it")))
        }
    }
}

/// The width of a dense MLP; in a mixture without dense layers, that of an expert.
fn intermediate_size(
    keys: &mut ConfigKeys,
    family: &Family,
    hidden_size: usize,
    experts: Option<&super::config::Experts>,
) -> Result<usize> {
    let found: Option<usize> = keys.optional("intermediate_size")?;
    if family.learned_positions {
        return Ok(found.unwrap_or(hidden_size.saturating_mul(4)));
    }
    let size = match (found, experts) {
        (Some(size), _) => size,
        (None, Some(experts)) => experts.intermediate_size,
        (None, None) => return Err(Error::input("key `intermediate_size`: missing")),
    };
    if !family.convolutions {
        return Ok(size);
    }
    // transformers, Lfm2MLP.
    let factor: Option<f64> = keys.optional("block_ffn_dim_multiplier")?;
    let multiple: usize = keys.take("block_multiple_of")?;
    if !keys.switch("block_auto_adjust_ff_dim")? {
        return Ok(size);
    }
    let size = (2.0 * size as f64 / 3.0) as usize;
    match factor {
        Some(factor) if factor.is_finite() && factor > 0.0 && multiple > 0 => {
            Ok(((factor * size as f64) as usize).div_ceil(multiple).saturating_mul(multiple))
        }
        Some(found) => {
            Err(other_value("block_ffn_dim_multiplier", "positive numbers", &found.to_string()))
        }
        None => Ok(size),
    }
}

fn placement(keys: &mut ConfigKeys, family: &Family) -> Result<Placement> {
    match family.parallel {
        Some((key, parallel)) if keys.switch(key)? => Ok(parallel),
        _ => Ok(family.placement),
    }
}

fn qk_norm(keys: &mut ConfigKeys, family: &Family) -> Result<Option<QkNorm>> {
    match family.qk_norm {
        QkNormRow::None => Ok(None),
        QkNormRow::Always(norm) => Ok(Some(norm)),
        QkNormRow::Key(key, norm) => Ok(keys.switch(key)?.then_some(norm)),
    }
}

fn activation(keys: &mut ConfigKeys, family: &Family, is_mixture: bool) -> Result<Activation> {
    if family.sinks && is_mixture {
        keys.map
            .remove("hidden_act")
            .filter(|act| act != "silu")
            .map_or(Ok(()), |act| Err(other_value("hidden_act", "\"silu\"", &act.to_string())))?;
        return Ok(Activation::ClampedSwiGlu { limit: keys.take("swiglu_limit")? });
    }
    let row = family.activation;
    if let (true, Some((_, only))) = (row.key.is_empty(), row.names.first()) {
        return Ok(*only);
    }
    let name: String = keys.take(row.key)?;
    row.names
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, activation)| *activation)
        .ok_or_else(|| {
            let known: Vec<String> =
                row.names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            other_value(row.key, &known.join(" or "), &format!("\"{name}\""))
        })
}

fn scale(keys: &mut ConfigKeys, family: &Family, head_dim: usize) -> Result<f32> {
    let is_off = |key| Ok(keys.optional::<bool>(key)? == Some(false));
    if family.factors.scale_switch.map_or(Ok(false), is_off)? {
        return Ok(1.0);
    }
    match family.factors.scale {
        ScaleRow::HeadDim => Ok(Config::usual_scale(head_dim)),
        ScaleRow::RootOf(key) => Ok(1.0 / (keys.positive(key)? as f32).sqrt()),
        ScaleRow::Key(key) => keys.positive(key).map(|value| value as f32),
    }
}

fn convolution(keys: &mut ConfigKeys, family: &Family) -> Result<Option<ShortConv>> {
    if !family.convolutions {
        return Ok(None);
    }
    let kernel_tokens = keys.take("conv_L_cache")?;
    if !(1..=64).contains(&kernel_tokens) {
        return Err(Error::input(format!(
            "key `conv_L_cache`: expected 1 to 64 tokens, found {kernel_tokens}"
        )));
    }
    Ok(Some(ShortConv { kernel_tokens, bias: keys.switch("conv_bias")? }))
}
