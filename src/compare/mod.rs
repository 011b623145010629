//! From records to decisions: estimates with intervals, pairs of runs, verdicts and exit codes.
//!
//! [`summary`] estimates every variant of one run, [`check`] judges a run against an accepted one,
//! [`versus`] sets two runs side by side, and [`claims`] holds statements against what is known.
//! Nothing here knows a document or a format: `report` puts the results into words and tables.

pub mod check;
pub mod claims;
pub mod differences;
#[cfg(test)]
pub(crate) mod fixture;
pub mod metric;
pub mod on_device;
pub mod origins;
pub mod summary;
mod totals;
pub mod versus;
mod windows;

pub use metric::{Metric, Tolerances};
pub use totals::condensed;
