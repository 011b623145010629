//! The operators as methods of the function builder, one file per family.
//!
//! Operators and parameters have the names of the format. A parameter that always has the same
//! value in the programs that this crate writes is no parameter of the method.

mod constexpr;
mod elementwise;
mod layout;
mod products;
mod reduction;
mod state;

pub use constexpr::{MIDDLE_CODE, Operand};

#[cfg(test)]
mod tests;
