//! A typed builder of MIL functions, which cannot write a function that the format does not allow.
//!
//! A [`FunctionBuilder`] builds one function. Every operator is a method that checks its arguments,
//! infers the type of the result and returns a [`Value`]. All shapes are fixed. Every optional
//! parameter that has a default value is written out, because Core ML's own reader accepts less
//! than that of coremltools. Names are unique identifiers.
//!
//! Wrong use is a bug in the caller. The error names the operator, the parameter, what was expected
//! and what was found.

mod blob_tensor;
mod call;
mod function;
mod literal;
mod model;
mod names;
mod ops;
mod shape;
mod types;
mod value;

pub use blob_tensor::BlobTensor;
pub use function::{BuiltFunction, FunctionBuilder};
pub use literal::Literal;
pub use model::model;
pub use ops::{MIDDLE_CODE, Operand};
pub use types::Opset;
pub use value::{StateBuffer, Value};

#[cfg(test)]
mod tests;
