//! Core ML packages: written, read back, executed and proven on this machine.

pub mod blob;
pub mod folder;
pub mod mil;
pub mod spec;
pub mod weights;

#[cfg(test)]
mod peers;
