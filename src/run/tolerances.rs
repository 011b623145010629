//! The tolerances of a check as a plan file or flags give them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::compare::Tolerances;
use crate::error::{At, Result};

/// Tolerances by key.
pub type Limits = BTreeMap<String, String>;

/// A tolerance as a plan file writes it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Limit {
    Text(String),
    Whole(i64),
    Number(f64),
}

impl From<Limit> for String {
    fn from(limit: Limit) -> String {
        match limit {
            Limit::Text(text) => text,
            Limit::Whole(number) => number.to_string(),
            Limit::Number(number) => number.to_string(),
        }
    }
}

/// The tolerances of a plan, overridden by flags.
///
/// # Errors
/// Input errors that name the key.
pub fn tolerances(plan: &Limits, flags: &[(String, String)]) -> Result<Tolerances> {
    let of_plan = plan.iter().map(|(key, limit)| (key.as_str(), limit.as_str()));
    let of_flags = flags.iter().map(|(key, limit)| (key.as_str(), limit.as_str()));
    Tolerances::resolve(of_plan.chain(of_flags)).at(|| "tolerance")
}

/// Reads tolerances that a plan file gives as text or as numbers.
///
/// # Errors
/// Those of the deserializer.
pub fn deserialize_limits<'de, D: Deserializer<'de>>(from: D) -> Result<Limits, D::Error> {
    let limits: BTreeMap<String, Limit> = BTreeMap::deserialize(from)?;
    Ok(limits.into_iter().map(|(key, limit)| (key, limit.into())).collect())
}
