//! Reads `config.json` into a [`Config`]. Every key is either understood, known to have no effect,
//! or refused by name, because a model whose keys are ignored would be scored as another model.

use serde_json::{Map, Value};

use super::config::{Activation, Architecture, Config, Experts, Rope, RopeScaling, Routing};
use super::{json, quantized};
use crate::error::{At, Error, Result};

/// Keys without effect on inference (training, generation, bookkeeping).
const INERT: [&str; 29] = [
    "_attn_implementation_autoset",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "id2label",
    "initial_context_length",
    "initializer_range",
    "is_llama_config",
    "label2id",
    "max_window_layers",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "pad_token_id",
    "return_dict",
    "router_aux_loss_coef",
    "tokenizer_class",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// Keys that are accepted with these values only; any other would change the computation.
const ONLY: [(&str, &[&str]); 9] = [
    ("decoder_sparse_step", &["1"]),
    ("hidden_act", &["\"silu\""]),
    ("mlp_only_layers", &["[]"]),
    ("pretraining_tp", &["1", "0"]),
    ("rope_interleaved", &["false"]),
    ("swiglu_alpha", &["1.702"]),
    ("use_mrope", &["false"]),
    ("use_sliding_window", &["false"]),
    ("partial_rotary_factor", &["1.0", "1"]),
];

/// Largest configuration file that is read, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Most experts in all layers together (a dense layer counts as one), since each is listed by name.
const MAX_EXPERTS: usize = 1 << 20;

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
    quantized::refuse_config(&map, map.get("model_type").is_some_and(|name| name == "gpt_oss"))?;
    let mut keys = ConfigKeys { map };
    let architecture = architecture(&mut keys)?;
    let config = numbers(&mut keys, architecture)?;
    keys.refuse_the_rest()?;
    check(&config)?;
    Ok(config)
}

fn architecture(keys: &mut ConfigKeys) -> Result<Architecture> {
    let name = keys.take::<String>("model_type")?;
    match name.as_str() {
        "llama" => Ok(Architecture::Llama),
        "qwen2" => Ok(Architecture::Qwen2),
        "qwen3" => Ok(Architecture::Qwen3),
        "qwen3_moe" => Ok(Architecture::Qwen3Moe),
        "gpt_oss" => Ok(Architecture::GptOss),
        _ => Err(Error::input(format!(
            "key `model_type`: expected llama, qwen2, qwen3, qwen3_moe or gpt_oss, found {name:?}"
        ))
        .hint("evalkit does not compute other architectures")),
    }
}

fn numbers(keys: &mut ConfigKeys, architecture: Architecture) -> Result<Config> {
    let hidden_size = keys.take("hidden_size")?;
    let heads = keys.take("num_attention_heads")?;
    let head_dim = match keys.optional("head_dim")? {
        Some(dim) => dim,
        None if heads > 0 && hidden_size % heads == 0 => hidden_size / heads,
        None => {
            let found = format!("hidden_size {hidden_size}, num_attention_heads {heads}");
            return Err(Error::input(format!(
                "key `head_dim`: missing, and {found} do not give it"
            )));
        }
    };
    let attention_bias = keys.optional("attention_bias")?.unwrap_or(false);
    let layers = keys.take("num_hidden_layers")?;
    let sliding = sliding(keys, architecture, layers)?;
    let experts = experts(keys, architecture)?;
    let is_gpt_oss = architecture == Architecture::GptOss;
    let intermediate_size = match keys.optional("moe_intermediate_size")? {
        // The other key is then about dense layers, of which there are none.
        Some(size) => keys.optional::<usize>("intermediate_size")?.map_or(size, |_| size),
        None => keys.take("intermediate_size")?,
    };
    Ok(Config {
        architecture,
        hidden_size,
        intermediate_size,
        layers,
        heads,
        kv_heads: keys.optional("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        vocab_size: keys.take("vocab_size")?,
        max_position_embeddings: keys.take("max_position_embeddings")?,
        rms_norm_eps: keys.positive("rms_norm_eps")?,
        rope: rope(keys)?,
        qkv_bias: attention_bias || architecture == Architecture::Qwen2,
        output_bias: attention_bias && architecture != Architecture::Qwen2,
        mlp_bias: keys.optional("mlp_bias")?.unwrap_or(is_gpt_oss),
        qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Qwen3Moe),
        sinks: is_gpt_oss,
        sliding,
        experts,
        tied: keys.optional("tie_word_embeddings")?.unwrap_or(false),
    })
}

