//! What differs between two runs of the same measurement: when, how fast, with how many threads.
//!
//! Sessions are in `sessions.jsonl`, apart from the records, which repeat bit for bit.

use serde::{Deserialize, Serialize};

use super::head::{from_line, to_line};
use super::memory::Memory;
use crate::error::Result;

/// Time spent in one named phase: `open`, `decode`, `code`, `forward`, `head`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Name of the phase.
    pub phase: String,
    /// Wall time spent in it, over the whole session.
    pub elapsed_ms: f64,
}

/// One invocation of the program on a folder of records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// When it started (RFC 3339), as told by the caller.
    pub started: String,
    /// The command line.
    pub argv: Vec<String>,
    /// Threads used.
    pub threads: usize,
    /// Wall time from start to end.
    pub elapsed_ms: f64,
    /// Where the time went, in the order in which phases were first entered.
    pub phases: Vec<Phase>,
    /// Peak memory, if the system reports it.
    pub peak: Option<Memory>,
    /// Windows that an earlier session had already scored, over all variants.
    pub resumed_windows: usize,
    /// How it ended: `done`, `interrupted`, or the error.
    pub outcome: String,
}

impl Session {
    /// The session as one line of JSON, without the line feed.
    ///
    /// # Errors
    /// A bug-class error.
    pub fn to_line(&self) -> Result<String> {
        to_line(self, "a session")
    }

    /// Reads a line written by this or an older version.
    ///
    /// # Errors
    /// Input errors: bad JSON, a missing field, a newer schema.
    pub fn from_line(line: &str) -> Result<Session> {
        from_line(line, "a session")
    }
}
