//! Plan files: TOML whose keys are the fields of [`PlanOptions`].

use std::path::Path;

use serde::Deserialize;

use super::options::PlanOptions;
use super::tolerances::{Limits, deserialize_limits};
use crate::error::{Error, Result};
use crate::files::{read_regular_text, write_atomic};
use crate::results::{plan_name, plans_in};

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

/// Keeps a plan in a run's folder. An earlier plan of another command stays: this one gets the next
/// number. A plan that is kept already is not kept again.
///
/// # Errors
/// Surroundings errors of the disk.
pub fn keep(folder: &Path, plan: &str) -> Result<()> {
    let kept = plans_in(folder);
    let is_same = |name: &String| {
        read_regular_text("read the plan", &folder.join(name), MAX_PLAN_BYTES)
            .is_ok_and(|found| found == plan)
    };
    if kept.iter().any(is_same) {
        return Ok(());
    }
    write_atomic(&folder.join(plan_name(kept.len() + 1)), plan.as_bytes())
}

/// The tolerances of a run, whose first plan is at `path`: those of the latest of its plans that has
/// any. Another version may have written them.
///
/// # Errors
/// Input errors of a file that is not TOML.
pub fn kept_limits(path: &Path) -> Result<Limits> {
    let folder = path.parent().unwrap_or(Path::new(""));
    for name in plans_in(folder).iter().rev() {
        let path = folder.join(name);
        let text = read_regular_text("read the plan", &path, MAX_PLAN_BYTES)?;
        let plan: CheckOnly = toml::from_str(&text)
            .map_err(|e| Error::input("not a plan").because(e).at(path.display()))?;
        if !plan.check.is_empty() {
            return Ok(plan.check);
        }
    }
    Ok(Limits::new())
}

/// The tolerances in a plan file; unknown keys are refused.
///
/// # Errors
/// Input errors of the file.
pub fn limits(path: &Path) -> Result<Limits> {
    Ok(read(path)?.check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_kept_once_and_the_latest_tolerances_count() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("plan.toml");
        let plans = ["bits = [4]\n", "bits = [2]\n[check]\nkl = 1\n", "bits = [1]\n"];
        for plan in [plans[0], plans[1], plans[0], plans[2], plans[1]] {
            keep(folder.path(), plan).unwrap();
        }
        for (name, plan) in ["plan.toml", "plan-2.toml", "plan-3.toml"].iter().zip(plans) {
            assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap(), plan);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        assert_eq!(kept_limits(&first).unwrap().len(), 1);
        std::fs::write(folder.path().join("plan-4.toml"), "[check]\nkl = 2\ntop1 = 1.0\n").unwrap();
        assert_eq!(kept_limits(&first).unwrap().len(), 2);
    }
}
