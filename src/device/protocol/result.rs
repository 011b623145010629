//! Results of requests: what a runner is, what it holds, what it measured.

use serde::{Deserialize, Serialize};

pub use crate::results::runner::{
    Description, Device, Figures, Generated, Loaded, Operation, Plan, Power, Scored, Thermal, Unit,
};

/// Packages that a runner holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The packages.
    pub packages: Vec<Listed>,
}

/// A package in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub package: String,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// When it was last loaded or put, in seconds since 1970.
    pub last_used_unix_s: u64,
    /// Whether it is loaded.
    pub loaded: bool,
}

/// How much of a package a runner holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Whether it is in place.
    pub complete: bool,
    /// Its files, in the manifest's order; empty when it is in place.
    pub files: Vec<HeldFile>,
}

/// How much of a file a runner holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFile {
    /// The file.
    pub path: String,
    /// From its start: all of it, or a multiple of 1 MiB.
    pub have_bytes: u64,
}