/// The sliding window of each layer; empty if every layer sees all tokens. Only gpt-oss may have
/// windows. For other families they are refused unless they are switched off.
fn sliding(
    keys: &mut ConfigKeys,
    architecture: Architecture,
    layers: usize,
) -> Result<Vec<Option<usize>>> {
    let switch = keys.optional::<bool>("use_sliding_window")?;
    if switch == Some(true) {
        return Err(refused("use_sliding_window", "true"));
    }
    let window = keys.optional::<usize>("sliding_window")?;
    let types = keys.optional::<Vec<String>>("layer_types")?;
    if let Some(found) = types.as_ref().map(Vec::len).filter(|&found| found != layers) {
        return Err(Error::input(format!(
            "key `layer_types`: expected {layers} entries (num_hidden_layers), found {found}"
        )));
    }
    let types = types.unwrap_or_default();
    let slides = architecture == Architecture::GptOss;
    if let (false, Some(window), None) = (slides, window, switch) {
        return Err(refused("sliding_window", &window.to_string()));
    }
    let of_layer = |kind: &String| match (kind.as_str(), window) {
        ("full_attention", _) => Ok(None),
        ("sliding_attention", Some(window @ 1..)) if slides => Ok(Some(window)),
        ("sliding_attention", found) if slides => Err(Error::input(format!(
            "key `sliding_window`: expected 1 token or more, found {}",
            found.map_or("none".into(), |window| window.to_string())
        ))),
        _ => Err(refused("layer_types", kind)),
    };
    if slides && types.is_empty() {
        return Err(Error::input("key `layer_types`: missing"));
    }
    let windows: Vec<Option<usize>> = types.iter().map(of_layer).collect::<Result<_>>()?;
    Ok(if windows.iter().all(Option::is_none) { Vec::new() } else { windows })
}

/// The mixture of experts, for families that have one.
fn experts(keys: &mut ConfigKeys, architecture: Architecture) -> Result<Option<Experts>> {
    let is_gpt_oss = match architecture {
        Architecture::GptOss => true,
        Architecture::Qwen3Moe => false,
        _ => return Ok(None),
    };
    // transformers 5 writes `num_local_experts` for both families.
    let names = ["num_experts", "num_local_experts"];
    let count = keys.either(if is_gpt_oss { [names[1], names[0]] } else { names })?;
    let per_token = keys.either(["num_experts_per_tok", "experts_per_token"])?;
    if !(1..=count).contains(&per_token) {
        return Err(Error::input(format!(
            "key `num_experts_per_tok`: expected 1 to {count} (the number of experts), found {per_token}"
        )));
    }
    let (routing, activation) = if is_gpt_oss {
        quantization(keys)?;
        let limit = keys.take("swiglu_limit")?;
        (Routing::SoftmaxOfChosen, Activation::ClampedSwiGlu { limit })
    } else {
        let renormalize = keys.optional("norm_topk_prob")?.unwrap_or(false);
        (Routing::ChosenOfSoftmax { renormalize }, Activation::SwiGlu)
    };
    Ok(Some(Experts { count, per_token, routing, router_bias: is_gpt_oss, activation }))
}

/// Accepts MXFP4, the only quantization that was not refused before. The stored tensors show which of
/// them it applies to.
fn quantization(keys: &mut ConfigKeys) -> Result<()> {
    let map: Map<String, Value> = keys.optional("quantization_config")?.unwrap_or_default();
    let mut nested = ConfigKeys { map };
    nested.map.retain(|key, _| !["quant_method", "modules_to_not_convert"].contains(&key.as_str()));
    nested.refuse_the_rest().map_err(|e| e.at("quantization_config"))
}

/// `rope_theta` and `rope_scaling`, or transformers 5's `rope_parameters` with both.
fn rope(keys: &mut ConfigKeys) -> Result<Rope> {
    let mut nested = match keys.optional::<Map<String, Value>>("rope_parameters")? {
        Some(map) => ConfigKeys { map },
        None => ConfigKeys { map: keys.optional("rope_scaling")?.unwrap_or_default() },
    };
    let theta = match nested.optional("rope_theta")? {
        Some(theta) => theta,
        None => keys.optional("rope_theta")?.unwrap_or(10_000.0),
    };
    keys.map.remove("rope_theta");
    let legacy = nested.optional::<String>("type")?;
    let kind = nested.optional::<String>("rope_type")?.or(legacy).unwrap_or("default".into());
    let scaling = rope_scaling(&kind, &mut nested)
        .and_then(|scaling| nested.refuse_the_rest().map(|()| scaling))
        .at(|| "rope_scaling")?;
    Ok(Rope { theta, scaling })
}

fn rope_scaling(kind: &str, keys: &mut ConfigKeys) -> Result<RopeScaling> {
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: keys.positive("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: keys.positive("factor")?,
            low_freq_factor: keys.positive("low_freq_factor")?,
            high_freq_factor: keys.positive("high_freq_factor")?,
            original_max_position_embeddings: keys.take("original_max_position_embeddings")?,
        }),
        "yarn" => yarn(keys),
        _ => Err(other_value("rope_type", "default, linear, llama3 or yarn", kind)),
    }
}

fn yarn(keys: &mut ConfigKeys) -> Result<RopeScaling> {
    let factor = keys.positive("factor")?;
    let attention_factor = keys.optional("attention_factor")?;
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: keys.optional("beta_fast")?.unwrap_or(32.0),
        beta_slow: keys.optional("beta_slow")?.unwrap_or(1.0),
        original_max_position_embeddings: keys.take("original_max_position_embeddings")?,
        truncate: keys.optional("truncate")?.unwrap_or(true),
        attention_factor: attention_factor.unwrap_or(if factor > 1.0 {
            0.1 * factor.ln() + 1.0
        } else {
            1.0
        }),
    })
}

