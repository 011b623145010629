//! Bad input, one test per attack: exit code, message, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod arguments;
mod config;
mod finder;
mod foreign;
mod plan;
mod text;
mod weights;
