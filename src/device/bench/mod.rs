//! Measuring packages on devices. Every visit to a package starts with a load, in a new process where
//! possible, and a warm-up that does not count. Packages take turns. Nothing begins on a warm device,
//! a disturbed repetition is repeated, and everything is recorded.

mod conditions;
mod correctness;
mod decode_alone;
mod order;
mod run;
mod subject;
mod to_records;
mod visit;

pub use self::run::{Question, measure};
pub use self::subject::Prepared;
