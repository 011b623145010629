//! A model as an app receives it: one or several packages, `model.json` that says how they are
//! chained, and the tokenizer beside them.
//!
//! Models that are larger than the limit for one package become a chain: embedding, groups of
//! consecutive blocks, head. Of a mixture of experts every block is a package that ends at its
//! router, and every layer's experts are a package with functions of their own, so that only the
//! chosen experts are read; the runner routes, and adds what the experts give to the hidden states.

mod cut;
mod files;
mod manifest;
mod open;
mod place;
mod traffic;
mod write;

pub use cut::{Limits, Named, cut};
pub use manifest::{
    Described, FORMAT, FileEntry, InputScale, MANIFEST_NAME, Manifest, PackageEntry, Role, Routing,
};
pub use open::{Bundle, Check};
pub use place::rotary;
pub use traffic::Traffic;
pub use write::{Order, Written, planned, predicted_bytes, write};
