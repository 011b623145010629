//! The keys under the architecture's own prefix.
//!
//! The computation may depend on any of them. Such a key is therefore read, known to have no effect,
//! or refused by name, because a model that computes something else must not be scored as if it did
//! not.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::{Error, Result};

use super::metadata::{Metadata, MetadataValue};

/// Keys that llama.cpp reads for other purposes, or not at all, for these architectures.
const WITHOUT_EFFECT: [&str; 10] = [
    // The number of rows of the embedding is used instead.
    "vocab_size",
    // The architecture decides the order of rows.
    "tensor_data_layout",
    // The family decides which of both there is.
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    // Without YaRN nothing reads these.
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.finetuned",
    // The tensor's own shape is used instead.
    "expert_shared_feed_forward_length",
    // A family without rotation has no rotated dimensions.
    "rope.dimension_count",
];

/// Keys that have no effect at this value.
const WITHOUT_EFFECT_AT: [(&str, f64); 16] = [
    ("expert_count", 0.0),
    ("expert_used_count", 0.0),
    ("expert_shared_count", 0.0),
    ("expert_group_count", 0.0),
    ("expert_group_count", 1.0),
    ("expert_group_used_count", 0.0),
    ("expert_group_used_count", 1.0),
    ("expert_weights_scale", 0.0),
    ("expert_weights_scale", 1.0),
    ("attention.sliding_window", 0.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("rope.scaling.attn_factor", 1.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
    ("embedding_scale", 1.0),
];

/// Reads keys, and remembers which were read.
pub(super) struct MetadataKeys<'a> {
    pub metadata: &'a Metadata,
    prefix: &'static str,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> MetadataKeys<'a> {
    /// The keys that begin with `prefix` and a dot.
    pub fn new(metadata: &'a Metadata, prefix: &'static str) -> Self {
        MetadataKeys { metadata, prefix, read: RefCell::default() }
    }

    /// The whole key, which counts as read from here on.
    pub fn full(&self, key: &str) -> String {
        let full = format!("{}.{key}", self.prefix);
        self.read.borrow_mut().insert(full.clone());
        full
    }

    /// Whether a key is there and not 0. It does not count as read.
    pub fn is_set(&self, key: &str) -> bool {
        let found = self.metadata.get(&format!("{}.{key}", self.prefix));
        !matches!(found, None | Some(MetadataValue::Integer(0) | MetadataValue::Bool(false)))
    }

    /// A positive number that fits a usize.
    pub fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let full = self.full(key);
        self.metadata.integer(&full)?.map(|found| self.checked_size(key, found)).transpose()
    }

    /// As [`optional_size`](Self::optional_size), of a key that must be there.
    pub fn size(&self, key: &str) -> Result<usize> {
        self.metadata.required(&self.full(key), self.optional_size(key))
    }

    /// The number `found` under a key, as a size.
    pub fn checked_size(&self, key: &str, found: i128) -> Result<usize> {
        match u32::try_from(found) {
            Ok(size @ 1..) => Ok(size as usize),
            _ => Err(Error::input(format!("expected a positive 32-bit number, found {found}"))
                .at(format!("key {}", self.full(key)))),
        }
    }

    /// A positive number, or an array that repeats it for every block.
    pub fn same_size(&self, key: &str, blocks: usize) -> Result<Option<usize>> {
        let full = self.full(key);
        let Some(sizes) = self.metadata.per_layer(&full, blocks)? else { return Ok(None) };
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

    /// A positive, finite number.
    pub fn positive(&self, key: &str, default: Option<f64>) -> Result<f64> {
        let full = self.full(key);
        let found = self.metadata.float(&full).map(|f| f.or(default));
        let value = self.metadata.required(&full, found)?;
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        Err(Error::input(format!("expected a positive number, found {value}"))
            .at(format!("key {full}")))
    }

    /// A number or a switch as in a configuration, where a float of 0 is null.
    pub fn value(&self, key: &str) -> Result<Option<Value>> {
        let full = self.full(key);
        match self.metadata.get(&full) {
            None => Ok(None),
            Some(MetadataValue::Integer(number)) => match u32::try_from(*number) {
                Ok(number) => Ok(Some(number.into())),
                Err(_) => Err(Error::input(format!("expected a 32-bit number, found {number}"))
                    .at(format!("key {full}"))),
            },
            Some(MetadataValue::Float(0.0)) => Ok(Some(Value::Null)),
            Some(MetadataValue::Float(number)) if number.is_finite() => Ok(Some((*number).into())),
            Some(MetadataValue::Float(number)) => {
                Err(Error::input(format!("expected a finite number, found {number}"))
                    .at(format!("key {full}")))
            }
            Some(MetadataValue::Bool(switch)) => Ok(Some((*switch).into())),
            Some(_) => Err(Error::input("expected a number").at(format!("key {full}"))),
        }
    }

    /// Fails (input) if a key is there with another value than `expected`; a switch is 0 or 1.
    pub fn expect(&self, key: &str, expected: f64) -> Result<()> {
        let full = self.full(key);
        match self.metadata.get(&full).map(number) {
            None => Ok(()),
            Some(Some(found)) if found == expected => Ok(()),
            Some(_) => Err(not_computed(&full)),
        }
    }

    /// Fails (input) if a key was not read and may have an effect. `inert` have none in this
    /// architecture.
    pub fn refuse_the_rest(&self, inert: &[&str]) -> Result<()> {
        let read = self.read.borrow();
        for (full, value) in self.metadata.iter() {
            let own = full.strip_prefix(self.prefix).and_then(|rest| rest.strip_prefix('.'));
            let Some(key) = own else { continue };
            let found = number(value);
            let is_inert = WITHOUT_EFFECT.contains(&key)
                || inert.contains(&key)
                || WITHOUT_EFFECT_AT.iter().any(|&(k, inert)| k == key && found == Some(inert));
            if !is_inert && !read.contains(full) {
                return Err(not_computed(full));
            }
        }
        Ok(())
    }
}

fn number(value: &MetadataValue) -> Option<f64> {
    match value {
        MetadataValue::Integer(value) => Some(*value as f64),
        MetadataValue::Float(value) => Some(*value),
        MetadataValue::Bool(value) => Some(f64::from(u8::from(*value))),
        _ => None,
    }
}

fn not_computed(full: &str) -> Error {
    Error::input(format!("the key {full} asks for a computation that is not supported"))
        .hint("this variant of the architecture would be scored wrongly; use another checkpoint")
}
