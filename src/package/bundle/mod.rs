//! A model as an app receives it: a folder with one or several packages, a `model.json` that says
//! how they are chained, and the tokenizer.
//!
//! A model that is larger than the limit for one package becomes a chain: embedding, groups of
//! consecutive blocks, head. In a mixture of experts, every block becomes two packages. The first
//! ends at the router. The second holds the experts, each with functions of its own, so that only
//! the chosen experts are read. The runner calls the chosen experts and adds their outputs to the
//! hidden states.

mod compute_units;
mod cut;
mod files;
mod manifest;
mod open;
mod traffic;
mod warnings;
mod weight_file;
mod write;

pub use compute_units::ComputeUnits;
pub use cut::PackageLimits;
pub use manifest::{FileEntry, MANIFEST_NAME, Manifest, PackageEntry, PackageRole};
pub use open::{Bundle, FileCheck};
pub use warnings::warnings;
pub use weight_file::position_table;
pub use write::{BundleRequest, check_design, planned_functions, predicted_bytes, write};
