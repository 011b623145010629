//! evalkit: which bit-width of this language model can ship on this iPhone, and is it still the
//! model that was tested?
pub mod error;
pub mod quantize;
pub mod units;
