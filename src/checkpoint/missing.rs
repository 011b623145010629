//! The error for a tensor that a checkpoint lacks.

use super::names::TensorId;
use super::roles::Role;
use super::stored::absent;
use crate::error::Error;

/// The error for a tensor of the architecture that the checkpoint lacks, which it would call `name`.
pub fn missing(id: TensorId, name: &str) -> Error {
    if id != TensorId::model(Role::Head) {
        return absent(name);
    }
    Error::input("expected by the architecture, not found in the checkpoint")
        .at(format!("tensor {name}"))
        .hint("if the head shares the embedding's weights, config.json must say \"tie_word_embeddings\": true, and it does not; otherwise a shard is missing")
}
