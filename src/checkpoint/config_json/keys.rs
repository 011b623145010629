//! The keys of a configuration. A key is removed when it has been understood; what is left at the end
//! has no effect, or is refused by name and value.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::checkpoint::families::Family;
use crate::error::{Error, Result};

/// Keys without effect on inference, in any family (training, generation, bookkeeping).
const INERT: [&str; 52] = [
    "embd_pdrop",
    "embedding_dropout",
    "hidden_dropout",
    "resid_pdrop",
    "residual_dropout",
    "_attn_implementation_autoset",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "_sliding_window_pattern",
    "activation",
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "dtype",
    "eos_token_id",
    "finetuning_task",
    "id2label",
    "initial_context_length",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "label2id",
    "max_sequence_length",
    "max_window_layers",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "pad_token_id",
    "prefix",
    "problem_type",
    "pruned_heads",
    "return_dict",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "sep_token_id",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// Keys that are accepted with these values only, in any family; any other would change the computation.
const ONLY: [(&str, &[&str]); 11] = [
    ("attention_bias", &["false"]),
    ("mlp_bias", &["false"]),
    ("add_cross_attention", &["false"]),
    ("hidden_act", &["\"silu\""]),
    ("pretraining_tp", &["1", "0"]),
    ("rope_interleaved", &["false"]),
    ("use_mrope", &["false"]),
    ("use_bias", &["false"]),
    ("use_sliding_window", &["false"]),
    ("partial_rotary_factor", &["1.0", "1"]),
    ("is_decoder", &["true", "false"]),
];

/// The keys of an object.
pub(super) struct ConfigKeys {
    pub map: Map<String, Value>,
}

impl ConfigKeys {
    /// Fills in what the family takes for keys that are missing, under the names that it uses.
    pub fn settle(&mut self, family: &Family) -> Result<()> {
        for (theirs, ours) in family.spellings {
            if let Some(value) = self.map.remove(*theirs).filter(|value| !value.is_null()) {
                match self.map.get(*ours) {
                    Some(other) if *other != value && !other.is_null() => {
                        return Err(Error::input(format!(
                            "key `{theirs}`: {value}, but `{ours}` is {other}"
                        )));
                    }
                    _ => self.map.insert((*ours).to_owned(), value),
                };
            }
        }
        let defaults: Map<String, Value> = serde_json::from_str(family.defaults).map_err(|e| {
            Error::bug(format!("the defaults of {} are no JSON", family.name)).because(e)
        })?;
        let has_parameters = self.map.get("rope_parameters").is_some_and(|value| !value.is_null());
        for (key, value) in defaults {
            if key == "rope_scaling" && has_parameters {
                continue;
            }
            // transformers takes its default of this key, and no other, for null too.
            if key == "rope_scaling" && self.map.get(&key).is_some_and(Value::is_null) {
                self.map.remove(&key);
            }
            self.map.entry(key).or_insert(value);
        }
        Ok(())
    }

    /// A key's value, if it is there and not null.
    pub fn optional<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
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

    /// A key's value. Fails (input) if it is missing.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<T> {
        self.optional(key)?.ok_or_else(|| Error::input(format!("key `{key}`: missing")))
    }

    /// A switch; off if it is missing.
    pub fn switch(&mut self, key: &str) -> Result<bool> {
        Ok(self.optional(key)?.unwrap_or(false))
    }

    /// A number under one of several names, the first of which is the usual one. Fails (input) if it is
    /// missing, or if two are present and differ.
    pub fn either(&mut self, names: &[&str]) -> Result<usize> {
        let mut found: Option<(&str, usize)> = None;
        for &name in names {
            match (self.optional::<usize>(name)?, found) {
                (Some(value), Some((first, known))) if value != known => {
                    return Err(Error::input(format!(
                        "key `{name}`: {value}, but `{first}` is {known}"
                    )));
                }
                (Some(value), None) => found = Some((name, value)),
                _ => {}
            }
        }
        let missing =
            || Error::input(format!("key `{}`: missing", names.first().copied().unwrap_or("")));
        found.map(|(_, value)| value).ok_or_else(missing)
    }

    /// A positive, finite number.
    pub fn positive(&mut self, key: &str) -> Result<f64> {
        let value: f64 = self.take(key)?;
        if !(value.is_finite() && value > 0.0) {
            return Err(Error::input(format!(
                "key `{key}`: expected a positive number, found {value}"
            )));
        }
        Ok(value)
    }

    /// A positive, finite number, if the key is there and not null.
    pub fn optional_positive(&mut self, key: &str) -> Result<Option<f64>> {
        match self.map.get(key) {
            None | Some(Value::Null) => self.optional(key),
            Some(_) => self.positive(key).map(Some),
        }
    }

    /// Fails (input) if a key is left that may have an effect.
    pub fn refuse_the_rest(self, family: Option<&Family>) -> Result<()> {
        let own = family.map_or(&[][..], |family| family.only);
        let inert = family.map_or(&[][..], |family| family.inert);
        for (key, value) in &self.map {
            let text = value.to_string();
            let only = own.iter().chain(&ONLY).find(|(name, _)| name == key);
            match only {
                _ if value.is_null() || inert.contains(&key.as_str()) => {}
                Some((_, values)) if values.contains(&text.as_str()) => {}
                Some((_, values)) => return Err(other_value(key, &values.join(" or "), &text)),
                None if INERT.contains(&key.as_str()) => {}
                None => {
                    return Err(Error::input(format!("key `{key}`: evalkit does not know it (value {text:.60})"))
                        .hint("if it does not change the computation, remove it from config.json; otherwise this model is not supported"));
                }
            }
        }
        Ok(())
    }
}

/// The error for a known key with a value that is not computed.
pub(super) fn other_value(key: &str, values: &str, found: &str) -> Error {
    Error::input(format!("key `{key}`: evalkit computes {values} only, found {found:.60}"))
        .hint("a model with another value computes something else: it is not supported")
}

/// The error for a value that is not computed.
pub(super) fn refused(key: &str, value: &str) -> Error {
    Error::input(format!("key `{key}`: evalkit cannot compute {value}"))
        .hint("the model would be scored as another one; use a checkpoint without it")
}
