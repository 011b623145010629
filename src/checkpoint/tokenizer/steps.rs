//! The steps of a tokenizer before its model, as its file describes them.

use serde::Deserialize;

/// What is changed in a text before it is split into words.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Normalization {
    Sequence {
        normalizers: Vec<Normalization>,
    },
    /// Something before the text.
    Prepend {
        prepend: String,
    },
    Replace {
        pattern: Pattern,
        content: String,
    },
    Lowercase,
    #[serde(rename = "NFC")]
    Nfc,
    #[serde(rename = "NFD", alias = "NFKC", alias = "NFKD")]
    OtherForm,
    #[serde(other)]
    Other,
}

/// What is looked for.
#[derive(Debug, Deserialize)]
pub(super) enum Pattern {
    String(String),
    Regex(String),
}

/// How a text is split into words.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Splitting {
    Sequence {
        pretokenizers: Vec<Splitting>,
    },
    ByteLevel {
        #[serde(default = "yes")]
        add_prefix_space: bool,
        #[serde(default = "yes")]
        use_regex: bool,
    },
    Split {
        pattern: Pattern,
        behavior: String,
    },
    Metaspace {
        replacement: char,
        split: bool,
    },
    Digits {
        individual_digits: bool,
    },
    Punctuation {
        #[serde(default)]
        behavior: String,
    },
    WhitespaceSplit,
    #[serde(other)]
    Other,
}

fn yes() -> bool {
    true
}

/// All steps in order, without their sequences.
pub(super) fn normalizations(from: Option<Normalization>) -> Vec<Normalization> {
    match from {
        None => Vec::new(),
        Some(Normalization::Sequence { normalizers }) => {
            normalizers.into_iter().flat_map(|step| normalizations(Some(step))).collect()
        }
        Some(step) => vec![step],
    }
}

/// All steps in order, without their sequences.
pub(super) fn splittings(from: Option<Splitting>) -> Vec<Splitting> {
    match from {
        None => Vec::new(),
        Some(Splitting::Sequence { pretokenizers }) => {
            pretokenizers.into_iter().flat_map(|step| splittings(Some(step))).collect()
        }
        Some(step) => vec![step],
    }
}
