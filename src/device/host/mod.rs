//! This machine as a runner: it receives and checks packages, executes them with evalkit's own
//! engine, and records in a journal what was asked and answered. `device-runner/PROTOCOL.md`
//! specifies the protocol.
//!
//! ```text
//! connection ─> reader ─> session ─┬─> store       packages, by hash
//!            alive, answers <──────┤
//!                                  └─> jobs ─> journal
//!                                        └─> a job's thread ─> work ─> engine
//! ```
//!
//! A session ends with its connection. A job does not: it goes on without a client, and the client's
//! next session can ask for its answer.

mod check;
mod client_stream;
mod cpu;
mod engine;
mod greeting_queue;
mod jobs;
mod journal;
mod locks;
mod machine;
mod progress;
mod run_job;
mod serve;
mod session;
mod shared;
mod store;
mod work;

pub use self::cpu::Cpu;
pub use self::serve::{serve_listener, serve_stdio};
pub use self::shared::{Host, HostOptions};
