//! Flags that say what packages are made for.

use clap::Args;

use super::args::parse_size;
use crate::package::mil::Opset;
use crate::package::program::Compute;
use crate::run::package::PackageOptions;

/// What packages are made for.
#[derive(Debug, Clone, Args)]
pub struct DesignArgs {
    /// The oldest system that runs them: ios17 (one table per tensor, caches as inputs) or ios18
    #[arg(long, value_name = "SYSTEM", default_value = "ios18")]
    target: Opset,
    /// The engine they are laid out for: gpu or ane
    #[arg(long, value_name = "ENGINE", default_value = "gpu")]
    compute: Compute,
    /// Tokens that the cache holds [default: 2048, or the model's context where that is shorter]
    #[arg(long, value_name = "TOKENS")]
    max_sequence_length: Option<usize>,
    /// Tokens of a prompt that are computed at a time [default: 64]
    #[arg(long, value_name = "TOKENS")]
    prefill_length: Option<usize>,
    /// Largest weight file of one package; a larger model becomes several
    /// [default: 1GB for gpu, 500MB for ane]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    chunk_size: Option<u64>,
    /// The licence of the weights, for the packages' metadata
    #[arg(long, value_name = "TEXT", default_value = "")]
    license: String,
}

impl DesignArgs {
    /// The flags as plain options.
    pub fn options(&self) -> PackageOptions {
        PackageOptions {
            target: self.target,
            compute: self.compute,
            max_sequence_length: self.max_sequence_length,
            prefill_length: self.prefill_length,
            chunk_bytes: self.chunk_size,
            license: self.license.clone(),
        }
    }
}
