//! Statements about a model, compared with what is known: confirmed, refuted or not measured, each
//! with its evidence.
//!
//! Only the device that a claim names decides it: neither this machine nor a simulation nor a
//! calculation confirms what a phone is said to do. Sizes, and whether they fit into memory, can be
//! computed from a configuration; such evidence is marked as predicted.

mod evidence;
mod read;
#[cfg(test)]
pub(crate) mod tests;

pub use evidence::evidence;
pub use read::{Claim, Claims, ModelConfig};

use crate::error::{Error, Exit, Result};
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

    fn from_name(name: &str) -> Result<ClaimMetric> {
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

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimVerdict {
    /// The known value is wholly within the claimed range.
    Confirmed,
    /// It is wholly outside.
    Refuted,
    /// Nothing known decides it.
    NotMeasured,
}

/// A claim with its verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The claim.
    pub claim: Claim,
    /// The verdict.
    pub verdict: ClaimVerdict,
    /// What decides it; if nothing does, what is known about it anyway.
    pub weighed: Vec<Weighed>,
}

/// A piece of evidence and what it contributes to a verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighed {
    /// The evidence.
    pub evidence: ClaimEvidence,
    /// What it contributes.
    pub weight: Weight,
}

/// What a piece of evidence contributes to a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It confirms or refutes the claim.
    Decides,
    /// Its value has no interval.
    NoInterval,
    /// Its interval crosses an end of the claimed range.
    CrossesEnd,
    /// It is simulated, or about another device.
    Elsewhere,
}

/// Compares every claim with the evidence.
pub fn judge(claims: &Claims, all: &[ClaimEvidence]) -> Vec<Judged> {
    claims.claims.iter().map(|claim| judge_one(claim, all)).collect()
}

fn judge_one(claim: &Claim, all: &[ClaimEvidence]) -> Judged {
    let is_about = |one: &&ClaimEvidence| {
        one.metric == claim.metric
            && one.model.eq_ignore_ascii_case(&claim.model)
            && claim.recipe.as_ref().is_none_or(|recipe| *recipe == one.recipe)
    };
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        all.iter().filter(is_about).partition(|one| is_from_device(claim, one));
    let mut verdict = ClaimVerdict::NotMeasured;
    let mut weighed = Vec::new();
    for one in here {
        let (found, weight) = hold(claim, one);
        // One refutation outweighs every confirmation.
        let is_stronger = found == ClaimVerdict::Refuted
            || (found == ClaimVerdict::Confirmed && verdict == ClaimVerdict::NotMeasured);
        verdict = if is_stronger { found } else { verdict };
        weighed.push(Weighed { evidence: one.clone(), weight });
    }
    if weighed.is_empty() {
        let weight = Weight::Elsewhere;
        weighed.extend(elsewhere.into_iter().map(|one| Weighed { evidence: one.clone(), weight }));
    }
    Judged { claim: claim.clone(), verdict, weighed }
}

/// Whether evidence comes from the device that the claim is about, not from a simulation.
fn is_from_device(claim: &Claim, one: &ClaimEvidence) -> bool {
    let is_there = match &claim.device {
        None => true,
        Some(device) => one.device.iter().any(|name| name.eq_ignore_ascii_case(device)),
    };
    is_there && one.kind != EvidenceKind::Simulated
}

/// The verdict of one piece of evidence, and its weight.
fn hold(claim: &Claim, one: &ClaimEvidence) -> (ClaimVerdict, Weight) {
    let Some(interval) = one.value.interval else {
        return (ClaimVerdict::NotMeasured, Weight::NoInterval);
    };
    if claim.low <= interval.low && interval.high <= claim.high {
        (ClaimVerdict::Confirmed, Weight::Decides)
    } else if interval.high < claim.low || claim.high < interval.low {
        (ClaimVerdict::Refuted, Weight::Decides)
    } else {
        (ClaimVerdict::NotMeasured, Weight::CrossesEnd)
    }
}

/// The exit code for all: no if any claim is refuted, otherwise inconclusive if any is not measured.
pub fn exit(judged: &[Judged]) -> Exit {
    let has = |verdict: ClaimVerdict| judged.iter().any(|one| one.verdict == verdict);
    if has(ClaimVerdict::Refuted) {
        Exit::No
    } else if has(ClaimVerdict::NotMeasured) {
        Exit::Inconclusive
    } else {
        Exit::Done
    }
}
