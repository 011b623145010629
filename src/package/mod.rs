//! Core ML packages: writing them, reading them back, executing them and verifying them, all on
//! this machine and without Core ML.

pub mod blob;
pub mod budget;
pub mod bundle;
pub mod chain;
pub mod constexpr;
pub mod execute;
pub mod mil;
pub mod program;
pub mod read;
pub mod spec;
pub mod verify;
pub mod weights;
pub mod write;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod peers;
