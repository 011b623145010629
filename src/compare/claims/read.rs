//! Reading files of claims (TOML).

use serde::Deserialize;

use super::ClaimMetric;
use crate::error::{At, Error, Result};

/// A file of claims.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// Who makes the claims.
    pub source: String,
    /// A note for readers on how the claims were interpreted.
    pub note: Option<String>,
    /// Models whose sizes are predicted from their configuration.
    pub models: Vec<ModelConfig>,
    /// The claims.
    pub claims: Vec<Claim>,
}

/// A model and the path of its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The name that claims use.
    pub name: String,
    /// Folder, file or `hf:owner/name`, as `evalkit inspect` takes it; paths are relative to the
    /// file of claims.
    pub config: String,
}

/// A claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The claim in its author's words.
    pub says: String,
    /// Where it was made.
    pub source: Option<String>,
    /// The model's name.
    pub model: String,
    /// The variant; `None` for any.
    pub recipe: Option<String>,
    /// The device, by identifier or name; `None` if the claim is not about one.
    pub device: Option<String>,
    /// What is claimed.
    pub metric: ClaimMetric,
    /// The least value that agrees with the claim, in the unit of the metric's name.
    pub low: f64,
    /// The largest value that agrees with it.
    pub high: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaims {
    source: String,
    note: Option<String>,
    #[serde(default)]
    model: Vec<ModelConfig>,
    claim: Vec<RawClaim>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaim {
    says: String,
    source: Option<String>,
    model: String,
    recipe: Option<String>,
    device: Option<String>,
    metric: String,
    value: Option<toml::Value>,
    low: Option<f64>,
    high: Option<f64>,
    tolerance: Option<f64>,
}

impl Claims {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Input errors that name the claim: bad TOML, an unknown key or metric, an empty range.
    pub fn parse(text: &str) -> Result<Claims> {
        let raw: RawClaims =
            toml::from_str(text).map_err(|e| Error::input("not a file of claims").because(e))?;
        let claim = |(at, raw): (usize, RawClaim)| {
            let place = format!("claim {} ({:?})", at + 1, raw.says);
            raw.checked().at(|| place)
        };
        let claims = raw.claim.into_iter().enumerate().map(claim).collect::<Result<_>>()?;
        Ok(Claims { source: raw.source, note: raw.note, models: raw.model, claims })
    }
}

impl RawClaim {
    fn checked(self) -> Result<Claim> {
        let metric = ClaimMetric::from_name(&self.metric).at(|| "metric")?;
        let (low, high) = self.range(metric)?;
        if low > high || low.is_nan() || high.is_nan() {
            return Err(Error::input(format!(
                "expected low to be at most high, found {low} and {high}"
            )));
        }
        Ok(Claim {
            says: self.says,
            source: self.source,
            model: self.model,
            recipe: self.recipe,
            device: self.device,
            metric,
            low,
            high,
        })
    }

    fn range(&self, metric: ClaimMetric) -> Result<(f64, f64)> {
        let shape = "expected `value` with or without `tolerance`, or `low`, `high` or both";
        let value = match &self.value {
            Some(toml::Value::Boolean(value)) if metric.is_yes_or_no() => {
                Some(f64::from(u8::from(*value)))
            }
            Some(toml::Value::Float(value)) if !metric.is_yes_or_no() => Some(*value),
            Some(toml::Value::Integer(value)) if !metric.is_yes_or_no() => Some(*value as f64),
            Some(other) => {
                let wanted = if metric.is_yes_or_no() { "true or false" } else { "a number" };
                return Err(Error::input(format!("value: expected {wanted}, found {other}")));
            }
            None => None,
        };
        match (value, self.low, self.high, self.tolerance) {
            (Some(value), None, None, tolerance) => {
                let tolerance = tolerance.unwrap_or(0.0);
                if !(0.0..=1.0).contains(&tolerance) {
                    let what =
                        format!("tolerance: expected a share from 0 to 1, found {tolerance}");
                    return Err(Error::input(what));
                }
                let slack = value.abs() * tolerance;
                Ok((value - slack, value + slack))
            }
            (None, None, None, _) | (Some(_), ..) | (_, _, _, Some(_)) => Err(Error::input(shape)),
            (None, low, high, None) => {
                Ok((low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY)))
            }
        }
    }
}
