//! Results of requests: what a runner is, which packages it has, what it measured.

use serde::{Deserialize, Serialize};

pub use crate::results::runner::{
    ComputeDevice, ComputePlan, Description, Device, Figures, Generated, Loaded, Operation, Power,
    Scored,
};

/// The packages that a runner has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The packages.
    pub packages: Vec<StoredPackage>,
}

impl Listing {
    /// Total bytes of the packages.
    pub fn size_bytes(&self) -> u64 {
        self.packages.iter().fold(0, |sum, package| package.size_bytes.saturating_add(sum))
    }
}

/// A complete package in a runner's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPackage {
    /// Its name.
    pub package: String,
    /// Total bytes of its files.
    pub size_bytes: u64,
    /// When it was last loaded or stored, in seconds since 1970.
    pub last_used_unix_s: u64,
    /// Whether it is the loaded package.
    pub loaded: bool,
}

/// How much of a package a runner already has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Whether the package is complete and in the store.
    pub complete: bool,
    /// Its files in the manifest's order; empty if the package is complete.
    pub files: Vec<HeldFile>,
}

/// How much of a file a runner already has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFile {
    /// The path of the file.
    pub path: String,
    /// Bytes from its start: the whole file, or a multiple of 1 MiB.
    pub have_bytes: u64,
}
