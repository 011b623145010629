//! evalkit: which bit-width of this language model can ship on this iPhone, and is it still the
//! model that was tested?
pub mod checkpoint;
pub mod cli;
pub mod compare;
pub mod demo;
pub mod device;
pub mod error;
pub mod eval;
pub mod model;
pub mod package;
pub mod quantize;
pub mod report;
pub mod results;
pub mod stats;
pub mod units;

/// Raised whenever the program's numbers change for the same input: records of another version
/// are never mixed with today's.
pub const NUMERIC_VERSION: u32 = 1;
