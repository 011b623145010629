//! The operators, as methods of the function builder; each file is a family.
//!
//! Names of operators and parameters are the format's own. Where a parameter has one useful value
//! in a language model, the method writes that value and does not ask.

mod constexpr;
mod elementwise;
mod layout;
mod products;
mod reduction;
mod state;

pub use constexpr::{BlobTensor, Operand};
pub use products::Convolution;
