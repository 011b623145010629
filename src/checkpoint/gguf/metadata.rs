//! The key-value pairs of a GGUF header, read by key and type.
//!
//! A value of the wrong type is an error that names the key. A missing key gives `None`, since only
//! the caller knows which keys may be missing.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// One value. Integers of every width are one kind, and floats of both widths another.
#[derive(Debug, Clone, PartialEq)]
pub enum MetadataValue {
    /// Any integer type.
    Integer(i128),
    /// f32 or f64.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// UTF-8 text.
    Text(String),
    /// An array of integers or booleans.
    Integers(Vec<i64>),
    /// An array of f32 or f64.
    Floats(Vec<f64>),
    /// An array of texts.
    Texts(Vec<String>),
}

impl MetadataValue {
    fn kind(&self) -> &'static str {
        match self {
            MetadataValue::Integer(_) => "an integer",
            MetadataValue::Float(_) => "a float",
            MetadataValue::Bool(_) => "a boolean",
            MetadataValue::Text(_) => "a text",
            MetadataValue::Integers(_) => "an array of integers",
            MetadataValue::Floats(_) => "an array of floats",
            MetadataValue::Texts(_) => "an array of texts",
        }
    }
}

/// The metadata of a GGUF file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata(BTreeMap<String, MetadataValue>);

impl Metadata {
    /// Metadata of these pairs.
    pub fn new(values: BTreeMap<String, MetadataValue>) -> Self {
        Metadata(values)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MetadataValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`, of whatever kind.
    pub fn get(&self, key: &str) -> Option<&MetadataValue> {
        self.0.get(key)
    }

    /// Sets a text.
    pub fn set_text(&mut self, key: &str, text: &str) {
        self.0.insert(key.to_owned(), MetadataValue::Text(text.to_owned()));
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        pick: impl Fn(&'a MetadataValue) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        pick(value).map(Some).ok_or_else(|| {
            Error::input(format!("expected {expected}, found {}", value.kind()))
                .at(format!("key {key}"))
        })
    }

    /// An integer of any width.
    pub fn integer(&self, key: &str) -> Result<Option<i128>> {
        self.typed(key, "an integer", |v| match v {
            MetadataValue::Integer(value) => Some(*value),
            _ => None,
        })
    }

    /// A float of either width, or an integer as a float.
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a float", |v| match v {
            MetadataValue::Float(value) => Some(*value),
            MetadataValue::Integer(value) => Some(*value as f64),
            _ => None,
        })
    }

    /// A boolean.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a boolean", |v| match v {
            MetadataValue::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a text", |v| match v {
            MetadataValue::Text(value) => Some(value.as_str()),
            _ => None,
        })
    }

    /// An array of texts.
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>> {
        self.typed(key, "an array of texts", |v| match v {
            MetadataValue::Texts(values) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// An array of integers.
    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>> {
        self.typed(key, "an array of integers", |v| match v {
            MetadataValue::Integers(values) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// A number for each of `layers` layers: an array of that length, or one integer for all.
    pub fn per_layer(&self, key: &str, layers: usize) -> Result<Option<Vec<i64>>> {
        let refused = |what: String| Err(Error::input(what).at(format!("key {key}")));
        match self.0.get(key) {
            None => Ok(None),
            Some(MetadataValue::Integer(value)) => match i64::try_from(*value) {
                Ok(value) => Ok(Some(vec![value; layers])),
                Err(_) => refused(format!("expected a 63-bit number, found {value}")),
            },
            Some(MetadataValue::Integers(values)) if values.len() == layers => {
                Ok(Some(values.clone()))
            }
            Some(MetadataValue::Integers(values)) => {
                let found = values.len();
                refused(format!("expected a number for each of {layers} layers, found {found}"))
            }
            Some(other) => {
                let found = other.kind();
                refused(format!("expected an integer or an array of integers, found {found}"))
            }
        }
    }

    /// An array of floats.
    pub fn floats(&self, key: &str) -> Result<Option<&[f64]>> {
        self.typed(key, "an array of floats", |v| match v {
            MetadataValue::Floats(values) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// The value `found` for a key that must be present.
    pub fn required<T>(&self, key: &str, found: Result<Option<T>>) -> Result<T> {
        found?.ok_or_else(|| {
            Error::input(format!("the key {key} is missing"))
                .hint("convert the model again with a current llama.cpp")
        })
    }
}
