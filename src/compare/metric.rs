//! The metrics that runs are compared by, and the tolerance of each: the change that does not matter.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::stats::{Better, Effect, Limit, Paired, Tolerance};
use crate::units::Unit;

/// A number that runs are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Whether there is a valid result: the variant did not fail, its packages hold the model, and
    /// the device computes that model.
    Result,
    /// Perplexity, paired by window.
    Perplexity,
    /// Mean KL divergence from the reference, paired by window.
    Kl,
    /// Top-1 agreement with the reference, paired by window.
    Top1,
    /// Size of the whole file; exact.
    Size,
    /// Size of the packages on disk; exact.
    Packages,
    /// Tokens per second while decoding.
    Decode,
    /// Time to the first token.
    Ttft,
    /// Time to load a package that this device has loaded before.
    Load,
    /// Peak memory.
    Memory,
}

impl Metric {
    /// Every metric, in the order in which tables list them.
    pub const ALL: [Metric; 10] = [
        Metric::Result,
        Metric::Perplexity,
        Metric::Kl,
        Metric::Top1,
        Metric::Size,
        Metric::Packages,
        Metric::Decode,
        Metric::Ttft,
        Metric::Load,
        Metric::Memory,
    ];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Result => "result",
            Metric::Perplexity => "perplexity",
            Metric::Kl => "KL mean",
            Metric::Top1 => "top-1 agreement",
            Metric::Size => "size",
            Metric::Packages => "packages",
            Metric::Decode => "decode",
            Metric::Ttft => "TTFT",
            Metric::Load => "load",
            Metric::Memory => "peak memory",
        }
    }

    /// The unit of its values.
    pub fn unit(self) -> Unit {
        match self {
            Metric::Result | Metric::Perplexity => Unit::None,
            Metric::Kl => Unit::Nats,
            Metric::Top1 => Unit::Share,
            Metric::Size | Metric::Packages | Metric::Memory => Unit::Bytes,
            Metric::Decode => Unit::TokensPerSecond,
            Metric::Ttft | Metric::Load => Unit::Millis,
        }
    }

    /// Which direction is better.
    pub fn better(self) -> Better {
        match self {
            Metric::Top1 | Metric::Decode => Better::Higher,
            _ => Better::Lower,
        }
    }

    /// The unit of its changes: times, speeds and perplexity change by ratios.
    pub fn change_unit(self) -> Unit {
        match self {
            Metric::Kl | Metric::Top1 | Metric::Size | Metric::Packages => self.unit(),
            _ => Unit::Ratio,
        }
    }

    /// The change that means "the same": a ratio of 1 or a difference of 0.
    pub fn unchanged(self) -> f64 {
        if self.change_unit() == Unit::Ratio { 1.0 } else { 0.0 }
    }

    /// What more of would make an estimate more precise.
    pub fn repeats(self) -> &'static str {
        match self {
            Metric::Decode | Metric::Ttft | Metric::Load | Metric::Memory => "visits",
            _ => "windows",
        }
    }

    /// The change of this metric between paired windows; `None` for what windows do not have.
    pub fn effect(self, paired: &Paired) -> Option<Effect> {
        match self {
            Metric::Perplexity => Some(paired.perplexity),
            Metric::Kl => Some(paired.kl_mean_nats),
            Metric::Top1 => Some(paired.top1_agreement),
            _ => None,
        }
    }

    /// The key of its tolerance. Packages share that of sizes; a result has no tolerance.
    fn key(self) -> Option<&'static str> {
        Some(match self {
            Metric::Result => return None,
            Metric::Perplexity => "perplexity",
            Metric::Kl => "kl",
            Metric::Top1 => "top1",
            Metric::Size | Metric::Packages => "size",
            Metric::Decode => "decode",
            Metric::Ttft => "ttft",
            Metric::Load => "load",
            Metric::Memory => "memory",
        })
    }
}

/// Keys of tolerances with their defaults, as a plan spells them. KL has a floor in nats: close to
/// zero, a change of a few per cent is rounding.
pub const DEFAULTS: [(&str, &str); 8] = [
    ("perplexity", "0.5%"),
    ("kl", "2% or 0.00001"),
    ("top1", "0.005"),
    ("size", "0%"),
    ("decode", "5%"),
    ("ttft", "10%"),
    ("load", "20%"),
    ("memory", "5%"),
];

/// The floor of the default tolerance of KL.
const KL_FLOOR_NATS: f64 = 0.00001;

/// A share of the baseline, an amount in the metric's unit, or both; the larger one counts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Allowance {
    share: Option<f64>,
    amount: Option<f64>,
}

/// The tolerance of every metric, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Tolerances {
    allowed: BTreeMap<&'static str, Allowance>,
}

