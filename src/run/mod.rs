//! A plan to records: open, calibrate, allocate, score, package, measure.
//!
//! This room decides what a run's numbers mean: which cells there are, what they depend on, what is
//! measured already. It tells an [`Observer`](observer::Observer) what happens and knows no terminal.

pub mod ablation;
pub mod allocate;
pub mod allocation_file;
pub mod bit_widths;
pub mod calibrate;
pub mod calibration_data;
pub mod calibration_text;
pub mod candidates;
pub mod collect_moments;
pub mod device_fit;
pub mod documents;
pub mod folder;
pub mod inputs;
pub mod job;
pub mod measure;
pub mod observer;
pub mod options;
pub mod package;
pub mod pages;
pub mod plan;
pub mod plan_file;
pub mod predicted;
pub mod quantize;
pub mod score;
pub mod sensitivity_file;
pub mod sweep;
pub mod target;
pub mod text;
mod text_scan;
pub mod tolerances;
pub mod verify;
