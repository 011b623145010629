//! What a check judges, and how large a change of it does not matter.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::report::Unit;
use crate::stats::{Better, Limit, Tolerance};

/// A number that a check judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Whether there is a result at all: the variant did not fail, its packages are the model, a
    /// device computes it.
    Result,
    /// Perplexity, paired by window.
    Perplexity,
    /// Mean KL divergence from the reference, paired by window.
    Kl,
    /// Top-1 agreement with the reference, paired by window.
    Top1,
    /// Size of the whole file; exact.
    Size,
    /// Size of the packages on the disk; exact.
    Packages,
    /// Tokens per second while decoding.
    Decode,
    /// Time to the first token.
    Ttft,
    /// Time to load a package that was loaded before.
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
            Metric::Top1 => "top-1",
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

    /// Which way it is better.
    pub fn better(self) -> Better {
        match self {
            Metric::Top1 | Metric::Decode => Better::Higher,
            _ => Better::Lower,
        }
    }

    /// The key of its tolerance; packages are held to that of sizes, and a result has none.
    fn key(self) -> Option<&'static str> {
        Some(match self {
            Metric::Result => return None,
            Metric::Perplexity => "perplexity",
            Metric::Kl => "kl_nats",
            Metric::Top1 => "top1",
            Metric::Size | Metric::Packages => "size",
            Metric::Decode => "decode",
            Metric::Ttft => "ttft",
            Metric::Load => "load",
            Metric::Memory => "memory",
        })
    }
}

/// Keys of tolerances with their defaults, as a plan spells them.
pub const DEFAULTS: [(&str, &str); 8] = [
    ("perplexity", "0.5%"),
    ("kl_nats", "0.001"),
    ("top1", "0.005"),
    ("size", "0%"),
    ("decode", "5%"),
    ("ttft", "10%"),
    ("load", "20%"),
    ("memory", "5%"),
];

/// The tolerance of every metric, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Tolerances {
    limits: BTreeMap<&'static str, Limit>,
}

impl Tolerances {
    /// The defaults with the changes `set`, later ones over earlier ones: a key, and a percentage of
    /// the baseline (`0.5%`) or an amount in the metric's unit (nats, bytes, ms, tokens per second;
    /// of top-1, a part of 1).
    ///
    /// # Errors
    /// Input errors that name the key: one that is unknown, a text that is no number, a number that
    /// is negative or not finite.
    pub fn resolve<'a>(set: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Tolerances> {
        let mut limits = BTreeMap::new();
        for (key, text) in DEFAULTS.into_iter().chain(set) {
            let known = DEFAULTS.iter().find(|(known, _)| *known == key);
            let Some((known, _)) = known else {
                let keys: Vec<&str> = DEFAULTS.iter().map(|(key, _)| *key).collect();
                return Err(Error::input("there is no such tolerance")
                    .at(key)
                    .hint(format!("tolerances are {}", keys.join(", "))));
            };
            limits.insert(*known, limit(text).map_err(|e| e.at(key))?);
        }
        Ok(Tolerances { limits })
    }

    /// The tolerance of a metric; nothing of a result.
    pub fn of(&self, metric: Metric) -> Tolerance {
        let limit = metric.key().and_then(|key| self.limits.get(key).copied());
        let limit = limit.unwrap_or(Limit::Absolute(0.0));
        Tolerance::new(limit, metric.better()).expect("limits were checked when they were read")
    }

    /// Keys and limits, spelled as in a plan.
    pub fn spelled(&self) -> String {
        let spell = |(key, limit): (&&str, &Limit)| match limit {
            Limit::Relative(share) => format!("{key} {}%", percent(*share)),
            Limit::Absolute(amount) => format!("{key} {amount}"),
        };
        self.limits.iter().map(spell).collect::<Vec<_>>().join(", ")
    }
}

/// A share in percent, without the noise of binary fractions.
fn percent(share: f64) -> f64 {
    (share * 1e10).round() / 1e8
}

fn limit(text: &str) -> Result<Limit> {
    let refused = || {
        Error::input(format!("expected a tolerance such as 0.5% or 0.001, found {text:?}"))
    };
    let (number, is_share) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim(), true),
        None => (text.trim(), false),
    };
    let number: f64 = number.parse().map_err(|_| refused())?;
    let limit = if is_share { Limit::Relative(number / 100.0) } else { Limit::Absolute(number) };
    let checked = Tolerance::new(limit, Better::Lower);
    checked.map_err(|e| Error::input(e.to_string()).at(text))?;
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_tolerances_win_and_the_rest_are_the_defaults() {
        let set = [("decode", "3%"), ("kl_nats", "0.5"), ("decode", "2.5 %")];
        let found = Tolerances::resolve(set).unwrap();
        assert_eq!(found.of(Metric::Decode).limit(), Limit::Relative(0.025));
        assert_eq!(found.of(Metric::Kl).limit(), Limit::Absolute(0.5));
        assert_eq!(found.of(Metric::Packages).limit(), Limit::Relative(0.0));
        assert_eq!(
            found.spelled(),
            "decode 2.5%, kl_nats 0.5, load 20%, memory 5%, perplexity 0.5%, size 0%, top1 0.005, \
             ttft 10%"
        );
    }

    #[test]
    fn a_tolerance_that_cannot_be_meant_is_refused_with_its_key() {
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
        assert!(refused("ttft", "fast").contains("expected a tolerance such as 0.5%"));
        assert!(refused("speed", "5%").starts_with("speed: there is no such tolerance\nhint:"));
    }
}
