//! What somebody says of a model, held against what is known: confirmed, refuted or not measured,
//! each with its evidence.
//!
//! A claim about a device is decided by that device alone: neither this machine nor a simulation
//! nor a calculation confirms what a phone is said to do. Sizes, and whether they fit, can be
//! counted from a configuration; such evidence says that it is predicted.

mod evidence;
mod read;
#[cfg(test)]
mod tests;

pub use evidence::evidence;
pub use read::{Claim, Claims, ModelConfig};

use super::number::{Detail, text};
use super::{Column, Document, Fact, Table, Unit, Value};
use crate::error::{Error, Exit, Result};
use crate::stats::Estimate;

/// What is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Size of the whole file.
    Size,
    /// Whether an app as it is may hold the model; 1 or 0.
    Fits,
    /// The same for an app with the entitlement for more memory.
    FitsEntitled,
    /// Perplexity on the run's text.
    Perplexity,
    /// Mean KL divergence from the unquantized model.
    KlMean,
    /// Share of tokens at which the likeliest is the unquantized model's.
    Top1,
    /// Speed of decoding.
    Decode,
    /// From the prompt to the first token.
    Ttft,
    /// From token to token, median.
    Token,
    /// Loading.
    Load,
    /// Peak memory.
    Memory,
    /// Share of the work that the Neural Engine does.
    NeuralEngine,
    /// How long a battery lasts.
    Battery,
}

impl Metric {
    /// Every metric, by the name that files of claims use, with its unit.
    const ALL: [(Metric, &'static str, Unit); 13] = [
        (Metric::Size, "size_bytes", Unit::Bytes),
        (Metric::Fits, "fits", Unit::None),
        (Metric::FitsEntitled, "fits_with_entitlement", Unit::None),
        (Metric::Perplexity, "perplexity", Unit::None),
        (Metric::KlMean, "kl_mean_nats", Unit::Nats),
        (Metric::Top1, "top1_share", Unit::Share),
        (Metric::Decode, "decode_tokens_per_s", Unit::TokensPerSecond),
        (Metric::Ttft, "ttft_ms", Unit::Millis),
        (Metric::Token, "token_ms", Unit::Millis),
        (Metric::Load, "load_ms", Unit::Millis),
        (Metric::Memory, "memory_peak_bytes", Unit::Bytes),
        (Metric::NeuralEngine, "neural_engine_share", Unit::Share),
        (Metric::Battery, "battery_ms", Unit::Millis),
    ];

    fn entry(self) -> (Metric, &'static str, Unit) {
        Self::ALL.into_iter().find(|(own, ..)| *own == self).unwrap_or(Self::ALL[0])
    }

    /// The name that files of claims use.
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    fn is_yes_or_no(self) -> bool {
        matches!(self, Metric::Fits | Metric::FitsEntitled)
    }

    fn from_name(name: &str) -> Result<Metric> {
        let found = Self::ALL.into_iter().find(|(_, own, _)| *own == name);
        found.map(|(metric, ..)| metric).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|(_, name, _)| *name).collect();
            Error::input(format!("expected one of {}, found {name:?}", known.join(", ")))
        })
    }

    /// A value in words, with its unit.
    fn words(self, value: &Estimate) -> String {
        if self.is_yes_or_no() {
            return if value.point > 0.5 { "yes" } else { "no" }.to_owned();
        }
        let (_, _, unit) = self.entry();
        let exact = value.interval.is_none_or(|interval| interval.low == interval.high);
        let value = if exact { Value::Number(value.point) } else { Value::Estimate(*value) };
        let number = text(&value, unit, Detail::Ends);
        match super::number::unit_name(unit) {
            "" => number,
            unit => format!("{number} {unit}"),
        }
    }
}

/// How something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Calculated from a configuration.
    Predicted,
    /// Said by a runner that computes nothing.
    Simulated,
    /// Measured, or counted from what was measured.
    Measured,
}

impl How {
    fn word(self) -> &'static str {
        match self {
            How::Predicted => "predicted",
            How::Simulated => "SIMULATED",
            How::Measured => "measured",
        }
    }
}

/// Something that is known of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The model's name.
    pub model: String,
    /// The variant.
    pub recipe: String,
    /// Names of the device; none for what no device has a part in.
    pub device: Vec<String>,
    /// What is known.
    pub metric: Metric,
    /// Its value, in the unit of the metric's name.
    pub value: Estimate,
    /// How it is known.
    pub how: How,
    /// From where, in words.
    pub from: String,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// What is known lies wholly within what is claimed.
    Confirmed,
    /// It lies wholly outside.
    Refuted,
    /// Nothing that is known decides it.
    NotMeasured,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Confirmed => "confirmed",
            Verdict::Refuted => "refuted",
            Verdict::NotMeasured => "not measured",
        }
    }
}

