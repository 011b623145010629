//! What computes: packages in, logits out. The runner around it does everything else.

use std::path::Path;

use crate::device::protocol::message::ComputeUnits;
use crate::device::protocol::result::Plan;
use crate::error::Result;

/// What an engine says of itself.
#[derive(Debug, Clone)]
pub struct Kind {
    /// `evalkit-cpu`; `simulated` for one that computes nothing.
    pub engine: &'static str,
    /// What computes, with its version.
    pub runtime: String,
    /// Where it can compute.
    pub compute_units: Vec<ComputeUnits>,
}

/// Numbers of a loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Functions of the packages, sorted.
    pub functions: Vec<String>,
    /// Tokens that the cache holds.
    pub context_tokens: usize,
    /// The most tokens of one [`Engine::append`].
    pub prefill_tokens: usize,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
}

/// An engine; at most one package is loaded.
pub trait Engine: Send {
    /// What it is.
    fn kind(&self) -> Kind;

    /// Loads the package in `folder`, with an empty cache; nothing is loaded before.
    ///
    /// # Errors
    /// What is wrong with the package.
    fn load(&mut self, folder: &Path, units: ComputeUnits) -> Result<Shape>;

    /// Forgets the loaded package.
    fn unload(&mut self);

    /// Empties the cache.
    ///
    /// # Errors
    /// Nothing is loaded.
    fn restart(&mut self) -> Result<()>;

    /// Appends tokens to the cache; gives the logits after each, `[tokens][vocabulary]`.
    ///
    /// # Errors
    /// The model could not be computed.
    fn append(&mut self, ids: &[u32]) -> Result<Vec<Vec<f32>>>;

    /// Where each operation of the package in `folder` is expected to run.
    ///
    /// # Errors
    /// What is wrong with the package.
    fn plan(&self, folder: &Path, units: ComputeUnits) -> Result<Plan>;
}
