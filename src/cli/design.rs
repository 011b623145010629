//! Flags that say how packages are made.

use clap::Args;

use super::args::parse_size;
use crate::package::mil::Opset;
use crate::package::program::{Cache, Compute};
use crate::run::package::PackageOptions;

/// How packages are made.
#[derive(Debug, Clone, Args)]
pub struct DesignArgs {
    /// Oldest system to run on: ios17 or ios18
    ///
    /// ios17: one table per tensor, caches as inputs.
    #[arg(long, value_name = "SYSTEM", default_value = "ios18")]
    target: Opset,
    /// Engine to lay the packages out for: gpu or ane
    #[arg(long, value_name = "ENGINE", default_value = "gpu")]
    compute: Compute,
    /// How the cache is kept: state or inputs [default: state; inputs for ios17]
    ///
    /// inputs: the runner writes the new rows of keys and values, and no write is in the program.
    #[arg(long, value_name = "HOW")]
    cache: Option<Cache>,
    /// Tokens that the cache holds [default: at most 2048]
    ///
    /// The default is the model's context if that is below 2048.
    #[arg(long, value_name = "TOKENS")]
    max_sequence_length: Option<usize>,
    /// Prompt tokens per call of prefill [default: 64; 32 for ane]
    #[arg(long, value_name = "TOKENS")]
    prefill_length: Option<usize>,
    /// Largest weight file [default: 1GB; 500MB for ane]
    ///
    /// A larger model becomes several packages.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    chunk_size: Option<u64>,
    /// Licence of the weights, for the packages' metadata
    #[arg(long, value_name = "TEXT", default_value = "", hide_short_help = true)]
    license: String,
}

impl DesignArgs {
    /// The flags as plain options.
    pub fn options(&self) -> PackageOptions {
        PackageOptions {
            target: self.target,
            compute: self.compute,
            cache: self.cache,
            max_sequence_length: self.max_sequence_length,
            prefill_length: self.prefill_length,
            chunk_bytes: self.chunk_size,
            license: self.license.clone(),
        }
    }
}
