//! A typed builder of MIL functions that cannot write what the format refuses.
//!
//! A [`FunctionBuilder`] grows one function: every operator is a method that checks its arguments,
//! infers the type of what it makes and hands back a [`Value`]. All shapes are fixed. Every
//! optional parameter that has a default other than "none" is written out, because Core ML's own
//! reader is less forgiving than coremltools' one. Names are identifiers and unique.
//!
//! Wrong use is a bug of the caller and says so: operator, parameter, expected, found.

mod call;
mod function;
mod literal;
mod model;
mod names;
mod ops;
mod shape;
mod types;
mod value;

pub use function::{BuiltFunction, FunctionBuilder};
pub use literal::Literal;
pub use model::model;
pub use ops::{BlobTensor, Convolution, Operand};
pub use types::{Opset, TensorType};
pub use value::{State, Value};

#[cfg(test)]
mod tests;
