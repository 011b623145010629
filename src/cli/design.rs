//! Flags that say what packages are made for.

use clap::Args;

use super::args::parse_size;
use crate::eval::Coder;
use crate::files::Existing;
use crate::package::bundle::{BundleRequest, PackageLimits};
use crate::package::mil::Opset;
use crate::package::program::{Compute, Design};

/// Tokens that the cache holds unless asked otherwise.
const CONTEXT_TOKENS: usize = 2048;
/// Tokens of a prompt that are computed at a time: what engines take in one go.
const PREFILL_TOKENS: usize = 64;

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
    /// What is to be written of `coder`'s model.
    pub fn order<'a>(&'a self, coder: Coder<'a>, existing: Existing) -> BundleRequest<'a> {
        let longest = coder.checkpoint.config.max_position_embeddings;
        let context_tokens = self.max_sequence_length.unwrap_or(CONTEXT_TOKENS.min(longest));
        let prefill_tokens = self.prefill_length.unwrap_or(PREFILL_TOKENS.min(context_tokens));
        let limits = PackageLimits::of(self.compute);
        BundleRequest {
            coder,
            design: Design {
                target: self.target,
                compute: self.compute,
                context_tokens,
                prefill_tokens,
            },
            limits: PackageLimits {
                chunk_bytes: self.chunk_size.unwrap_or(limits.chunk_bytes),
                ..limits
            },
            license: &self.license,
            existing,
        }
    }
}
