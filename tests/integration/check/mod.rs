//! `evalkit check` and `evalkit baseline`, as they are typed, on the embedded demo.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod input;
mod night;
mod nightly;
mod outputs;
mod store;
mod verdicts;
