//! What a claim is about, and what is known of it.

use crate::error::{Error, Result};
use crate::stats::Estimate;
use crate::units::Unit;

/// What is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimMetric {
    /// Size of the whole file.
    Size,
    /// Whether the model fits into the memory of an ordinary app; 1 or 0.
    Fits,
    /// Whether it fits into that of an app with the entitlement for more memory; 1 or 0.
    FitsEntitled,
    /// Perplexity on the run's text.
    Perplexity,
    /// Mean KL divergence from the unquantized model.
    KlMean,
    /// Share of tokens at which the likeliest is the unquantized model's.
    Top1,
    /// Speed of decoding.
    Decode,
    /// Time from the prompt to the first token.
    Ttft,
    /// Time from token to token, median.
    Token,
    /// Time to load.
    Load,
    /// Peak memory.
    Memory,
    /// Share of the work that the Neural Engine does.
    NeuralEngine,
    /// Battery life.
    Battery,
}

impl ClaimMetric {
    /// Every metric with the name that files of claims use, and its unit.
    const ALL: [(ClaimMetric, &'static str, Unit); 13] = [
        (ClaimMetric::Size, "size_bytes", Unit::Bytes),
        (ClaimMetric::Fits, "fits", Unit::None),
        (ClaimMetric::FitsEntitled, "fits_with_entitlement", Unit::None),
        (ClaimMetric::Perplexity, "perplexity", Unit::None),
        (ClaimMetric::KlMean, "kl_mean_nats", Unit::Nats),
        (ClaimMetric::Top1, "top1_share", Unit::Share),
        (ClaimMetric::Decode, "decode_tokens_per_s", Unit::TokensPerSecond),
        (ClaimMetric::Ttft, "ttft_ms", Unit::Millis),
        (ClaimMetric::Token, "token_ms", Unit::Millis),
        (ClaimMetric::Load, "load_ms", Unit::Millis),
        (ClaimMetric::Memory, "memory_peak_bytes", Unit::Bytes),
        (ClaimMetric::NeuralEngine, "neural_engine_share", Unit::Share),
        (ClaimMetric::Battery, "battery_ms", Unit::Millis),
    ];

    /// The unit of its values.
    pub fn unit(self) -> Unit {
        let found = Self::ALL.into_iter().find(|(own, ..)| *own == self);
        found.map_or(Unit::None, |(_, _, unit)| unit)
    }

    /// Whether its value is yes (1) or no (0).
    pub fn is_yes_or_no(self) -> bool {
        matches!(self, ClaimMetric::Fits | ClaimMetric::FitsEntitled)
    }

    pub(super) fn from_name(name: &str) -> Result<ClaimMetric> {
        let found = Self::ALL.into_iter().find(|(_, own, _)| *own == name);
        found.map(|(metric, ..)| metric).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|(_, name, _)| *name).collect();
            Error::input(format!("expected one of {}, found {name:?}", known.join(", ")))
        })
    }
}

/// How something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceKind {
    /// Calculated from a configuration.
    Predicted,
    /// Reported by a runner that computes nothing.
    Simulated,
    /// Measured, or counted from what was measured.
    Measured,
}

/// One known value of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimEvidence {
    /// The model's name.
    pub model: String,
    /// The variant.
    pub recipe: String,
    /// All names of the device; empty for what does not depend on a device.
    pub device: Vec<String>,
    /// What is known.
    pub metric: ClaimMetric,
    /// Its value, in the unit of the metric's name.
    pub value: Estimate,
    /// How it is known.
    pub kind: EvidenceKind,
    /// Where it comes from, in words.
    pub from: String,
}
