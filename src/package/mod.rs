//! Core ML packages: written, read back, executed and proven on this machine.

pub mod blob;
pub mod constexpr;
pub mod execute;
#[cfg(test)]
mod fixture;
pub mod read;
pub mod spec;
