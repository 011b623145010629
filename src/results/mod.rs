//! Records: what a run measures, stored so that statistics and reports can be derived from it later.
//!
//! A run's folder holds `records.jsonl`, which is append-only and repeats bit for bit. What does not
//! repeat is in other files: times, threads and memory in `sessions.jsonl`, the time to code each layer
//! in `coding.jsonl`, and what devices measured in `measurements.jsonl`. Nothing is ever changed in
//! place, so a number in a report can be traced to the line it came from. A condensed run holds
//! `condensed.jsonl` instead.

pub mod baselines;
mod blocks;
mod cell;
mod clock;
mod coding;
mod condensed;
mod environment;
mod finite;
mod folder;
mod head;
mod index;
mod inputs;
mod label;
mod lines;
pub mod measurement;
mod memory;
mod packaged;
mod part;
mod plans;
mod ranges;
mod read_record;
mod record;
pub mod runner;
pub mod runs;
mod session;
mod store;

pub use cell::Cell;
pub use clock::now;
pub use coding::{CodedLayer, Coding, StepError, TunedLayer};
pub use condensed::{CONDENSED, Condensed, CondensedCell, KlQuantiles, Totals};
pub use environment::{Environment, ask};
pub use finite::finite;
pub use folder::RunFolder;
pub use index::{Index, nameless};
pub use inputs::{Calibration, Fp16Overflow, InputScale};
pub use label::{MIXED, MIXED_SEPARATOR, label};
pub use measurement::MEASUREMENTS;
pub use memory::{PeakSampler, machine_available_bytes, machine_total_bytes, memory_now};
pub use packaged::{Packaged, VerifiedLink};
pub use part::{BLOCK_PARTS, StoredPart};
pub use plans::{plan_name, plans_in};
pub use record::{Done, Failure, Record, Run, Window};
pub use session::{Phase, Session};
pub use store::{Store, read_sessions};

/// Name of the file of records in a run's folder.
pub const RECORDS: &str = "records.jsonl";
/// Name of the file in a run's folder with the time to code each layer.
const CODING: &str = "coding.jsonl";
/// Name of the file of sessions in a run's folder.
const SESSIONS: &str = "sessions.jsonl";
/// Name of the file in a run's folder that holds the plan of its first command.
pub const PLAN: &str = "plan.toml";
