//! Every integration test in one binary: the program as a process, and the library across rooms.
//!
//! One binary links the library once. The tests run as threads of one process, so none may change
//! its environment or its working directory: what needs another one starts the program.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod fixtures;

mod ablation;
mod activations;
mod allocation;
mod backend;
mod bad_families;
mod bad_input;
mod bad_mixtures;
mod bench;
mod bench_answers;
mod calibrated;
mod calibrated_families;
mod check;
mod client_child;
mod client_faults;
mod client_usbmux;
mod closed_pipes;
mod coded_file;
mod devices;
mod failed_variant;
mod faults;
mod fp16_range;
mod golden_families;
mod golden_gguf;
mod golden_logits;
mod golden_mixtures;
mod gradient;
mod harmony;
mod independence;
mod outliers;
mod outline;
mod package_bytes;
mod package_designs;
mod package_families;
mod packages;
mod pretend_mac;
mod pruned;
mod readme;
mod reads;
mod reference_perplexity;
mod report;
#[cfg(unix)]
mod resume;
mod runner_host;
mod saved_moments;
mod steps;
mod surroundings;
mod tidy;
mod traffic;
