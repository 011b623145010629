//! Records, the currency that measuring, statistics and reports trade in.
//!
//! A run's folder holds `records.jsonl`, which is append-only and repeats bit for bit, and
//! `sessions.jsonl` with what does not repeat: times, threads, memory; `coding.jsonl` with how long
//! layers took to be coded; `measurements.jsonl` with what devices measured. Nothing is ever changed
//! in place: a number that was once reported can be traced to the line it came from.

pub mod baselines;
mod blocks;
mod clock;
mod coding;
mod environment;
mod folder;
mod head;
mod index;
mod inputs;
mod label;
mod lines;
pub mod measurement;
mod packaged;
mod part;
mod record;
pub mod runner;
pub mod runs;
mod session;
mod store;

pub use clock::now;
pub use coding::{CodedLayer, Coding, StepError, TunedLayer, coding_ms};
pub use environment::{Memory, PeakSampler, memory_now, package_versions};
pub use folder::RunFolder;
pub use index::Index;
pub use inputs::{Calibration, InputScale};
pub use label::{MIXED, MIXED_SEPARATOR, label};
pub use measurement::MEASUREMENTS;
pub use packaged::{Packaged, VerifiedLink};
pub use part::{BLOCK_PARTS, Part};
pub use record::{Cell, Done, Environment, Failure, Record, Run, SCHEMA, Window};
pub use session::{Phase, Session};
pub use store::{CODING, RECORDS, SESSIONS, Store, read_records, read_sessions};
