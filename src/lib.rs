//! evalkit: which bit-width of this language model can ship on this iPhone, and is it still the
//! model that was tested?
pub mod checkpoint;
pub mod demo;
pub mod error;
pub mod eval;
pub mod model;
pub mod quantize;
pub mod report;
pub mod results;
pub mod stats;
pub mod units;