fn check(config: &Config) -> Result<()> {
    const MAX: usize = 1 << 24;
    // The names of each layer's tensors are listed before any weight is looked for.
    const MAX_LAYERS: usize = 1 << 14;
    let sizes = [
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
        ("num_attention_heads", config.heads),
        ("num_key_value_heads", config.kv_heads),
        ("head_dim", config.head_dim),
        ("vocab_size", config.vocab_size),
        ("max_position_embeddings", config.max_position_embeddings),
    ];
    for (key, value) in sizes {
        if !(1..=MAX).contains(&value) {
            return Err(Error::input(format!("key `{key}`: expected 1 to {MAX}, found {value}")));
        }
    }
    if !(1..=MAX_LAYERS).contains(&config.layers) {
        let found = config.layers;
        return Err(Error::input(format!(
            "key `num_hidden_layers`: expected 1 to {MAX_LAYERS}, found {found}"
        )));
    }
    if !config.heads.is_multiple_of(config.kv_heads) {
        let (heads, kv_heads) = (config.heads, config.kv_heads);
        return Err(Error::input(format!(
            "key `num_key_value_heads`: expected a divisor of num_attention_heads ({heads}), found {kv_heads}"
        )));
    }
    if !config.head_dim.is_multiple_of(2) {
        return Err(Error::input(format!(
            "key `head_dim`: expected even, found {}",
            config.head_dim
        )));
    }
    let experts = config.experts.as_ref().map_or(1, |experts| experts.count);
    if config.layers.saturating_mul(experts) > MAX_EXPERTS {
        let layers = config.layers;
        return Err(Error::input(format!(
            "key `num_hidden_layers`: expected at most {MAX_EXPERTS} experts in all layers, found {layers} x {experts}"
        )));
    }
    let limit = match config.experts.as_ref().map(|experts| experts.activation) {
        Some(Activation::ClampedSwiGlu { limit }) => Some(("swiglu_limit", limit)),
        _ => None,
    };
    for (key, value) in [("rope_theta", config.rope.theta)].into_iter().chain(limit) {
        if !(value.is_finite() && value > 0.0) {
            return Err(Error::input(format!(
                "key `{key}`: expected a positive number, found {value}"
            )));
        }
    }
    Ok(())
}

fn other_value(key: &str, values: &str, found: &str) -> Error {
    Error::input(format!("key `{key}`: evalkit computes {values} only, found {found:.60}"))
        .hint("a model with another value computes something else: it is not supported")
}

fn refused(key: &str, value: &str) -> Error {
    Error::input(format!("key `{key}`: evalkit cannot compute {value}"))
        .hint("the model would be scored as another one; use a checkpoint without it")
}

/// The keys of an object. A key is removed when it has been understood.
struct ConfigKeys {
    map: Map<String, Value>,
}

impl ConfigKeys {
    fn optional<T: serde::de::DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        match self.map.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let found = value.to_string();
                serde_json::from_value(value).map(Some).map_err(|e| {
                    Error::input(format!("key `{key}`: cannot use {found:.60}")).because(e)
                })
            }
        }
    }

    fn take<T: serde::de::DeserializeOwned>(&mut self, key: &str) -> Result<T> {
        self.optional(key)?.ok_or_else(|| Error::input(format!("key `{key}`: missing")))
    }

    /// A number under either of two names. Fails (input) if both are present and differ.
    fn either(&mut self, [name, other]: [&str; 2]) -> Result<usize> {
        let found = self.optional(other)?;
        match (self.optional(name)?, found) {
            (Some(value), Some(found)) if value != found => {
                Err(Error::input(format!("key `{other}`: {found}, but `{name}` is {value}")))
            }
            (value, found) => {
                let missing = || Error::input(format!("key `{name}`: missing"));
                value.or(found).ok_or_else(missing)
            }
        }
    }

    fn positive(&mut self, key: &str) -> Result<f64> {
        let value: f64 = self.take(key)?;
        if !(value.is_finite() && value > 0.0) {
            return Err(Error::input(format!(
                "key `{key}`: expected a positive number, found {value}"
            )));
        }
        Ok(value)
    }

    fn refuse_the_rest(self) -> Result<()> {
        for (key, value) in &self.map {
            let text = value.to_string();
            match ONLY.iter().find(|(name, _)| name == key) {
                Some((_, values)) if values.contains(&text.as_str()) => {}
                Some((_, values)) => return Err(other_value(key, &values.join(" or "), &text)),
                None if value.is_null() || INERT.contains(&key.as_str()) => {}
                None => {
                    return Err(Error::input(format!("key `{key}`: evalkit does not know it (value {text:.60})"))
                        .hint("if it does not change the computation, remove it from config.json; otherwise this model is not supported"));
                }
            }
        }
        Ok(())
    }
}
