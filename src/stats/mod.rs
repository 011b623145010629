//! Plain numbers in, plain numbers out: what an estimate is, and how sure it is.
//!
//! Nothing here knows what a variant or a record is. Seeds are arguments, so that the same numbers
//! always give the same interval. Resampling is over *windows* of text, in blocks of neighbours:
//! tokens within a window, and windows beside one another, are not independent, and pretending
//! they are makes every interval too narrow.

mod compare;
mod interval;
mod median;
mod sample;

pub use compare::{Comparison, Quality, Scores, compare, quality};
pub use interval::{Bootstrap, block_length_for, t_interval};
pub use median::median;
pub use sample::{BadSample, Sample};

/// A range that holds the true value with a given certainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Certainty, such as 0.95.
    pub level: f64,
}

/// A number with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value computed from all the data.
    pub point: f64,
    /// Its interval; none if there is too little data to have one.
    pub interval: Option<Interval>,
    /// How many windows (or repetitions) it rests on.
    pub n: usize,
}

impl Estimate {
    /// The larger of the distances from the point to the ends of the interval.
    pub fn half_width(&self) -> Option<f64> {
        let Interval { low, high, .. } = self.interval?;
        Some((self.point - low).max(high - self.point))
    }
}
