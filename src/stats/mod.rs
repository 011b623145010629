//! Plain numbers in, plain numbers out: what an estimate is, and how sure it is.
//!
//! Nothing here knows what a variant or a record is. Seeds are arguments, so the same numbers always
//! give the same interval. *Windows* of text are resampled, in blocks of neighbours: neither tokens
//! within a window nor neighbouring windows are independent, and treating them as independent would
//! make every interval too narrow.

mod change;
mod compare;
mod detectable;
mod effect;
mod holm;
mod interval;
mod limits;
mod median;
mod paired;
mod resampled;
mod sample;
mod timing;
mod verdict;

pub use change::{ChangePoint, Observation, Search, change_points};
pub use compare::{Comparison, Quality, Scores, compare, quality};
pub use detectable::{POWER, detectable_change, windows_needed};
pub use effect::{Effect, Scale, Spread};
pub use interval::{Bootstrap, block_length_for};
pub use limits::{lloyd_max, rate_distortion};
pub use median::median;
pub use paired::{NotPaired, Paired, difference, paired};
pub use sample::{BadSample, Sample};
pub use timing::ratio_of_medians;
pub use verdict::{
    Better, Case, Decision, Evidence, FAMILY_ALPHA, Limit, Tolerance, Verdict, decide,
};

/// A range that contains the true value with a given probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// That probability, such as 0.95.
    pub level: f64,
}

/// A number with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value computed from all the data.
    pub point: f64,
    /// Its interval; `None` if there is too little data for one.
    pub interval: Option<Interval>,
    /// The number of windows (or repetitions) that it rests on.
    pub n: usize,
}

impl Estimate {
    /// A number that is known exactly, such as the size of a file: its interval has no width.
    pub fn exact(point: f64) -> Estimate {
        let interval = Some(Interval { low: point, high: point, level: 1.0 });
        Estimate { point, interval, n: 1 }
    }

    /// The larger of the distances from the point to the ends of the interval.
    pub fn half_width(&self) -> Option<f64> {
        let Interval { low, high, .. } = self.interval?;
        Some((self.point - low).max(high - self.point))
    }
}
