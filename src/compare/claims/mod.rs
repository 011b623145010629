//! Statements about a model, compared with what is known: confirmed, refuted or not measured, each
//! with its evidence.
//!
//! Only the device that a claim names decides it: neither this machine nor a simulation nor a
//! calculation confirms what a phone is said to do. Sizes, and whether they fit into memory, can be
//! computed from a configuration; such evidence is marked as predicted.

mod evidence;
mod metric;
mod read;
#[cfg(test)]
pub(crate) mod tests;

pub use evidence::evidence;
pub use metric::{ClaimEvidence, ClaimMetric, EvidenceKind};
pub use read::{Claim, Claims};

use crate::error::Exit;

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
