//! What a package is made for: the operating system, the engine, the lengths of cache and prompt.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::package::mil::Opset;
use crate::package::weights::WeightLayout;

/// The number of rows of the vocabulary in one slice of the head: the Neural Engine does not
/// support axes longer than 65,536, and runs several shorter convolutions in parallel.
pub const HEAD_ROWS: usize = 16_384;

/// The engine whose layout a package has. Every engine can run either layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compute {
    /// For GPU and CPU: channels last, `linear`, fused attention.
    #[default]
    Gpu,
    /// For the Neural Engine: channels first, 1×1 convolutions, the head in slices, and attention
    /// in separate operators, because fused attention gives wrong results there on iOS 26.
    Ane,
}

impl Compute {
    /// Both engines.
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

/// How a package keeps keys and values between calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// As states that the program writes. From iOS 18.
    State,
    /// As inputs; the program outputs only the new rows, and the runner writes them.
    Inputs,
}

impl Cache {
    /// Both ways.
    pub const ALL: [Cache; 2] = [Cache::State, Cache::Inputs];

    /// The default for a target: states where it has them.
    pub fn of(target: Opset) -> Self {
        match target {
            Opset::Ios17 => Cache::Inputs,
            Opset::Ios18 => Cache::State,
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Cache::State => "state",
            Cache::Inputs => "inputs",
        }
    }
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Cache {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Cache::ALL.into_iter().find(|cache| cache.name() == text);
        found.ok_or_else(|| Error::input(format!("expected state or inputs, found {text}")))
    }
}

/// What a package is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Design {
    /// The oldest operating system that can run it.
    pub target: Opset,
    /// The layout.
    pub compute: Compute,
    /// How keys and values are kept.
    pub cache: Cache,
    /// The number of tokens that the cache holds.
    pub context_tokens: usize,
    /// The number of tokens that one call of `prefill` takes.
    pub prefill_tokens: usize,
}

impl Design {
    /// Checks that the target has this cache, and that the lengths are possible for a model with a
    /// context of `longest_tokens` tokens.
    ///
    /// # Errors
    /// Input errors that name the flag.
    pub fn check(&self, longest_tokens: usize) -> Result<()> {
        let Design { target, cache, context_tokens, prefill_tokens, .. } = *self;
        if cache == Cache::State && target < Opset::Ios18 {
            return Err(Error::input(format!("{target} has no states"))
                .at("--cache")
                .hint("use --cache inputs, or --target ios18"));
        }
        if !(2..=longest_tokens).contains(&context_tokens) {
            return Err(Error::input(format!(
                "expected a cache of 2 to {longest_tokens} tokens (the model's context), found {context_tokens}"
            ))
            .at("--max-sequence-length"));
        }
        if !(2..=context_tokens).contains(&prefill_tokens) {
            return Err(Error::input(format!(
                "expected 2 to {context_tokens} tokens (the size of the cache), found {prefill_tokens}"
            ))
            .at("--prefill-length"));
        }
        Ok(())
    }

    /// The number of columns of the attention masks in a call with `tokens` tokens.
    pub fn mask_columns(&self, tokens: usize) -> usize {
        match self.cache {
            Cache::Inputs => self.context_tokens + tokens,
            Cache::State => self.context_tokens,
        }
    }
}
