//! Tolerances of a check, as a plan spells them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::plan::read;
use crate::compare::Tolerances;
use crate::error::{At, Error, Result};

/// Tolerances by key.
pub type Limits = BTreeMap<String, String>;

/// A tolerance as a plan file spells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Limit {
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

/// The part of a plan that a check needs, whatever else is in it.
#[derive(Debug, Default, Deserialize)]
struct CheckOnly {
    #[serde(default)]
    check: BTreeMap<String, Limit>,
}

/// Tolerances of a plan, with flags over them.
///
/// # Errors
/// Input errors that name the key.
pub fn tolerances(plan: &Limits, flags: &[(String, String)]) -> Result<Tolerances> {
    let of_plan = plan.iter().map(|(key, limit)| (key.as_str(), limit.as_str()));
    let of_flags = flags.iter().map(|(key, limit)| (key.as_str(), limit.as_str()));
    Tolerances::resolve(of_plan.chain(of_flags)).at(|| "tolerance")
}

/// The tolerances in a plan file that may have been written by another version.
///
/// # Errors
/// Input errors of a file that is no TOML.
pub fn kept_limits(path: &Path) -> Result<Limits> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read the plan", path, e))?;
    let plan: CheckOnly = toml::from_str(&text)
        .map_err(|e| Error::input("not a plan").because(e).at(path.display()))?;
    Ok(spelled(plan.check))
}

/// The tolerances in a plan file, all of whose keys are known.
///
/// # Errors
/// Input errors of the file.
pub fn limits(path: &Path) -> Result<Limits> {
    Ok(spelled(read(path)?.check))
}

/// The tolerances as text.
pub fn spelled(limits: BTreeMap<String, Limit>) -> Limits {
    limits.into_iter().map(|(key, limit)| (key, limit.into())).collect()
}
