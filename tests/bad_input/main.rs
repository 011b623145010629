//! Bad input, one test per attack: exit code, message, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "../common/mod.rs"]
mod common;

mod arguments;
mod config;
mod plan;
mod text;
mod weights;
