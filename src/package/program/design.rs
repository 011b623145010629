//! What a package is made for: the operating system, the engine, the lengths.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::package::mil::Opset;
use crate::package::weights::WeightLayout;

/// Rows of the vocabulary that one convolution of the head computes: the Neural Engine refuses
/// axes longer than 65,536, and runs shorter ones side by side.
pub const HEAD_ROWS: usize = 16_384;

/// The engine that a package is laid out for. Any engine computes either layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compute {
    /// Rows of channels, `linear`, fused attention: GPU and CPU.
    #[default]
    Gpu,
    /// Channels first, 1×1 convolutions, attention spelled out, the head in slices: the Neural
    /// Engine, whose fused attention is wrong on iOS 26.
    Ane,
}

impl Compute {
    /// Both.
    pub const ALL: [Compute; 2] = [Compute::Gpu, Compute::Ane];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Compute::Gpu => "gpu",
            Compute::Ane => "ane",
        }
    }

    /// The shape of weights in this layout.
    pub fn weights(self) -> WeightLayout {
        match self {
            Compute::Gpu => WeightLayout::Linear,
            Compute::Ane => WeightLayout::Convolution,
        }
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Compute {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Compute::ALL.into_iter().find(|compute| compute.name() == text);
        found.ok_or_else(|| Error::input(format!("expected gpu or ane, found {text}")))
    }
}

/// What a package is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Design {
    /// The oldest system that runs it.
    pub target: Opset,
    /// The layout.
    pub compute: Compute,
    /// Tokens that the cache holds.
    pub context_tokens: usize,
    /// Tokens that `prefill` takes at a time.
    pub prefill_tokens: usize,
}

impl Design {
    /// Refuses lengths that no package can have.
    ///
    /// # Errors
    /// Input errors that name the length.
    pub fn check(&self, longest_tokens: usize) -> Result<()> {
        let Design { context_tokens, prefill_tokens, .. } = *self;
        if !(2..=longest_tokens).contains(&context_tokens) {
            return Err(Error::input(format!(
                "expected a cache of 2 to {longest_tokens} tokens, which is the model's context, found {context_tokens}"
            ))
            .at("--max-sequence-length"));
        }
        if !(2..=context_tokens).contains(&prefill_tokens) {
            return Err(Error::input(format!(
                "expected 2 to {context_tokens} tokens, which the cache holds, found {prefill_tokens}"
            ))
            .at("--prefill-length"));
        }
        Ok(())
    }

    /// Columns of the attention masks in a call with `tokens` tokens.
    pub fn mask_columns(&self, tokens: usize) -> usize {
        match self.target {
            Opset::Ios17 => self.context_tokens + tokens,
            Opset::Ios18 => self.context_tokens,
        }
    }
}
