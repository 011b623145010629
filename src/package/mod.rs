//! Core ML packages: written, read back, executed and proven on this machine.

pub mod blob;
pub mod bundle;
pub mod chain;
pub mod constexpr;
pub mod execute;
pub mod folder;
pub mod mil;
pub mod program;
pub mod read;
pub mod spec;
pub mod verify;
pub mod weights;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod peers;