impl Tolerances {
    /// The defaults, changed by the pairs of key and limit in `set`; later pairs override earlier
    /// ones. A limit is a percentage of the baseline (`0.5%`), an amount in the metric's unit (nats,
    /// bytes, ms, tokens per second; for top-1 a share from 0 to 1), or both (`2% or 0.00001`); the
    /// larger one counts.
    ///
    /// # Errors
    /// Input errors that name the key: it is unknown, or its limit is not a finite number of 0 or more.
    pub fn resolve<'a>(set: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Tolerances> {
        let mut allowed = BTreeMap::new();
        for (key, text) in DEFAULTS.into_iter().chain(set) {
            let known = DEFAULTS.iter().find(|(known, _)| *known == key);
            let Some((known, _)) = known else {
                let keys: Vec<&str> = DEFAULTS.iter().map(|(key, _)| *key).collect();
                return Err(Error::input("unknown tolerance")
                    .at(key)
                    .hint(format!("the tolerances are {}", keys.join(", "))));
            };
            allowed.insert(*known, allowance(text).map_err(|e| e.at(key))?);
        }
        Ok(Tolerances { allowed })
    }

    fn allowed(&self, metric: Metric) -> Allowance {
        let found = metric.key().and_then(|key| self.allowed.get(key).copied());
        found.unwrap_or(Allowance { share: None, amount: Some(0.0) })
    }

    /// The tolerance of a metric whose accepted value is `baseline`; 0 for a result.
    pub fn of(&self, metric: Metric, baseline: f64) -> Tolerance {
        let Allowance { share, amount } = self.allowed(metric);
        let limit = match (share, amount) {
            (Some(share), amount) if share * baseline.abs() >= amount.unwrap_or(0.0) => {
                Limit::Relative(share)
            }
            (_, amount) => Limit::Absolute(amount.unwrap_or(0.0)),
        };
        Tolerance::new(limit, metric.better()).expect("limits were checked when they were read")
    }

    /// Whether the tolerance of a metric is as large as its accepted value, so that hardly any change can
    /// exceed it. The floor that KL has by default does not count.
    pub fn is_too_wide(&self, metric: Metric, baseline: f64) -> bool {
        let Allowance { share, amount } = self.allowed(metric);
        let floor = if metric == Metric::Kl { KL_FLOOR_NATS } else { 0.0 };
        let amount = amount.filter(|amount| *amount > floor);
        share.is_some_and(|share| share >= 1.0) || amount.is_some_and(|it| it >= baseline.abs())
    }

    /// The tolerance of a metric with its units: `2 % or 0.00001 nats`.
    pub fn words(&self, metric: Metric) -> String {
        let Allowance { share, amount } = self.allowed(metric);
        let unit = match metric.unit() {
            Unit::Nats => " nats",
            Unit::Bytes => " B",
            Unit::Millis => " ms",
            Unit::TokensPerSecond => " tokens/s",
            Unit::Share => " points",
            _ => "",
        };
        let factor = if metric.unit() == Unit::Share { 100.0 } else { 1.0 };
        let share = share.map(|share| format!("{} %", without_noise(share * 100.0)));
        let amount = amount.map(|amount| format!("{}{unit}", without_noise(amount * factor)));
        share.into_iter().chain(amount).collect::<Vec<_>>().join(" or ")
    }
}

/// The number without the rounding noise of binary fractions.
fn without_noise(value: f64) -> f64 {
    (value * 1e10).round() / 1e10
}

fn allowance(text: &str) -> Result<Allowance> {
    let mut found = Allowance { share: None, amount: None };
    for part in text.split(" or ") {
        let refused = || {
            let what = format!(
                "expected a tolerance such as `0.5%`, `0.001` or `2% or 0.001`, found {text:?}"
            );
            Error::input(what)
        };
        let (number, slot) = match part.trim().strip_suffix('%') {
            Some(number) => (number.trim(), &mut found.share),
            None => (part.trim(), &mut found.amount),
        };
        let number: f64 = number.parse().map_err(|_| refused())?;
        if slot.is_some() {
            return Err(refused());
        }
        let is_share = part.contains('%');
        let limit =
            if is_share { Limit::Relative(number / 100.0) } else { Limit::Absolute(number) };
        Tolerance::new(limit, Better::Lower)
            .map_err(|e| Error::input(e.to_string()).at(part.trim()))?;
        *slot = Some(if is_share { number / 100.0 } else { number });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_tolerances_override_earlier_ones_and_the_defaults() {
        let set = [("decode", "3%"), ("kl", "0.5"), ("decode", "2.5 %")];
        let found = Tolerances::resolve(set).unwrap();
        let expect = |metric: Metric, limit| {
            assert_eq!(found.of(metric, 9.0), Tolerance::new(limit, metric.better()).unwrap());
        };
        expect(Metric::Decode, Limit::Relative(0.025));
        expect(Metric::Kl, Limit::Absolute(0.5));
        expect(Metric::Packages, Limit::Relative(0.0));
        let words = Metric::ALL.map(|metric| found.words(metric));
        let expected =
            ["0", "0.5 %", "0.5 nats", "0.5 points", "0 %", "0 %", "2.5 %", "10 %", "20 %", "5 %"];
        assert_eq!(words, expected);
    }

    #[test]
    fn the_larger_of_two_limits_counts() {
        let found = Tolerances::resolve([]).unwrap();
        let lower = |limit| Tolerance::new(limit, Better::Lower).unwrap();
        assert_eq!(found.of(Metric::Kl, 0.1), lower(Limit::Relative(0.02)));
        assert_eq!(found.of(Metric::Kl, 1e-6), lower(Limit::Absolute(0.00001)));
        assert_eq!(found.words(Metric::Kl), "2 % or 0.00001 nats");
    }

    #[test]
    fn a_bad_tolerance_is_refused_with_its_key() {
        let refused = |key: &'static str, text: &'static str| {
            let error = Tolerances::resolve([(key, text)]).unwrap_err();
            assert_eq!(error.exit().code(), 2);
            error.to_string()
        };
        assert_eq!(
            refused("decode", "-5%"),
            "decode: -5%: expected a tolerance of 0 or more, found -0.05"
        );
        assert_eq!(refused("size", "inf"), "size: inf: expected a finite tolerance");
        assert!(refused("ttft", "NaN%").contains("finite"));
        assert!(refused("kl", "2% or -1").contains("-1: expected a tolerance of 0 or more"));
        assert!(refused("kl", "2% or 3%").contains("expected a tolerance such as"));
        assert!(refused("ttft", "fast").contains("expected a tolerance such as `0.5%`"));
        assert!(refused("speed", "5%").starts_with("speed: unknown tolerance\nhint:"));
    }
}
