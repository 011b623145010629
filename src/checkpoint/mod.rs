//! Checkpoints on disk: tensors by layer and role, decoded to f32 on request.
//!
//! Both containers (safetensors folders, GGUF files) are read into the same table of stored tensors
//! under the same names, so that no other room depends on the container. Files are memory-mapped;
//! nothing is read before it is needed.

mod bytes;
pub mod config;
mod config_json;
pub mod dtype;
mod experts;
mod families;
mod foreign;
pub mod gguf;
mod head_norms;
mod head_order;
pub mod hub;
mod identity;
mod json;
mod layout;
mod missing;
pub mod mxfp4;
mod names;
mod open;
mod outline;
mod quantized;
mod read;
mod roles;
mod safetensors;
mod spelling;
mod stored;
mod tensor_bytes;
pub mod tokenizer;
mod weights;

pub use bytes::FileBytes;
pub use names::TensorId;
pub use open::{Checkpoint, Embedded};
pub use outline::Outline;
pub use roles::Role;
pub use stored::StoredTensor;
