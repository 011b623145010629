//! Runners of packages, on this machine and on others: how to talk to them, and how to measure on
//! them.

pub mod bench;
pub mod client;
pub mod devicectl;
pub mod host;
pub mod protocol;
pub mod table;
pub mod transport;