/// A claim with its verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The claim.
    pub claim: Claim,
    /// The verdict.
    pub verdict: Verdict,
    /// What decides it, or what there is instead.
    pub evidence: String,
}

/// Holds every claim against the evidence.
pub fn judge(claims: &Claims, all: &[Evidence]) -> Vec<Judged> {
    claims.claims.iter().map(|claim| judge_one(claim, all)).collect()
}

fn judge_one(claim: &Claim, all: &[Evidence]) -> Judged {
    let is_about = |one: &&Evidence| {
        one.metric == claim.metric
            && one.model.eq_ignore_ascii_case(&claim.model)
            && claim.recipe.as_ref().is_none_or(|recipe| *recipe == one.recipe)
    };
    let about: Vec<&Evidence> = all.iter().filter(is_about).collect();
    let decides = |one: &&&Evidence| {
        let is_there = match &claim.device {
            None => true,
            Some(device) => one.device.iter().any(|name| name.eq_ignore_ascii_case(device)),
        };
        is_there && one.how != How::Simulated
    };
    let mut verdict = Verdict::NotMeasured;
    let mut told = Vec::new();
    for one in about.iter().filter(decides) {
        let (found, why) = hold(claim, one);
        let is_worse = found == Verdict::Refuted
            || (found == Verdict::Confirmed && verdict == Verdict::NotMeasured);
        verdict = if is_worse { found } else { verdict };
        told.push(format!("{}{why}", one.told()));
    }
    if told.is_empty() {
        let beside = about.iter().map(|one| format!("{}, which does not decide it", one.told()));
        told.extend(beside);
    }
    if told.is_empty() {
        told.push("nothing is known".to_owned());
    }
    Judged { claim: claim.clone(), verdict, evidence: told.join("; ") }
}

/// What a piece of evidence makes of a claim, and why it makes nothing of it.
fn hold(claim: &Claim, one: &Evidence) -> (Verdict, &'static str) {
    let Some(interval) = one.value.interval else {
        return (Verdict::NotMeasured, ", too few repetitions for an interval");
    };
    let is_in = |value: f64| (claim.low..=claim.high).contains(&value);
    match (is_in(interval.low), is_in(interval.high)) {
        (true, true) => (Verdict::Confirmed, ""),
        (false, false) if interval.high < claim.low || interval.low > claim.high => {
            (Verdict::Refuted, "")
        }
        _ => (Verdict::NotMeasured, ", whose interval reaches over an end of the claimed range"),
    }
}

impl Evidence {
    fn told(&self) -> String {
        let (how, value) = (self.how.word(), self.metric.words(&self.value));
        format!("{value}, {how} {}", self.from)
    }
}

/// The answer to all: no where one is refuted, inconclusive where one is not measured.
pub fn exit(judged: &[Judged]) -> Exit {
    let has = |verdict: Verdict| judged.iter().any(|one| one.verdict == verdict);
    match (has(Verdict::Refuted), has(Verdict::NotMeasured)) {
        (true, _) => Exit::No,
        (false, true) => Exit::Inconclusive,
        (false, false) => Exit::Done,
    }
}

/// The verdicts as a document.
pub fn document(claims: &Claims, judged: &[Judged]) -> Document {
    let count = |verdict: Verdict| judged.iter().filter(|one| one.verdict == verdict).count();
    let fact = |key: &str, verdict: Verdict| Fact::new(key, verdict.word(), count(verdict));
    let row = |one: &Judged| {
        let claim = &one.claim;
        vec![
            Value::from(claim.says.as_str()),
            Value::from(claim.about()),
            Value::from(claim.range()),
            Value::from(one.verdict.word()),
            Value::from(one.evidence.as_str()),
            Value::from(claim.source.as_deref().unwrap_or_default()),
        ]
    };
    Document {
        title: "Claims and what is known".into(),
        facts: vec![
            Fact::new("source", "source", claims.source.as_str()),
            fact("confirmed", Verdict::Confirmed),
            fact("refuted", Verdict::Refuted),
            fact("not_measured", Verdict::NotMeasured),
        ],
        tables: vec![Table {
            title: "Claims".into(),
            columns: vec![
                Column::text("claim", "claim"),
                Column::text("about", "about"),
                Column::text("claimed", "claimed"),
                Column::text("verdict", "verdict"),
                Column::text("evidence", "evidence"),
                Column::text("where", "where").rank(1),
            ],
            rows: judged.iter().map(row).collect(),
            notes: claims.note.iter().cloned().collect(),
        }],
        notes: vec![
            "Confirmed: what is known lies wholly within the claimed range; refuted: wholly \
             outside. Predicted: counted from the configuration alone. A claim about a device is \
             decided by that device alone."
                .into(),
        ],
        ..Document::default()
    }
}
