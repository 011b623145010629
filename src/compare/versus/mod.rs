//! Two runs side by side: what differs between them, and what changes from the first to the second.
//!
//! Scores are compared in pairs of windows and speeds by visits. Nothing is judged by a tolerance:
//! a [`Reading`] only says on which side of "no change" the whole interval is.

mod quality;
mod speed;

pub use quality::{Uncompared, VariantChange, VariantChanges};
pub use speed::{SpeedChange, SpeedChanges, Untimed};

use super::differences::{Difference, between};
use super::metric::Metric;
use super::summary::Summary;
use crate::error::Result;
use crate::results::RunFolder;
use crate::stats::{Better, Estimate};

/// Two runs, compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Versus {
    /// What differs apart from the results.
    pub differences: Vec<Difference>,
    /// Sizes and scores; `None` if one of the runs scored nothing.
    pub variants: Option<VariantChanges>,
    /// Speeds, for each device that both runs measured and each metric.
    pub speeds: Vec<SpeedChanges>,
}

/// A run and what was found in it.
struct Side<'a> {
    folder: &'a RunFolder,
    /// `None` for a folder that holds measurements only.
    summary: Option<Summary>,
}

impl<'a> Side<'a> {
    fn of(folder: &'a RunFolder) -> Result<Side<'a>> {
        let is_scored = folder.index.run().is_some();
        let summary = is_scored.then(|| Summary::of(folder)).transpose();
        Ok(Side { folder, summary: summary.map_err(|e| e.at(&folder.name))? })
    }
}

/// What changes from `a` to `b`.
///
/// # Errors
/// Input errors of the records.
pub fn versus(a: &RunFolder, b: &RunFolder) -> Result<Versus> {
    let [a, b] = [Side::of(a)?, Side::of(b)?];
    Ok(Versus {
        differences: between(a.folder, b.folder),
        variants: quality::changes(&a, &b),
        speeds: speed::changes(&a, &b),
    })
}

/// What the interval of a change says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// There is no interval.
    TooLittleData,
    /// The change is none, without any uncertainty.
    Same,
    /// The interval contains "no change".
    Inconclusive,
    /// The second run is better.
    Better,
    /// The second run is worse.
    Worse,
}

impl Reading {
    /// Reads the change of a metric.
    pub fn of(metric: Metric, change: &Estimate) -> Reading {
        let unchanged = metric.unchanged();
        let Some(interval) = change.interval else { return Reading::TooLittleData };
        if interval.low == unchanged && interval.high == unchanged {
            return Reading::Same;
        }
        let is_up = interval.low > unchanged;
        if !is_up && interval.high >= unchanged {
            return Reading::Inconclusive;
        }
        let is_better = is_up == (metric.better() == Better::Higher);
        if is_better { Reading::Better } else { Reading::Worse }
    }
}
