//! What differs between two runs that measure the same: when, how fast, with how many threads.
//!
//! Kept in `sessions.jsonl`, apart from the records, so that those repeat bit for bit.

use serde::{Deserialize, Serialize};

use super::environment::Memory;
use super::head::check_schema;
use super::record::SCHEMA;
use crate::error::{Error, Result};

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
    /// Peak memory, where the system tells.
    pub peak: Option<Memory>,
    /// Windows that an earlier session had already scored, over all variants.
    pub resumed_windows: usize,
    /// How it ended: `done`, `interrupted`, or the error.
    pub outcome: String,
}

#[derive(Serialize, Deserialize)]
struct Line<S> {
    schema: u32,
    #[serde(flatten)]
    session: S,
}

impl Session {
    /// The session as one line of JSON, without the line feed.
    pub fn to_line(&self) -> Result<String> {
        serde_json::to_string(&Line { schema: SCHEMA, session: self })
            .map_err(|e| Error::bug("cannot write a session as JSON").because(e))
    }

    /// Reads a line written by this or an older version.
    pub fn from_line(line: &str) -> Result<Session> {
        let line: Line<Session> =
            serde_json::from_str(line).map_err(|e| Error::input("not a session").because(e))?;
        check_schema(line.schema)?;
        Ok(line.session)
    }
}
