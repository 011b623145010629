//! Runners of packages, on this machine and on others, and how to talk to them.

pub mod client;
pub mod devicectl;
pub mod host;
pub mod lab;
pub mod protocol;
pub mod table;
pub mod transport;
