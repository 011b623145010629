//! Runners of packages, on this machine and on others, and how to talk to them.

pub mod host;
pub mod lab;
pub mod protocol;
