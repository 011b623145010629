//! Plain numbers in, plain numbers out: what an estimate is, and how sure it is.
//!
//! Nothing here knows what a variant or a record is. Seeds are arguments, so the same numbers always
//! give the same interval. *Windows* of text are resampled, in blocks of neighbours: neither tokens
//! within a window nor neighbouring windows are independent, and treating them as independent would
//! make every interval too narrow.
//!
//! No finite number makes anything here panic or search without end. A result that an f64 cannot hold,
//! such as the square of a number beyond [`LARGEST`], is refused by name or is `None`: it *cannot be
//! told*.

mod change;
mod compare;
mod detectable;
mod effect;
mod estimate;
#[cfg(test)]
mod extremes;
mod holm;
mod interval;
mod limits;
mod median;
mod paired;
mod resampled;
mod sample;
mod student;
mod timing;
mod verdict;

pub use change::{ChangePoint, Observation, Search, change_points};
pub use compare::{Comparison, Quality, Scores, compare, quality};
pub use detectable::{POWER, detectable_change, windows_needed};
pub use effect::{Effect, Scale, Spread};
pub use estimate::{Estimate, Interval};
pub use interval::{Bootstrap, block_length_for};
pub use limits::{lloyd_max, rate_distortion};
pub use median::median;
pub use paired::{NotPaired, Paired, difference, paired};
pub use sample::{BadSample, LARGEST, Sample};
pub use timing::ratio_of_medians;
pub use verdict::{
    Better, Case, Decision, Evidence, FAMILY_ALPHA, Limit, Tolerance, Verdict, decide,
};
