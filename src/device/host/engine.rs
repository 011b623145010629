//! What an engine does: packages in, logits out. The runner around it does everything else.

use std::path::Path;

use crate::device::protocol::message::{ComputeUnits, ModelFunction};
use crate::device::protocol::result::ComputePlan;
use crate::error::Result;

/// What an engine is.
#[derive(Debug, Clone)]
pub struct EngineKind {
    /// `evalkit-cpu`.
    pub engine: &'static str,
    /// Whether the engine stands in for another device, so that nothing it measures counts as measured.
    pub simulated: bool,
    /// The runtime that computes, with its version.
    pub runtime: String,
    /// The compute units that can be asked for.
    pub compute_units: Vec<ComputeUnits>,
}

/// Sizes of a loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// Names of the packages' functions, sorted.
    pub functions: Vec<String>,
    /// How many tokens the cache holds.
    pub context_tokens: usize,
    /// The most tokens of one [`Engine::append`].
    pub prefill_tokens: usize,
    /// Size of the vocabulary.
    pub vocab_size: usize,
}

impl ModelShape {
    /// The tokens of one [`Engine::append`] of a prompt: one if `prefill` is not among the functions.
    pub fn tokens_per_call(&self) -> usize {
        let has_prefill = self.functions.iter().any(|name| name == ModelFunction::Prefill.name());
        if has_prefill { self.prefill_tokens } else { 1 }
    }
}

/// An engine, which has at most one package loaded.
pub trait Engine: Send {
    /// What the engine is.
    fn kind(&self) -> EngineKind;

    /// Loads the package in `folder`, with an empty cache. The caller has unloaded any other.
    ///
    /// # Errors
    /// The package is invalid, or cannot be read.
    fn load(&mut self, folder: &Path, units: ComputeUnits) -> Result<ModelShape>;

    /// Unloads the package.
    fn unload(&mut self);

    /// Empties the cache.
    ///
    /// # Errors
    /// No package is loaded.
    fn restart(&mut self) -> Result<()>;

    /// Appends tokens to the cache, and returns the logits after each, `[tokens][vocabulary]`.
    ///
    /// # Errors
    /// The model could not be computed.
    fn append(&mut self, ids: &[u32]) -> Result<Vec<Vec<f32>>>;

    /// On which compute device each operation of the package in `folder` is expected to run.
    ///
    /// # Errors
    /// The package is invalid, or cannot be read.
    fn plan(&self, folder: &Path, units: ComputeUnits) -> Result<ComputePlan>;
}
