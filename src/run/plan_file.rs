//! Plan files: TOML whose keys are the fields of [`PlanOptions`].

use std::path::Path;

use serde::Deserialize;

use super::options::PlanOptions;
use super::tolerances::{Limits, deserialize_limits};
use crate::error::{Error, Result};
use crate::files::read_regular_text;

/// Largest plan file that is read, in bytes.
const MAX_PLAN_BYTES: u64 = 1 << 20;

/// The part of a plan that a check needs; all other keys are ignored.
#[derive(Debug, Default, Deserialize)]
struct CheckOnly {
    #[serde(default, deserialize_with = "deserialize_limits")]
    check: Limits,
}

/// Reads a plan file.
///
/// # Errors
/// Input errors of the file: too large, not TOML, an unknown key.
pub fn read(path: &Path) -> Result<PlanOptions> {
    let text = read_regular_text("read the plan", path, MAX_PLAN_BYTES)?;
    toml::from_str(&text).map_err(|e| Error::input("not a plan").because(e).at(path.display()))
}

/// The tolerances in a plan file, which another version may have written.
///
/// # Errors
/// Input errors of a file that is not TOML.
pub fn kept_limits(path: &Path) -> Result<Limits> {
    let text = read_regular_text("read the plan", path, MAX_PLAN_BYTES)?;
    let plan: CheckOnly = toml::from_str(&text)
        .map_err(|e| Error::input("not a plan").because(e).at(path.display()))?;
    Ok(plan.check)
}

/// The tolerances in a plan file; unknown keys are refused.
///
/// # Errors
/// Input errors of the file.
pub fn limits(path: &Path) -> Result<Limits> {
    Ok(read(path)?.check)
}
