//! What is on disk: a checkpoint's tensors by layer and role, decoded to f32 when asked for.
//!
//! Both containers (safetensors folders, GGUF files) are read into the same table of stored
//! tensors under one set of names, so that no other room knows which one it was. Everything is
//! mapped; nothing is read before it is needed.

mod bytes;
pub mod config;
mod config_json;
mod dtype;
mod experts;
pub mod gguf;
pub mod hub;
pub mod mxfp4;
mod names;
mod open;
mod outline;
mod read;
mod safetensors;
mod stored;
pub mod tokenizer;

pub use bytes::FileBytes;
pub use names::{Role, TensorId};
pub use open::{Checkpoint, Embedded};
pub use outline::Outline;
pub use stored::StoredTensor;
